"""Errors meant for people: their text is a single line that says what, where and what to do."""

import functools
import json
import sys
from collections.abc import Callable
from typing import ParamSpec


class KerasepError(Exception):
    """Work that cannot go on. The command line prints the message alone and exits with 1."""


class UsageError(KerasepError):
    """A wrong call. The command line exits with 2."""


Given = ParamSpec("Given")


def reporting(program: str) -> Callable[[Callable[Given, int | None]], Callable[Given, int]]:
    """Makes a program's main function say what cannot be done in one line, and return the exit code that goes with it."""

    def wrap(main: Callable[Given, int | None]) -> Callable[Given, int]:
        @functools.wraps(main)
        def reported(*args: Given.args, **kwargs: Given.kwargs) -> int:
            try:
                return main(*args, **kwargs) or 0
            except KerasepError as error:
                say(str(error), program)
                return 2 if isinstance(error, UsageError) else 1
            except (
                OSError
            ) as error:  # of a place where nobody expected it: a full disk, a folder without rights, no file left to open
                place = f"{error.filename}: " if error.filename else ""
                say(f"{place}{error.strerror or first_line(error)}: make room or rights for it and try again", program)
                return 1
            except MemoryError as error:
                say(f"out of memory ({first_line(error)}): take less at a time, or a machine with more", program)
                return 1

        return reported

    return wrap


def say(text: str, program: str = "kerasep") -> None:
    """A line on standard error."""
    print(printable(f"{program}: {text}"), file=sys.stderr)


def printable(text: str) -> str:
    """Text for a terminal, to which what is in files must not give orders: all but plain characters as JSON escapes them."""
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def first_line(error: Exception) -> str:
    """What another library's error says, in one line; its name, where it says nothing."""
    if isinstance(error, KeyError) and len(error.args) == 1:  # which says the key alone
        return f"{error.args[0]} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]
