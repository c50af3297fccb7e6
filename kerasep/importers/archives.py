"""Zip archives from others, of which nothing is believed that has not been checked: sizes, methods and checksums."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from kerasep.errors import KerasepError, first_line

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take memory before they give a byte
ENCRYPTED = 1  # a member's flag
# What `zipfile` raises where bytes are not what it expects.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError, NotImplementedError)


def opened(path: Path) -> zipfile.ZipFile:
    """A zip archive, open for reading. Raises KerasepError where it is none."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGED as error:
        raise KerasepError(f"{path}: cannot be read as an archive ({first_line(error)}): download it again") from error


def members(archive: zipfile.ZipFile, items: list[zipfile.ZipInfo], limit: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents, checked against their checksums, of an archive's members.

    Raises:
        KerasepError: they have more than `limit` bytes together, two have the same name, or one is encrypted, compressed in an
            unusual way or damaged.
    """
    path = archive.filename
    if sum(item.file_size for item in items) > limit:
        raise KerasepError(f"{path}: its contents are larger than {limit:,} bytes: not what its name says")
    if len({item.filename for item in items}) < len(items):
        raise KerasepError(f"{path}: holds two files of one name: download it again")
    for item in items:
        if item.flag_bits & ENCRYPTED or item.compress_type not in METHODS:
            raise KerasepError(
                f"{path}: {item.filename} is encrypted or compressed in an unusual way: unpack it and pack it anew"
            )
        try:
            with archive.open(item) as packed:
                content = packed.read(item.file_size)  # and not one byte more, whatever it would unpack to
        except DAMAGED as error:
            raise KerasepError(f"{path}: {item.filename} is damaged ({first_line(error)}): download it again") from error
        yield item.filename, content
