"""MUSDB18 on disk.

Both forms of the data set are read: MUSDB18-HQ, folders of WAV files (mixture, vocals, drums, bass, other), and MUSDB18, one
.stem.mp4 a song, whose five streams (mixture, drums, bass, other, vocals) are decoded once into a cache of such folders.
Songs are then read in slices, so memory does not grow with the data set.
"""

import contextlib
import hashlib
import os
import shutil
import struct
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from kerasep.errors import KerasepError
from kerasep.files import CacheError, cache, scratch
from kerasep.signal.audio import BLOCK
from kerasep.signal.ffmpeg import decode
from kerasep.signal.source import Source, native

SUFFIX = ".stem.mp4"
STEMS = ("mixture", "drums", "bass", "other", "vocals")  # in the order of the streams of a .stem.mp4
SOURCES = STEMS[1:]
SUMS = {"accompaniment": ("drums", "bass", "other")}  # derived by the musdb package as well

# The songs of the training set kept for validation, as the musdb package (0.4.3, configs/mus.yaml) names them.
VALIDATION = frozenset(
    (
        "Actions - One Minute Smile",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Johnny Lokke - Promises & Lies",
        "Patrick Talbot - A Reason To Leave",
        "Triviul - Angelsaint",
        "Alexander Ross - Goodbye Bolero",
        "Fergessen - Nos Palpitants",
        "Leaf - Summerghost",
        "Skelpolu - Human Mistakes",
        "Young Griffo - Pennies",
        "ANiMAL - Rockshow",
        "James May - On The Line",
        "Meaxic - Take A Step",
        "Traffic Experiment - Sirens",
    )
)


