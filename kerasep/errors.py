"""Errors meant for people: their text is a single line that says what, where and what to do."""


class KerasepError(Exception):
    """Work that cannot go on. The command line prints the message alone and exits with 1."""


class UsageError(KerasepError):
    """A wrong call. The command line exits with 2."""
