"""Music to calibrate and to verify on: MUSDB18's songs, or, without them, the demo song."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kerasep.conversion import verify
from kerasep.datasets import demo
from kerasep.datasets.musdb import SOURCES, SUMS, Song, songs
from kerasep.errors import KerasepError
from kerasep.inference.chunking import cut
from kerasep.inference.graphs import WaveformGraph
from kerasep.signal.spectrogram import Spectrogram

SECONDS = 10  # from the middle of each song
CALIBRATION = 8  # training songs that int8 is calibrated on


@dataclass(frozen=True)
class Clip:
    """Music to separate.

    Attributes:
        name: of the song.
        rate: in Hz.
        mixture: float32 (samples, channels).
        stems: the true ones, and sums of them, where they are known.
    """

    name: str
    rate: int
    mixture: np.ndarray
    stems: dict[str, np.ndarray] = field(default_factory=dict)


def to_verify(root: Path | None) -> list[Clip]:
    """The test songs under a root, with their stems; or the demo song without."""
    if root is None:
        return [Clip("demo", demo.RATE, np.sum(list(demo.render().values()), axis=0))]
    return [_clip(song, (*SOURCES, *SUMS)) for song in songs(root, "test", progress=True)]


def fitted(clips: Sequence[Clip], graph: WaveformGraph) -> list[Clip]:
    """Clips of a length that a waveform graph takes in one piece: cut, or filled up with zeros."""
    segments = graph.segments

    def resized(samples: np.ndarray) -> np.ndarray:
        length = segments.samples if graph.fixed else len(samples) // segments.multiple * segments.multiple
        return np.pad(samples[:length], ((0, max(0, length - len(samples))), (0, 0)))

    return [
        replace(clip, mixture=resized(clip.mixture), stems={name: resized(stem) for name, stem in clip.stems.items()})
        for clip in clips
    ]


def to_calibrate(root: Path, spectrogram: Spectrogram, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Magnitudes of some training songs, as a network takes them: float32 (batch, frames, bins, channels).

    Args:
        root: MUSDB18.
        spectrogram: that the network takes.
        shape: of the network's input, 0 for any size.

    Raises:
        KerasepError: there are no songs to train on.
    """
    found = songs(root, "train", progress=True)
    if not found:
        raise KerasepError(f"{root}: no song in train/ that is not for validation: int8 is calibrated on some")
    chosen = found[:: max(1, len(found) // CALIBRATION)][:CALIBRATION]
    size, window = shape[:2]
    batches = []
    for song in chosen:
        clip = magnitudes(_clip(song, ()), spectrogram)
        windows = cut(clip, window, window) if window else clip[None]
        if size:  # the first ones once more, to fill the last batch
            windows = np.resize(windows, (-(-len(windows) // size) * size, *windows.shape[1:]))
        batches += np.split(windows, len(windows) // size) if size else [windows]
    return batches


def magnitudes(clip: Clip, spectrogram: Spectrogram) -> np.ndarray:
    """A clip's mixture as a network takes it, float32 (frames, bins, channels)."""
    return verify.magnitudes(clip.mixture, clip.rate, spectrogram)


def _clip(song: Song, stems: tuple[str, ...]) -> Clip:
    length = min(song.frames, SECONDS * song.rate)
    middle = ((song.frames - length) // 2, length)
    return Clip(song.name, song.rate, song.read("mixture", *middle), {stem: song.read(stem, *middle) for stem in stems})
