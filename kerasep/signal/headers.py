"""How much sound a file says that it holds. libsndfile reads what is there of a shorter one without a word."""

import math
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kerasep.signal.source import Source

SLIGHT = 64  # bytes that may be missing: some programs count a header, too
CHUNK = re.compile(rb"[ -~]{4}")  # the name of one
MANY = 10_000  # chunks before the one with the samples: no real file has so many
STAND_IN = 0x7FFF0000  # and above: what programs write that cannot know a length, because they write to a pipe


@dataclass(frozen=True)
class Chunks:
    """A kind of file that is made of chunks, each with its name and its length in front.

    Attributes:
        start: of the first chunk, in bytes.
        head: struct format of a chunk's name and length.
        sound: how the name of the chunk with the samples begins.
        align: chunks begin at multiples of so many bytes from the first.
        whole: a chunk's length counts its head.
    """

    start: int
    head: str
    sound: tuple[bytes, ...]
    align: int = 2
    whole: bool = False


KINDS = {
    b"RIFF": Chunks(12, "<4sI", (b"data",)),
    b"RIFX": Chunks(12, ">4sI", (b"data",)),
    b"RF64": Chunks(12, "<4sI", (b"data",)),
    b"BW64": Chunks(12, "<4sI", (b"data",)),
    b"FORM": Chunks(12, ">4sI", (b"SSND", b"BODY")),  # AIFF, AIFC, 8SVX
    b"caff": Chunks(8, ">4sq", (b"data",), align=1),
    b"riff": Chunks(40, "<16sQ", (b"data",), align=8, whole=True),  # Sony's Wave64
}


def promised_parts(source: Source, scratch: Path) -> list[Path]:
    """A file as one that libsndfile reads to its end: itself, or a copy in `scratch`.

    Raises:
        KerasepError: less is there than its header promises.
    """
    promised, there = sound(source.file)
    if promised:
        source.check_whole(promised - there, SLIGHT, f"{there} of {promised} bytes of samples are there")
    with source.file.open("rb") as file:
        if file.read(4) == b"RIFF":
            _, there = _chunk(file, KINDS[b"RIFF"], source.file.stat().st_size)
            at = file.tell() - 4
            file.seek(at)
            length, after = struct.unpack("<I4s", file.read(8).ljust(8, b"\0"))
            if there and not length and not CHUNK.fullmatch(after):
                return [_with_length(source.file, at, there, scratch)]
    return [source.file]


def _with_length(path: Path, at: int, length: int, scratch: Path) -> Path:
    """A copy of a WAV file whose length is the 0 that recorders leave when their battery does, with the right one.

    Of other programs' stand-ins libsndfile knows that the file goes on to its end.
    """
    copy = scratch / "counted.wav"
    shutil.copyfile(path, copy)
    with copy.open("rb+") as file:
        file.seek(at)
        file.write(struct.pack("<I", min(length, 0xFFFFFFFF)))
    return copy


def sound(path: Path) -> tuple[int, int]:
    """Bytes of samples that a file's header promises, 0 where it does not know, and how many are there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if kind := KINDS.get(magic):
            return _chunk(file, kind, size)
        head = magic + file.read(1020).ljust(1020, b"\0")
    if magic == b".snd":  # Sun's AU
        start, length = struct.unpack(">II", head[4:12])
        return _known(length, size - start)
    if magic == b"NIST":  # speech corpora; its fields are text
        fields = dict(re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d{1,15})", head))
        return math.prod(map(int, fields.values())) if len(fields) == 3 else 0, size - len(head)
    if magic == b"2BIT":  # Audio Visual Research: mono or stereo of 8 or 16 bits
        stereo, bits, frames = struct.unpack(">HH", head[12:16]) + struct.unpack(">I", head[26:30])
        return frames * (bits // 8) * (2 if stereo else 1), size - 128
    if head.startswith(b"Creative Voice File"):  # the first block; few files have more
        at = int.from_bytes(head[20:22], "little")
        return int.from_bytes(head[at + 1 : at + 4], "little"), size - at - 4
    return 0, 0


def _chunk(file: BinaryIO, kind: Chunks, size: int) -> tuple[int, int]:
    """`sound` of a file that is made of chunks; leaves the file where its samples begin."""
    at, long = kind.start, 0
    for _ in range(MANY):
        file.seek(at)
        if len(head := file.read(struct.calcsize(kind.head))) < struct.calcsize(kind.head):
            break
        name, length = struct.unpack(kind.head, head)
        if kind.whole:
            length -= len(head)
        if name == b"ds64":  # the real length, where 32 bits do not hold it
            long = int.from_bytes(file.read(16)[8:], "little")
        elif name.startswith(kind.sound):
            return _known(long if long and length == 0xFFFFFFFF else length, size - file.tell())
        if length < 0 or at + length > size:
            break
        at += len(head) + length
        at += -(at - kind.start) % kind.align
    return 0, 0


def _known(promised: int, there: int) -> tuple[int, int]:
    """An unknown length is written as 0, as -1, or as nearly the largest number of 31 or 32 bits."""
    unknown = promised <= 0 or STAND_IN <= promised < 1 << 31 or 0xFFFF0000 <= promised < 1 << 32
    return 0 if unknown else promised, max(there, 0)
