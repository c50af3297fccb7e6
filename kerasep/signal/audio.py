"""Audio in and out: files of any common kind, sample rates, and pieces of files so that memory does not grow with length.

Waveforms are float32 of shape (samples, channels), full scale at 1. soundfile reads what libsndfile knows (WAV, FLAC, OGG,
MP3, AIFF); anything else goes through the ffmpeg program into a temporary file.
"""

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from kerasep.errors import KerasepError

BLOCK = 1 << 18  # samples read at a time: 6 s at 44.1 kHz


@dataclass(frozen=True)
class AudioFile:
    """An open audio file. Messages name `path`, also where the samples come from a decoded copy.

    Attributes:
        rate: sample rate in Hz.
        channels: 1 or 2.
        frames: samples per channel as the header has it.
    """

    path: Path
    handle: soundfile.SoundFile
    rate: int
    channels: int
    frames: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples in pieces, float32 (samples, channels).

        Raises:
            KerasepError: the file ends early, cannot be decoded, or holds NaN or infinite samples.
        """
        done = 0
        while True:
            try:
                block = self.handle.read(BLOCK, dtype="float32", always_2d=True)
            except (RuntimeError, OSError) as error:
                raise KerasepError(f"{self.path}: cannot be decoded after {done} samples ({error})") from error
            if not len(block):
                break
            bad = ~np.isfinite(block).all(axis=1)
            if bad.any():
                raise KerasepError(f"{self.path}: NaN or infinite sample at {done + int(bad.argmax())}: repair the file first")
            done += len(block)
            yield block
        # An MP3's header can only estimate its length; every other format states it.
        if done < self.frames and self.handle.format != "MP3":
            raise KerasepError(f"{self.path}: cut short: {done} of {self.frames} samples are there")


@contextmanager
def open_audio(path: str | Path) -> Iterator[AudioFile]:
    """Open a file for reading, decoding it with ffmpeg first if soundfile cannot read it.

    Raises:
        KerasepError: the file is missing, empty, no audio, cut short, or has more than two channels.
    """
    path = Path(path)
    _check_readable(path)
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        try:
            handle = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            decoded = Path(folder) / "decoded.wav"
            _decode(path, [decoded], first_stream=0, reason=str(error))
            handle = soundfile.SoundFile(decoded)
        with handle:
            _check_complete(path)
            if handle.channels > 2:
                raise KerasepError(
                    f"{path}: has {handle.channels} channels, mono or stereo is needed: mix it down first, "
                    f"for example with ffmpeg -i IN -ac 2 OUT.wav"
                )
            if not handle.frames:
                raise KerasepError(f"{path}: holds no samples")
            yield AudioFile(path, handle, handle.samplerate, handle.channels, handle.frames)


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """A whole file: float32 (samples, channels) and its rate in Hz. Raises as `open_audio`."""
    with open_audio(path) as audio:
        return np.concatenate(list(audio.blocks())), audio.rate


def decode_streams(path: Path, outputs: list[Path], first_stream: int) -> None:
    """Decode consecutive audio streams of a file (a .stem.mp4 holds five) to 16-bit WAV files.

    Raises:
        KerasepError: ffmpeg is missing, or the file does not hold so many streams.
    """
    _check_readable(path)
    _decode(path, outputs, first_stream, reason="several streams", codec="pcm_s16le")


def resampled(blocks: Iterable[np.ndarray], source: int, target: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks at another rate (soxr, high quality, no delay); untouched where the rates are equal."""
    if source == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(source, target, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise KerasepError(f"{path}: no such file")
    if path.is_dir():
        raise KerasepError(f"{path}: is a folder: name the audio files in it")
    if not os.access(path, os.R_OK):
        raise KerasepError(f"{path}: cannot be read: check its permissions")
    if path.stat().st_size == 0:
        raise KerasepError(f"{path}: is empty (0 bytes)")


def _decode(path: Path, outputs: list[Path], first_stream: int, reason: str, codec: str = "pcm_f32le") -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise KerasepError(f"{path}: soundfile cannot read it ({reason.strip().rstrip('.')}); install ffmpeg to decode it")
    command = [ffmpeg, "-nostdin", "-v", "error", "-xerror", "-y", "-i", f"file:{path}"]
    for number, output in enumerate(outputs):
        command += ["-map", f"0:a:{first_stream + number}", "-c:a", codec, "-rf64", "auto", f"file:{output}"]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise KerasepError(f"{path}: not audio that soundfile or ffmpeg can read ({lines[-1].strip()})")


def _check_complete(path: Path) -> None:
    """Refuse a WAV file shorter than its header says: libsndfile would read what is there without a word."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        size = path.stat().st_size
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", header)
            # A program that writes to a pipe cannot know the length and leaves it 0 or at its maximum.
            if kind == b"data" and 0 < length < 0xFFFFFF00 and file.tell() + length > size:
                have, want = size - file.tell(), length
                raise KerasepError(f"{path}: cut short: {have} of {want} bytes of samples are there: fetch it again")
            file.seek(length + length % 2, os.SEEK_CUR)
