"""What dataclasses check of values that come from files."""

from enum import StrEnum
from typing import Any


def whole_numbers(values: Any, **least: int) -> None:
    """Raise ValueError unless these attributes are integers, none less than given."""
    for name, low in least.items():
        value = getattr(values, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"{name} must be an integer of at least {low}, not {value!r}")


def choice(values: Any, name: str, choices: type[StrEnum]) -> None:
    """Turn an attribute's text, as JSON has it, into a choice."""
    value = getattr(values, name)
    if value not in list(choices):
        raise ValueError(f"unknown {name} {value!r}: choose from {', '.join(choices)}")
    object.__setattr__(values, name, choices(value))
