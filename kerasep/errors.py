"""Errors meant for people: their text is a single line that says what, where and what to do."""


class KerasepError(Exception):
    """Work that cannot go on. The command line prints the message alone and exits with 1."""


class KerasepWarning(UserWarning):
    """Something that a result may suffer from. The command line prints it as a line."""


class UsageError(KerasepError):
    """A wrong call. The command line exits with 2."""


def first_line(error: Exception) -> str:
    """What another library's error says, in one line; its name, where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
