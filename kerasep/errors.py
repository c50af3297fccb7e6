"""Errors meant for people: their text is a single line that says what, where and what to do."""

import functools
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
                print(f"{program}: {error}", file=sys.stderr)
                return 2 if isinstance(error, UsageError) else 1

        return reported

    return wrap


def first_line(error: Exception) -> str:
    """What another library's error says, in one line; its name, where it says nothing."""
    if isinstance(error, KeyError) and len(error.args) == 1:  # which says the key alone
        return f"{error.args[0]} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]
