"""All stems in the device's memory: a batch then brings no samples from the host, only where they are.

16-bit stereo takes 10 MB a minute for each of the four stems: MUSDB18's 86 training songs 14 GB.
"""

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from kerasep.datasets.musdb import SOURCES, Song
from kerasep.errors import KerasepError
from kerasep.training import engine
from kerasep.training.data import Batch, Mixer
from kerasep.training.recipe import Recipe
from kerasep.training.speed import INDEX


class Places(Mixer):
    """Batches as `Mixer` makes them, of places in `Stems` instead of excerpts. Changes of speed are always the step's.

    A batch has, instead of `excerpts`:

        starts: int32 (batch, sources, parts), the first sample of each part; two parts where the recipe adds excerpts up.
        shares: float32 (batch, sources, parts), what each part is multiplied with.

    Raises:
        KerasepError: as `Mixer`, or there are more than 13 hours of music.
    """

    def __init__(self, songs: list[Song], recipe: Recipe, seed: int, host: int = 0, hosts: int = 1) -> None:
        super().__init__(songs, recipe, seed, host, hosts, in_step=True)
        ends = np.cumsum([song.frames for song in songs])
        if ends[-1] + self.longest >= 2**31:
            raise KerasepError("--stems-on-device: takes 13 hours of music at most: leave it out, or leave songs out")
        self.starts = {song.folder: int(end) - song.frames for song, end in zip(songs, ends, strict=True)}
        self.parts = 2 if recipe.augment.double else 1

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        shape = (self.size, len(SOURCES), self.parts)
        places: dict[str, tuple[tuple[int, ...], str]] = {"starts": (shape, "int32"), "shares": (shape, "float32")}
        return places | {name: part for name, part in super().shapes.items() if name != "excerpts"}

    def _read(self, song: Song, source: str, start: int, speed: float) -> int:
        return self.starts[song.folder] + start

    def _put(self, example: Batch, index: int, excerpts: list[int], shares: list[float]) -> None:
        for part in range(self.parts):
            used = part < len(excerpts)
            example["starts"][index, part] = excerpts[part] if used else 0
            example["shares"][index, part] = shares[part] if used else 0


class Stems(keras.layers.Layer):
    """The stems of all songs, one song after the other, in a variable for each source: int16 (samples, 2).

    Args:
        songs: whose stems to load.
        longest: samples of an excerpt; as many zeros follow the last song.

    Raises:
        KerasepError: a file cannot be read, or the device has not enough memory.
    """

    def __init__(self, songs: list[Song], longest: int) -> None:
        super().__init__(trainable=False, dtype="float32", autocast=False, name="stems")
        self.longest = longest
        shape = (sum(song.frames for song in songs) + longest, 2)
        for source in tqdm(SOURCES, desc="stems to the device", unit="stem", leave=False, disable=None):
            samples = _all(songs, source, shape)
            try:
                variable = self.add_weight(shape=shape, initializer="zeros", dtype="int16", trainable=False, name=source)
                variable.assign(samples)
            except engine.EXHAUSTED as error:
                size = len(SOURCES) * shape[0] * 4 / 1e6
                text = f"--stems-on-device: stems of {size:.0f} MB do not fit into the device's memory: leave it out"
                raise KerasepError(text) from error

    def call(self, starts, shares):
        """Excerpts, float32 (batch, sources, `longest`, 2), of what `Places` says."""
        excerpts = []
        for source, variable in enumerate(self.weights):
            places = ops.cast(starts[:, source, :, None], INDEX) + ops.arange(self.longest, dtype=INDEX)
            samples = ops.cast(engine.rows(variable, places), "float32")  # (batch, parts, samples, 2)
            excerpts.append(ops.sum(samples * shares[:, source, :, None, None], axis=1))
        return ops.stack(excerpts, axis=1)


def _all(songs: list[Song], source: str, shape: tuple[int, int]) -> np.ndarray:
    """A source's stems of all songs."""
    samples, end = np.zeros(shape, np.int16), 0
    for song in songs:
        try:
            samples[end : end + song.frames] = song.pcm(source, 0, song.frames)
        except (OSError, EOFError, ValueError) as error:
            path = song.folder / f"{source}.wav"
            raise KerasepError(f"{path}: cannot be read ({error}): repair or remove the song") from error
        end += song.frames
    return samples
