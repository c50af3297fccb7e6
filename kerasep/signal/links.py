"""Files that libsndfile cannot count, cut into pieces that it can.

An MP3 says how many frames it has in a first, empty one (Xing's header), if at all; without it, and for what follows where two
files were joined, libsndfile guesses and stops there. An Ogg file may be a chain of streams, one after the other.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kerasep.signal.source import Source

RATES = (44100, 48000, 32000)  # Hz, of MPEG 1; halved in MPEG 2 and again in 2.5
# kbit/s of MPEG 1, layer 1 to 3, and of MPEG 2, layer 1 and the others
BITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
VBRI = 36  # bytes from the beginning of a frame
GARBAGE = 1 << 16  # bytes between frames that are looked through before a file is taken for something else


@dataclass(frozen=True)
class Frame:
    """A frame of MPEG audio: where it begins, how many bytes it has, and where Xing's header would stand in it."""

    at: int
    size: int
    info: int


def frame(data: mmap.mmap | bytes, at: int) -> Frame | None:
    """The frame that begins at `at`, if one does (ISO 11172-3, 2.4.1.3)."""
    head = int.from_bytes(data[at : at + 4], "big")
    version, layer, bits, rate = head >> 19 & 3, 4 - (head >> 17 & 3), head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    kilobits, padding = BITS[first, layer][bits - 1], head >> 9 & 1
    if layer == 1:
        size = (12000 * kilobits // hertz + padding) * 4
    else:
        size = (144000 if first or layer == 2 else 72000) * kilobits // hertz + padding
    mono = head >> 6 & 3 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(at, size, at + 4 + side)


def frames(data: mmap.mmap | bytes) -> Iterator[Frame]:
    """All frames of an MP3, over tags and garbage. The last one may reach beyond the end of the file."""
    at, garbage, following = 0, 0, False
    while at + 4 <= len(data):
        if data[at : at + 3] == b"ID3":
            at += 10 + sum(byte << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=False))
            continue
        found = frame(data, at)
        # Four bytes look like a frame's head by chance, twice at the right distance they don't.
        if found and (following or frame(data, at + found.size) or at + found.size >= len(data)):
            yield found
            at, following = at + found.size, True
            continue
        following = False
        after = data.find(b"\xff", at + 1)
        garbage += after - at
        if after < 0 or garbage > GARBAGE:
            return
        at = after


@dataclass
class Part:
    """Frames of an MP3 from one header to the next.

    Attributes:
        frames: with the header's own, if there is one.
        promised: number of frames as the header has it, None where there is none or it has none.
        size: in bytes, likewise.
        header: the first frame is one.
    """

    frames: list[Frame]
    promised: int | None = None
    size: int | None = None
    header: bool = False

    @property
    def counted(self) -> int:
        """Frames of sound."""
        return len(self.frames) - self.header

    @property
    def end(self) -> int:
        """Of its last frame, in bytes of the file."""
        return self.frames[-1].at + self.frames[-1].size


def mp3_parts(source: Source, folder: Path) -> list[Path]:
    """An MP3 as files that say how many frames they have: itself, or copies in `folder` where its own number is wrong.

    Raises:
        KerasepError: more than two of the frames that it promises are missing.
    """
    with source.file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        parts = _split(data)
        if not parts:
            return [source.file]
        last = parts[-1]
        partial = last.end > len(data)
        if partial:
            last.frames.pop()
            parts = [part for part in parts if part.counted > 0]
        lost = max((last.promised or 0) - last.counted, 0)
        there = f"{last.counted} of {last.promised or last.counted + 1} frames are there"
        # Some encoders count the header itself.
        source.check_whole(max(lost, 1) if partial or lost > 1 else 0, 2, there)
        if not parts or (len(parts) == 1 and last.promised == last.counted and 0.99 * len(data) <= (last.size or len(data))):
            return [source.file]
        copies = [folder / f"{number}.mp3" for number in range(len(parts))]
        for part, copy in zip(parts, copies, strict=True):
            first = _header(data, part)
            copy.write_bytes(first + b"".join(data[f.at : f.at + f.size] for f in part.frames[part.header :]))
        return copies


def _split(data: mmap.mmap) -> list[Part]:
    """Parts that begin with a header, but the first, which may have none. Nothing of what is no MP3."""
    parts: list[Part] = []
    for found in frames(data):
        info = data[found.info : found.info + 16]
        if info[:4] in (b"Xing", b"Info"):
            flags, fields = info[7], [int.from_bytes(info[at : at + 4], "big") for at in (8, 12)]
            promised = fields.pop(0) if flags & 1 else None
            parts.append(Part([found], promised, fields[0] if flags & 2 else None, header=True))
        elif data[found.at + VBRI : found.at + VBRI + 4] == b"VBRI":  # Fraunhofer's header, which Xing's replaces
            parts.append(Part([found], header=True))
        elif parts:
            parts[-1].frames.append(found)
        else:
            parts.append(Part([found]))
    return [part for part in parts if part.counted]


def _header(data: mmap.mmap, part: Part) -> bytes:
    """The first frame of a part with the right numbers in it, or one made for it."""
    first, size = part.frames[0], part.end - part.frames[0].at
    if part.promised is not None:
        info = first.info - first.at
        made = bytearray(data[first.at : first.at + first.size])
        made[info + 8 : info + 12] = struct.pack(">I", part.counted)
        if part.size is not None:
            made[info + 12 : info + 16] = struct.pack(">I", size)
        return bytes(made)
    head = bytearray(data[first.at : first.at + 4])
    head[1] |= 1  # no checksum
    head[2] = head[2] & 0x0D | 0x90  # 128 kbit/s (80 in MPEG 2), no padding: room for the numbers
    empty = frame(bytes(head), 0)
    assert empty is not None  # noqa: S101 - as valid as the frame it comes from
    fields = b"Xing" + struct.pack(">III", 3, part.counted, size + empty.size)
    return (bytes(head).ljust(empty.info, b"\0") + fields).ljust(empty.size, b"\0")


def ogg_parts(source: Source, folder: Path) -> list[Path]:
    """A chained Ogg file (RFC 3533, 4) as its links, copies in `folder`; any other one as itself."""
    with source.file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts, at, begins, last = [0], 0, True, 0
        while data[at : at + 4] == b"OggS" and len(data) >= at + 27:
            first = bool(data[at + 5] & 2)  # of one of the streams that run side by side in a link
            if first and not begins:
                starts.append(at)
            begins, last = first, at
            segments = data[at + 26]
            at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
        ended = at <= len(data) and data[last + 5] & 4  # the flag of the last page of a stream
        source.check_whole(0 if ended else 1, 1, "more was to follow its last page")
        if len(starts) == 1:
            return [source.file]
        copies = [folder / f"{number}.ogg" for number in range(len(starts))]
        for copy, start, end in zip(copies, starts, [*starts[1:], len(data)], strict=True):
            copy.write_bytes(data[start:end])
        return copies
