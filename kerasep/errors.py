"""Errors meant for people: their text is a single line that says what, where and what to do."""

import json
import re
import sys
import unicodedata


class KerasepError(Exception):
    """Work that cannot go on. The command line prints the message alone and exits with 1."""


class KerasepWarning(UserWarning):
    """Something that a result may suffer from. The command line prints it as a line."""


class UsageError(KerasepError):
    """A wrong call. The command line exits with 2."""


def say(text: str, program: str = "kerasep") -> None:
    """A line on standard error."""
    print(printable(f"{program}: {text}"), file=sys.stderr)


def first_line(error: Exception) -> str:
    """What another library's error says, in one line; its name, where it says nothing."""
    if isinstance(error, KeyError) and len(error.args) == 1:  # which says the key alone
        return f"{error.args[0]} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]


_BYTES = re.compile("[\udc80-\udcff]+")  # of a file's name that are no text in this locale


def printable(text: str) -> str:
    r"""Text from files and names of files in one line, with no more in it than a terminal shows: all else as JSON has it.

    Example:
        >>> printable("a\x1b[2Jb\nc")
        'a\\u001b[2Jb\\nc'
    """
    text = _BYTES.sub(lambda found: found[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), text)
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else json.dumps(letter)[1:-1] for letter in text
    )
