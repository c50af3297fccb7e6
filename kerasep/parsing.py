"""JSON from files that others wrote, or that were damaged."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """The values of a JSON text. Raises ValueError where it is none, or nested so deep that Python's parser gives up."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
