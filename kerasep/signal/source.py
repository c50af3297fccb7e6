"""A file that samples come from, whatever a name stands for: a regular file, a pipe, standard input."""

import os
import shutil
import stat
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kerasep.errors import KerasepError, KerasepWarning


@dataclass(frozen=True)
class Source:
    """A regular file, and what messages call it.

    Attributes:
        name: as it was given.
        file: where its bytes are.
    """

    name: Path
    file: Path

    def check_whole(self, lost: float, slight: float, there: str) -> None:
        """Refuse a file that lacks more than `slight`; warn of one that lacks less.

        Args:
            lost: how much of it is missing, in any unit.
            slight: how much may be, in the same one.
            there: what is there of how much, in words.

        Raises:
            KerasepError: it is cut short.
        """
        if lost > slight:
            raise KerasepError(f"{self.name}: cut short: {there}: fetch it again")
        if lost > 0:
            warnings.warn(f"{self.name}: its very end is missing: {there}", KerasepWarning, stacklevel=2)


def find(name: Path, scratch: Path) -> Source:
    """What a name stands for; what comes through a pipe is written to a file in `scratch`.

    Args:
        name: a file, a pipe, or "-" for standard input.
        scratch: a folder for copies.

    Raises:
        KerasepError: there is nothing that can be read.
        OSError: it cannot be read, or a copy cannot be written.
    """
    try:
        if str(name) == "-":
            return _spooled(name, sys.stdin.buffer, scratch)
        mode = name.stat().st_mode
        if stat.S_ISDIR(mode):
            raise KerasepError(f"{name}: is a folder: name the audio files in it")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            raise KerasepError(f"{name}: is a device: name a file")
        with name.open("rb") as stream:
            if not stat.S_ISREG(mode):
                return _spooled(name, stream, scratch)
            if not stream.read(1):
                raise KerasepError(f"{name}: is empty (0 bytes)")
    except PermissionError as error:
        raise KerasepError(f"{name}: cannot be read: check its permissions") from error
    except FileNotFoundError as error:
        raise KerasepError(f"{name}: no such file") from error
    except ValueError as error:  # a name with a null character
        raise KerasepError(f"{name}: cannot be read ({error})") from error
    return Source(name, name)


def _spooled(name: Path, stream: BinaryIO, scratch: Path) -> Source:
    copy = scratch / "spooled"
    with copy.open("wb") as file:
        shutil.copyfileobj(stream, file)
    if not copy.stat().st_size:
        raise KerasepError(f"{name}: nothing came through it (0 bytes)")
    return Source(name, copy)


def native(path: Path) -> str | bytes:
    """A path as soundfile takes it: it has no way for names that are not UTF-8, but their bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)
