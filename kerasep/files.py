"""Writing files whole or not at all, and where to keep those that can be had again."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place when the block ends well, and is removed when not.

    Raises:
        KerasepError: the folder cannot be written to.
    """
    partial = path.with_name(f".partial-{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise KerasepError(f"{path}: cannot be written ({error.strerror or error}): choose another folder") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def measured_so_far(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """What a file of measurements holds, to be added to; `head`, which has "versions", if there is none.

    Raises:
        KerasepError: it was measured with other versions.
    """
    if not path.exists():
        return head
    found: dict[str, Any] = json.loads(path.read_text())
    if found["versions"] != head["versions"]:
        raise KerasepError(f"{path}: measured with other versions of packages: name another file")
    return found


def replaced(rows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """Measurements with one more, which takes the place of what was measured of the same name and format before."""
    same = (row["name"], row["format"])
    return [other for other in rows if (other["name"], other["format"]) != same] + [row]


def check_writable(folder: Path) -> None:
    """Make a folder, and see that it takes files: before minutes of work, not after.

    Raises:
        KerasepError: it does not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): choose another folder") from error


def cache() -> Path:
    """The folder for all that can be fetched or computed again. It need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasep"