@dataclass(frozen=True)
class Song:
    """A song as a folder of WAV files.

    Attributes:
        name: as the data set has it.
        folder: where its WAV files are.
        rate: sample rate in Hz.
        frames: length of its shortest stem in samples.
        remix: use the sum of the sources as the mixture. The mixture in MUSDB18's AAC files was encoded separately, and
            differs from it.
    """

    name: str
    folder: Path
    rate: int
    frames: int
    remix: bool = False

    def read(self, stem: str, start: int = 0, frames: int = -1) -> np.ndarray:
        """A slice of a stem, or of the accompaniment, float32 (samples, channels).

        Raises:
            KerasepError: a file is missing or damaged, ends before the slice does, or holds NaN or infinite samples.
        """
        if parts := SOURCES if self.remix and stem == "mixture" else SUMS.get(stem, ()):
            frames = min(frames, self.frames - start) if frames >= 0 else self.frames - start
            return np.asarray(np.sum([self.read(source, start, frames) for source in parts], axis=0))
        path = self.folder / f"{stem}.wav"
        try:
            with soundfile.SoundFile(native(path)) as file:
                file.seek(start)
                samples = np.asarray(file.read(frames, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError as error:
            raise KerasepError(f"{path}: cannot be read ({error.error_string}): fetch the song again") from error
        if len(samples) < frames:
            raise KerasepError(f"{path}: ends {frames - len(samples)} samples early: fetch the song again")
        bad = ~np.isfinite(samples).all(axis=1)
        if bad.any():
            raise KerasepError(f"{path}: NaN or infinite sample at {start + int(bad.argmax())}: repair the file first")
        return samples

    def pcm(self, stem: str, start: int, frames: int) -> np.ndarray:
        """A slice of a stem as 16-bit samples, int16 (samples, 2). Files of 16 bits, as most are, are read without conversion.

        Raises:
            OSError, EOFError, ValueError: the file is missing or damaged, or ends before the slice does.
        """
        path = self.folder / f"{stem}.wav"
        try:
            with wave.open(str(path)) as file:
                if file.getsampwidth() != 2:
                    raise wave.Error("not 16 bits")
                file.setpos(start)
                samples = np.frombuffer(file.readframes(frames), "<i2").reshape(-1, file.getnchannels())
        except wave.Error:  # not 16-bit PCM, or no WAV
            try:
                samples = np.rint(32767 * np.clip(self.read(stem, start, frames), -1, 1)).astype(np.int16)
            except KerasepError as error:
                raise ValueError(str(error)) from error
        if len(samples) != frames:
            raise EOFError(f"ends {frames - len(samples)} samples early")
        return samples

    def blocks(self, stem: str, channels: int) -> Iterator[np.ndarray]:
        """A stem in pieces, float32 (samples, channels); its channels are averaged if `channels` is 1."""
        for start in range(0, self.frames, BLOCK):
            samples = self.read(stem, start, min(BLOCK, self.frames - start))
            yield samples if channels == 2 else samples.mean(axis=1, keepdims=True)


def songs(root: Path, subset: str, progress: bool = False, is_wav: bool = False, remix: bool = False) -> list[Song]:
    """The songs of a MUSDB folder, sorted by name.

    Args:
        root: the data set, with folders `train` and `test`.
        subset: "train" (without the validation songs), "validation" or "test".
        progress: show a bar while .stem.mp4 files are decoded.
        is_wav: ignore .stem.mp4 files, where a folder holds both forms.
        remix: see `Song`.

    Raises:
        KerasepError: the folder is not MUSDB, or a song is damaged or there in both forms.

    Example:
        >>> song = songs(Path("musdb18hq"), "test")[0]
        >>> song.read("vocals", start=44100, frames=44100).shape
        (44100, 2)
    """
    names = tqdm(find(root, subset, is_wav).items(), desc=f"opening {subset}", unit="song", disable=None if progress else True)
    return [open_song(name, path, remix) for name, path in names]


def find(root: Path, subset: str, is_wav: bool = False) -> dict[str, Path]:
    """Where the songs of `songs` are, by their names in order. Hidden files are none, as macOS leaves them everywhere.

    Raises:
        KerasepError: the folder is not MUSDB, or a song is there in both forms.
    """
    folder = root / ("test" if subset == "test" else "train")
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError as error:
        raise KerasepError(f"{root}: no folder {folder.name}/ in it: name the root of MUSDB18 or MUSDB18-HQ") from error
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be read ({error.strerror}): name the root of MUSDB18 or MUSDB18-HQ") from error
    stems = {path.name.removesuffix(SUFFIX): path for path in paths if path.name.endswith(SUFFIX) and not is_wav}
    folders = {path.name: path for path in paths if not path.name.endswith(SUFFIX) and _is_song(path)}
    found = {name: path for name, path in sorted((folders | stems).items()) if name and not name.startswith(".")}
    if not found:
        raise KerasepError(f"{folder}: neither song folders with a mixture.wav nor .stem.mp4 files in it")
    if subset != "test":
        found = {name: path for name, path in found.items() if (name in VALIDATION) == (subset == "validation")}
    if twice := [name for name in found if name in stems and name in folders]:
        remedy = "keep one of them, or let `kerasep evaluate` read folders alone with --is-wav"
        raise KerasepError(f"{folders[twice[0]]}: is there as a folder and as {SUFFIX}: {remedy}")
    return found


def _is_song(path: Path) -> bool:
    """Whether a folder is meant to be one: it has any stem. So is what cannot be looked into: opening it will say why."""
    try:
        return not path.exists() or (path.is_dir() and any(os.path.lexists(path / f"{stem}.wav") for stem in STEMS))
    except OSError:
        return True


def open_song(name: str, path: Path, remix: bool = False) -> Song:
    """A song that `find` found.

    Raises:
        CacheError: the cache takes no decoded stems.
        KerasepError: the song is damaged.
    """
    try:
        folder = path if path.is_dir() and not path.name.endswith(SUFFIX) else _decoded(path)
        infos = [_info(folder / f"{stem}.wav") for stem in STEMS]
    except OSError as error:
        raise KerasepError(f"{path}: cannot be read ({error.strerror}): fetch the song again") from error
    if len({info.samplerate for info in infos}) > 1 or any(info.channels != 2 for info in infos):
        raise KerasepError(f"{folder}: stems differ in rate or are not stereo: fetch the song again")
    if max(info.frames for info in infos) > min(info.frames for info in infos) + infos[0].samplerate // 10:
        seconds = ", ".join(f"{stem} {info.frames / info.samplerate:.1f} s" for stem, info in zip(STEMS, infos, strict=True))
        raise KerasepError(f"{folder}: stems differ in length ({seconds}): fetch the song again")
    return Song(name, folder, infos[0].samplerate, min(info.frames for info in infos), remix)


def _info(path: Path) -> Any:
    """What a WAV file's header says; soundfile would wait for what is no file."""
    with contextlib.suppress(soundfile.LibsndfileError):
        if path.is_file():
            return soundfile.info(native(path))
    raise KerasepError(f"{path}: missing or no WAV file: fetch the song again")


def _decoded(path: Path) -> Path:
    """The cached folder of a .stem.mp4's streams as WAV files, made on first use."""
    state = path.stat()
    key = hashlib.sha256(os.fsencode(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}")).hexdigest()[:16]
    stems = cache() / "stems"
    folder = stems / key
    if not _is_whole(folder):
        try:
            stems.mkdir(parents=True, exist_ok=True)
            with scratch(stems) as partial:
                made = partial / "new"
                made.mkdir()
                decode(Source(path, path), [made / f"{stem}.wav" for stem in STEMS], codec="pcm_s16le")
                if not _is_whole(folder):  # else another process was faster
                    shutil.rmtree(folder, ignore_errors=True)  # what a crash left of it
                    made.replace(folder)
        except OSError as error:
            raise _unwritable(stems, error.strerror) from error
    return folder


def _unwritable(folder: Path, reason: str | None) -> CacheError:
    return CacheError(f"{folder}: cannot be written ({reason}): decoded songs go there: name another cache with XDG_CACHE_HOME")


def _is_whole(folder: Path) -> bool:
    """Whether a cached folder holds every stem, and each file is as long as its header says."""
    for stem in STEMS:
        path = folder / f"{stem}.wav"
        try:
            with path.open("rb") as file:
                kind, length = struct.unpack("<4sI", file.read(8))
        except (OSError, struct.error):
            return False
        if kind != b"RF64" and (
            kind != b"RIFF" or length + 8 != path.stat().st_size
        ):  # RF64: above 4 GB, the length is elsewhere
            return False
    return True
