"""A file's sha256 in its own manifest: damage shows before a runtime opens the file, which might crash it.

The hash is of the file with zeros in its place. It says nothing of who made the file. Files of before have none.
"""

import hashlib
import json
import mmap
import re
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError

KEY = "sealed_sha256"
OPEN = b"0" * 64  # in a file that is not sealed yet
MARK = re.compile(rf'"{KEY}": "([0-9a-f]{{64}})"'.encode())


def sealable(values: dict[str, Any]) -> str:
    """A manifest's JSON with room for the hash."""
    return json.dumps(values | {KEY: OPEN.decode()})


def seal(path: Path) -> None:
    """Put the hash into a file with such a manifest."""
    place, _, digest = _found(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(digest)


def check_seal(path: Path) -> None:
    """Raise KerasepError where a file has another hash than it says."""
    place, said, digest = _found(path)
    if place and said not in (OPEN, digest):
        raise KerasepError(f"{path}: damaged or changed, as its sha256 is not the one inside: fetch or export it again")


def _found(path: Path) -> tuple[int, bytes, bytes]:
    """Where a file says its hash, what it says, and what it should say; 0 where it says nothing."""
    if not path.stat().st_size:  # cannot be mapped
        return 0, b"", b""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        mark = MARK.search(content)
        if mark is None:
            return 0, b"", b""
        start, end = mark.span(1)
        with memoryview(content) as view:
            digest = hashlib.sha256(view[:start])
            digest.update(OPEN)
            digest.update(view[end:])
        return start, mark[1], digest.hexdigest().encode()
