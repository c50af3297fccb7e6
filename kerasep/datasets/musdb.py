"""MUSDB18 on disk.

Both forms of the data set are read: MUSDB18-HQ, folders of WAV files (mixture, vocals, drums, bass, other), and MUSDB18, one
.stem.mp4 a song, whose five streams (mixture, drums, bass, other, vocals) are decoded once into a cache of such folders.
Songs are then read in slices, so memory does not grow with the data set.
"""

import hashlib
import shutil
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from kerasep.errors import KerasepError
from kerasep.files import cache
from kerasep.signal.audio import BLOCK
from kerasep.signal.ffmpeg import decode
from kerasep.signal.source import Source

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
        """A slice of a stem, or of the accompaniment, float32 (samples, channels)."""
        if parts := SOURCES if self.remix and stem == "mixture" else SUMS.get(stem, ()):
            frames = min(frames, self.frames - start) if frames >= 0 else self.frames - start
            return np.asarray(np.sum([self.read(source, start, frames) for source in parts], axis=0))
        with soundfile.SoundFile(self.folder / f"{stem}.wav") as file:
            file.seek(start)
            return np.asarray(file.read(frames, dtype="float32", always_2d=True))

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
            except soundfile.LibsndfileError as error:
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
        KerasepError: the folder is not MUSDB, or a song is damaged.

    Example:
        >>> song = songs(Path("musdb18hq"), "test")[0]
        >>> song.read("vocals", start=44100, frames=44100).shape
        (44100, 2)
    """
    folder = root / ("test" if subset == "test" else "train")
    if not folder.is_dir():
        raise KerasepError(f"{root}: no folder {folder.name}/ in it: name the root of MUSDB18 or MUSDB18-HQ")
    found = {path.name: path for path in folder.iterdir() if (path / "mixture.wav").is_file()}
    if not is_wav:
        found |= {path.name.removesuffix(".stem.mp4"): path for path in folder.glob("*.stem.mp4")}
    if not found:
        raise KerasepError(f"{folder}: neither song folders with a mixture.wav nor .stem.mp4 files in it")
    if subset != "test":
        found = {name: path for name, path in found.items() if (name in VALIDATION) == (subset == "validation")}
    names = tqdm(sorted(found), desc=f"opening {subset}", unit="song", disable=None if progress else True)
    return [_open(name, found[name], remix) for name in names]


def _open(name: str, path: Path, remix: bool) -> Song:
    folder = _decoded(path) if path.name.endswith(".stem.mp4") else path
    infos = []
    for stem in STEMS:
        try:
            infos.append(soundfile.info(folder / f"{stem}.wav"))
        except soundfile.LibsndfileError as error:
            raise KerasepError(f"{folder / stem}.wav: missing or no WAV file: fetch the song again") from error
    if len({info.samplerate for info in infos}) > 1 or any(info.channels != 2 for info in infos):
        raise KerasepError(f"{folder}: stems differ in rate or are not stereo: fetch the song again")
    if max(info.frames for info in infos) > min(info.frames for info in infos) + infos[0].samplerate // 10:
        seconds = ", ".join(f"{stem} {info.frames / info.samplerate:.1f} s" for stem, info in zip(STEMS, infos, strict=True))
        raise KerasepError(f"{folder}: stems differ in length ({seconds}): fetch the song again")
    return Song(name, folder, infos[0].samplerate, min(info.frames for info in infos), remix)


def _decoded(path: Path) -> Path:
    """The cached folder of a .stem.mp4's streams as WAV files, made on first use."""
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:16]
    stems = cache() / "stems"
    folder = stems / key
    if not folder.is_dir():
        stems.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=stems))
        try:
            decode(Source(path, path), [partial / f"{stem}.wav" for stem in STEMS], codec="pcm_s16le")
            try:
                partial.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder
