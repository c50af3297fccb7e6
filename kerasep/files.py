"""Files written whole or not at all, and the cache folder."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError

REMEDY = "choose another folder"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; it becomes `path` if the block succeeds, and is removed if not.

    Raises:
        KerasepError: the folder cannot be written to.

    Example:
        with replacing(Path("notes.txt")) as partial:
            partial.write_text("whole")
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
        raise KerasepError(f"{path}: cannot be written ({error.strerror or error}): {REMEDY}") from error


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Yield an empty folder next to `folder`; it becomes `folder` if the block succeeds, and is removed if not.

    Raises:
        KerasepError: nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kerasep-", dir=folder.parent) as scratch:
            partial = Path(scratch) / folder.name
            partial.mkdir()
            yield partial
            partial.replace(folder)
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): {REMEDY}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented. Raises KerasepError if the folder cannot be written to."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def check_writable(folder: Path) -> None:
    """Make a folder if needed and check that it takes files, before minutes of work rather than after.

    Raises:
        KerasepError: it does not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): {REMEDY}") from error


def cache() -> Path:
    """The folder for what can be downloaded or computed again, in XDG_CACHE_HOME or ~/.cache. It may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasep"
