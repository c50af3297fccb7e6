"""Audio in and out: files of any common kind, sample rates, and pieces of files so that memory does not grow with length.

Waveforms are float32 of shape (samples, channels), full scale at 1. soundfile reads what libsndfile knows (WAV, FLAC, OGG,
MP3, AIFF); anything else goes through the ffmpeg program into a temporary file.
"""

import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from kerasep.errors import KerasepError, first_line
from kerasep.files import scratch
from kerasep.signal.ffmpeg import decode
from kerasep.signal.headers import promised_parts
from kerasep.signal.links import mp3_parts, ogg_parts
from kerasep.signal.source import Source, find, native

UNKNOWN = (1 << 63) - 1  # libsndfile's frames of a FLAC file that was written to a pipe
SLIGHT = 16  # samples that may be missing
BLOCK = 1 << 18  # samples read at a time: 6 s at 44.1 kHz


@dataclass(frozen=True)
class AudioFile:
    """An audio file.

    Attributes:
        source: what messages call it, too.
        parts: files that soundfile reads whole, one after the other.
        rate: sample rate in Hz.
        channels: 1 or 2.
        frames: samples per channel as the headers have it.
        estimated: more or less so. What an MP3 has is counted in frames of its own before.
    """

    source: Source
    parts: tuple[Path, ...]
    rate: int
    channels: int
    frames: int
    estimated: bool

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples in pieces, float32 (samples, channels).

        Raises:
            KerasepError: the file ends early, cannot be decoded, or holds NaN or infinite samples.
        """
        done = 0
        for part in self.parts:
            with soundfile.SoundFile(native(part)) as handle:
                while len(block := self._read(handle, done)):
                    if not np.isfinite(block).all():
                        at = done + int((~np.isfinite(block)).any(axis=1).argmax())
                        raise KerasepError(f"{self.source.name}: NaN or infinite sample at {at}: repair the file first")
                    done += len(block)
                    yield block
        if not self.estimated:
            self.source.check_whole(self.frames - done, SLIGHT, f"{done} of {self.frames} samples are there")

    def _read(self, handle: soundfile.SoundFile, done: int) -> np.ndarray:
        try:
            return np.asarray(handle.read(BLOCK, dtype="float32", always_2d=True))
        except (RuntimeError, OSError) as error:
            raise KerasepError(f"{self.source.name}: cannot be decoded after {done} samples ({error})") from error


@contextmanager
def open_audio(path: str | Path) -> Iterator[AudioFile]:
    """Open a file for reading, decoding it with ffmpeg first if soundfile cannot read it.

    Args:
        path: a file, a pipe, or "-" for standard input.

    Raises:
        KerasepError: the file is missing, empty, no audio, cut short, or has more than two channels.
    """
    with ExitStack() as stack:
        try:
            temporary = Path(tempfile.gettempdir())
            folder = stack.enter_context(scratch(temporary))
        except OSError as error:
            raise KerasepError(f"no folder for temporary files ({error.strerror or error}): set TMPDIR to one") from error
        try:
            audio = _open(Path(path), folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise KerasepError(f"{temporary}: is full: make room, or set TMPDIR to a folder that has some") from error
            raise KerasepError(f"{path}: cannot be read ({error.strerror or error})") from error
        yield audio


def _open(path: Path, folder: Path) -> AudioFile:
    source = find(path, folder)
    parts = _parts(source, folder)
    infos, unread = _infos(parts)
    if unread:
        parts = [folder / "decoded.wav"]
        # A MUSDB18 song's streams are 16 bits wherever they are read.
        codec = "pcm_s16le" if path.name.endswith(".stem.mp4") else "pcm_f32le"
        decode(source, parts, codec=codec, reason=f"soundfile cannot read it ({unread})")
        infos, _ = _infos(parts)
    first = infos[0]
    if len({(info.samplerate, info.channels) for info in infos}) > 1:
        raise KerasepError(f"{path}: its parts differ in rate or channels: separate them one by one")
    if first.channels > 2:
        raise KerasepError(
            f"{path}: has {first.channels} channels, mono or stereo is needed: mix it down first, "
            f"for example with ffmpeg -i IN -ac 2 OUT.wav"
        )
    if not (frames := sum(info.frames for info in infos)):
        raise KerasepError(f"{path}: holds no samples")
    return AudioFile(source, tuple(parts), first.samplerate, first.channels, frames, "MPEG" in first.subtype)


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """A whole file: float32 (samples, channels) and its rate in Hz. Raises as `open_audio`."""
    with open_audio(path) as audio:
        return np.concatenate(list(audio.blocks())), audio.rate


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Errors of libsndfile in writing to a folder as the system's: what it calls a "System error" is a full disk, mostly.

    Raises:
        OSError: instead of them.
    """
    try:
        yield
    except soundfile.LibsndfileError as error:
        if shutil.disk_usage(folder).free < BLOCK * 16:  # what is written at once, of two channels in float64
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise OSError(errno.EIO, first_line(error)) from error


def resampled(blocks: Iterable[np.ndarray], source: int, target: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks at another rate (soxr, high quality, no delay); untouched where the rates are equal."""
    if source == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(source, target, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def _infos(parts: list[Path]) -> tuple[list[Any], str]:
    """What soundfile says of files, and why it cannot read them, "" where it can."""
    try:
        infos = [soundfile.info(native(part)) for part in parts]
    except (soundfile.LibsndfileError, TypeError) as error:  # the latter, of soundfile, for names that end in .raw
        return [], first_line(error)
    return infos, "its header does not say how long it is" if infos[0].frames == UNKNOWN else ""


def _parts(source: Source, folder: Path) -> list[Path]:
    """A file as files that libsndfile reads to their ends. Those that it does not know are as they are."""
    with source.file.open("rb") as file:
        magic = file.read(4)
    if magic == b"OggS":
        return ogg_parts(source, folder)
    if magic.startswith((b"ID3", b"\xff")):
        return mp3_parts(source, folder)
    return promised_parts(source, folder)
