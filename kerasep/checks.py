"""What is checked of values that come from files: others may have written them, or something damaged them."""

import contextlib
import hashlib
import json
import reprlib
from enum import StrEnum
from pathlib import Path
from typing import Any

DEEPEST = 50  # objects in objects
LONGEST = 1 << 24  # characters of JSON; it takes some twenty times as much memory as values
MANY = 2**31 - 1  # where nothing else limits a number


def parse(text: str | bytes) -> Any:
    """The values of a JSON text. Raises ValueError where it is none, too long, or nested too deep for who walks through it."""
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    with contextlib.suppress(RecursionError):
        values = json.loads(text)
        level: list[Any] = [[values]]
        for _ in range(DEEPEST):
            children = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
            level = [child for child in children if isinstance(child, dict | list)]
            if not level:
                return values
    raise ValueError("nested too deep")


def sha256(path: Path) -> str:
    """A file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole_numbers(values: Any, what: str = "", /, **limits: tuple[int, int]) -> None:
    """Raise ValueError unless these attributes are integers, neither below the first nor above the second limit.

    Args:
        values: has the attributes.
        what: they belong to, for the message.
        limits: by attribute.
    """
    for name, (low, high) in limits.items():
        value = getattr(values, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{what}{name} must be an integer from {low:,} to {high:,}, not {short(value)}")


def numbers(values: Any, what: str = "", /, **limits: tuple[float, float]) -> None:
    """The same for numbers that need not be whole."""
    for name, (low, high) in limits.items():
        number(f"{what}{name}", getattr(values, name), low, high)


def number(name: str, value: Any, low: float, high: float) -> None:
    """Raise ValueError unless a value is a number within these limits."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:  # NaN is neither
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {short(value)}")


def flags(values: Any, *names: str) -> None:
    """Raise ValueError unless these attributes are true or false."""
    for name in names:
        if type(getattr(values, name)) is not bool:
            raise ValueError(f"{name} must be true or false, not {short(getattr(values, name))}")


def lines(values: Any, *names: str) -> None:
    """Raise ValueError unless these attributes are text of a thousand characters at most."""
    for name in names:
        value = getattr(values, name)
        if type(value) is not str or len(value) > 1000:
            raise ValueError(f"{name} must be a line of text, not {short(value)}")


def choice(values: Any, name: str, choices: type[StrEnum]) -> None:
    """Turn an attribute's text, as JSON has it, into a choice."""
    value = getattr(values, name)
    if value not in list(choices):
        raise ValueError(f"unknown {name} {short(value)}: choose from {', '.join(choices)}")
    object.__setattr__(values, name, choices(value))


def short(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    return reprlib.repr(value)
