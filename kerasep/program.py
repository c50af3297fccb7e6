"""What every program of the project does around its work: one line for what went wrong, an exit code, and nothing left behind.

Exit codes: 0, 1 for work that failed, 2 for a wrong call.
"""

import functools
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

from kerasep.errors import KerasepError, KerasepWarning, UsageError, first_line, say


class Terminated(KeyboardInterrupt):
    """The process was asked to end: what is half done is cleaned up, as for Ctrl-C."""


Given = ParamSpec("Given")
STOPPED, ENDED, UNREAD = 130, 143, 141  # exit codes, as shells have them for the signals INT, TERM and PIPE


def reporting(program: str) -> Callable[[Callable[Given, int | None]], Callable[Given, int]]:
    """Makes a program's main function say what cannot be done in one line, and return the exit code that goes with it."""

    def wrap(main: Callable[Given, int | None]) -> Callable[Given, int]:
        @functools.wraps(main)
        def reported(*args: Given.args, **kwargs: Given.kwargs) -> int:
            tell = functools.partial(say, program=program)
            with _warnings_as_lines(tell), _terminable(), _any_name():
                try:
                    code = main(*args, **kwargs) or 0
                    sys.stdout.flush()
                    return code
                except KerasepError as error:
                    tell(str(error))
                    return 2 if isinstance(error, UsageError) else 1
                except BrokenPipeError:  # as for `kerasep models | head -1`
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says so when it ends
                    return UNREAD
                except OSError as error:  # of the machine, met where nobody expected it: too many open files, say
                    place = f"{error.filename}: " if error.filename else ""
                    tell(f"{place}{error.strerror or first_line(error)}: make room or rights for it and try again")
                    return 1
                except MemoryError as error:
                    tell(f"out of memory ({first_line(error)}): take less at a time, or a machine with more")
                    return 1
                except Terminated:
                    tell("ended")
                    return ENDED
                except KeyboardInterrupt:
                    tell("stopped")
                    return STOPPED

        return reported

    return wrap


@contextmanager
def _warnings_as_lines(tell: Callable[[str], None]) -> Iterator[None]:
    """Warnings of ours are lines, each time; others are as they were."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", KerasepWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if issubclass(category, KerasepWarning):
                tell(str(message))
            else:
                others(message, category, *args, **kwargs)

        warnings.showwarning = show
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated`; Python alone would end without cleaning up."""

    def end(*_: object) -> None:
        raise Terminated

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # only the main thread may
    before = {getattr(signal, name): signal.signal(getattr(signal, name), end) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _any_name() -> Iterator[None]:
    """What a terminal or its encoding cannot show (names of files may be any bytes) is written with backslashes."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def end_with(parent: int) -> None:
    """Have this process end when the one does that started it to work for it, and may be killed, or be gone already.

    Else a process of joblib's waits for work for five minutes more.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
