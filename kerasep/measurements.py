"""Files of measurements that several runs of the same software add to."""

import json
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError


def load_or_start(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The measurements in a file, or `head`, which has "versions" of packages, if there is no such file.

    Raises:
        KerasepError: the file was measured with other versions.
    """
    if not path.exists():
        return head
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["versions"] != head["versions"]:
        raise KerasepError(f"{path}: measured with other versions of packages: name another file")
    return found


def replace_row(rows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with `row` at the end, in place of an earlier one of the same name and format.

    Example:
        >>> replace_row([{"name": "conv", "format": "onnx", "ms": 3}], {"name": "conv", "format": "onnx", "ms": 2})
        [{'name': 'conv', 'format': 'onnx', 'ms': 2}]
    """
    key = (row["name"], row["format"])
    return [other for other in rows if (other["name"], other["format"]) != key] + [row]
