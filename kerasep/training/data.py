"""Training examples: excerpts of songs, read here, played at their speeds, mixed and transformed inside the training step."""

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr

from kerasep.datasets.musdb import SOURCES, Song
from kerasep.errors import KerasepError
from kerasep.signal.stft import stft_blocks
from kerasep.training.recipe import Recipe
from kerasep.training.speed import as_step, needed

Batch = dict[str, np.ndarray]
BROKEN = 0.01  # largest tolerated share of unreadable excerpts


class Mixer:
    """Training batches by number: excerpts of a random song per source (S. Uhlich et al., ICASSP 2017, section 4).

    Songs are read in slices of 16-bit samples; `Recipe.augment` says how they are augmented. The same seed and number always
    give the same example, in every process and in any order.

    An excerpt that cannot be read is replaced by another and reported in a warning; more than 1 % of them end the run.

    Args:
        songs: to take excerpts from.
        recipe: batch size, length and augmentation of examples.
        seed: of all random choices.
        host, hosts: this machine's index and the number of machines; each makes its part of a batch.
        in_step: leave changes of speed to the training step (`kerasep.training.speed`).

    Raises:
        KerasepError: a song has another rate than the recipe, or is too short.
    """

    def __init__(
        self, songs: list[Song], recipe: Recipe, seed: int, host: int = 0, hosts: int = 1, in_step: bool = False
    ) -> None:
        self.songs = songs
        self.recipe = recipe
        self.seed = seed
        self.host = host
        self.size = recipe.batch // hosts  # examples per batch made on this host
        self.error: KerasepError | None = None  # what ended the run: backends pass on only its text
        self.broken = 0
        self._lock = threading.Lock()
        self.in_step = in_step and recipe.augment.speed > 0
        fastest = self._needed(1 + recipe.augment.speed)
        self.longest = fastest if self.in_step else recipe.samples
        for song in songs:
            if song.rate != recipe.spectrogram.rate:
                raise KerasepError(f"{song.folder}: has {song.rate} Hz, the recipe {recipe.spectrogram.rate}: resample it")
            if song.frames < fastest:
                raise KerasepError(f"{song.folder}: shorter than the {recipe.seconds:g} s of a training excerpt")

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each part of a batch."""
        batch, sources = self.size, len(SOURCES)
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "excerpts": ((batch, sources, self.longest, 2), "int16"),
            "gains": ((batch, sources, 2, self.recipe.spectrogram.channels), "float32"),
            "tilts": ((batch, sources), "float32"),
        }
        return shapes | ({"steps": ((batch, sources), "int32")} if self.in_step else {})

    def __call__(self, number: int) -> Batch:
        """Batch `number`.

        Returns:
            excerpts: int16 (batch, sources, samples, 2), the sources in `SOURCES`' order; if the step changes speeds, as many
                samples as the highest speed needs, zeros after those that a lower one needs.
            gains: float32 (batch, sources, 2, channels), the matrix from an excerpt's channels to the network's.
            tilts: float32 (batch, sources), in dB per octave.
            steps: int32 (batch, sources), speeds as `kerasep.training.speed.played` takes them, if the step changes them.

        Raises:
            KerasepError: too many excerpts could not be read.
        """
        batch = {name: np.empty(shape, kind) for name, (shape, kind) in self.shapes.items()}
        first = number * self.recipe.batch + self.host * self.size
        for index in range(self.size):
            random = np.random.default_rng((self.seed, first + index))
            self._fill(random, {name: part[index] for name, part in batch.items()})
        return batch

    def _fill(self, random: np.random.Generator, example: Batch) -> None:
        augment = self.recipe.augment
        place = self._place(random)  # of the sources from the main song
        tilts = example["tilts"]
        for index, source in enumerate(SOURCES):
            matrix = example["gains"][index]
            excerpt, speed = self._excerpt(source, random, place if random.random() < augment.coherent else None)
            excerpts, shares = [excerpt], [1.0]
            gain = random.uniform(*augment.gain)
            if random.random() < augment.double:
                second, _ = self._excerpt(source, random, None, speed if self.in_step else None)
                share = random.uniform(0.25, 0.75)
                excerpts, shares = [excerpt, second], [share, 1 - share]
                gain *= 2
            self._put(example, index, excerpts, shares)
            if self.in_step:
                example["steps"][index] = as_step(speed, self.recipe.samples)
            if random.random() < augment.drop:
                gain = 0.0
            order = slice(None, None, -1 if random.random() < augment.swap else 1)
            matrix[:] = gain * (np.eye(2)[:, order] if matrix.shape[1] == 2 else np.full((2, 1), 0.5))
            tilts[index] = random.uniform(-augment.tilt, augment.tilt)

    def _place(self, random: np.random.Generator, speed: float | None = None) -> tuple[Song, float, int]:
        """A song, a playback speed unless it is given, and an excerpt's first sample."""
        song = self.songs[random.integers(len(self.songs))]
        drawn = random.uniform(1 - self.recipe.augment.speed, 1 + self.recipe.augment.speed)
        speed = speed or drawn
        return song, speed, int(random.integers(song.frames - self._needed(speed) + 1))

    def _excerpt(
        self,
        source: str,
        random: np.random.Generator,
        place: tuple[Song, float, int] | None,
        speed: float | None = None,
    ) -> tuple[Any, float]:
        """An excerpt, and its speed."""
        while True:
            song, chosen, start = place or self._place(random, speed)
            try:
                return self._read(song, source, start, chosen), chosen
            except (OSError, EOFError, ValueError) as error:
                self._note(song, source, error)
                place = None

    def _read(self, song: Song, source: str, start: int, speed: float) -> Any:
        """Samples, int16 (samples, 2), at their speed unless the step changes it."""
        samples = song.pcm(source, start, self._needed(speed))
        if speed != 1 and not self.in_step:
            return soxr.resample(samples, speed * song.rate, song.rate)[: self.recipe.samples]
        return samples

    def _put(self, example: Batch, index: int, excerpts: list[Any], shares: list[float]) -> None:
        """An excerpt of a source, or the sum of two, into an example."""
        samples = example["excerpts"][index]
        excerpt = excerpts[0] if len(excerpts) == 1 else shares[0] * excerpts[0] + shares[1] * excerpts[1]
        samples[: len(excerpt)], samples[len(excerpt) :] = excerpt, 0

    def _needed(self, speed: float) -> int:
        """Samples of a song to read for an excerpt at that speed."""
        samples = self.recipe.samples
        if self.in_step:
            return needed(samples, as_step(speed, samples))
        return samples if speed == 1 else int(samples * speed) + 2

    def _note(self, song: Song, source: str, error: Exception) -> None:
        path = song.folder / f"{source}.wav"
        with self._lock:
            self.broken += 1
            allowed = BROKEN * self.recipe.steps * self.recipe.batch * len(SOURCES)
            warnings.warn(f"{path}: cannot be read ({error}): another excerpt takes its place", stacklevel=2)
            if self.broken > allowed:
                text = f"{path}: cannot be read ({error}), as were {self.broken} excerpts, more than 1 % of an epoch's"
                self.error = KerasepError(f"{text}: repair or remove the song")
                raise self.error


def whole_song(song: Song, stems: tuple[str, ...], recipe: Recipe, frames: int) -> Iterator[dict[str, np.ndarray]]:
    """Spectra of a song's stems in blocks of `frames`, complex64 (frames, bins, channels); the last block may be shorter."""
    channels = recipe.spectrogram.channels
    streams = [stft_blocks(song.blocks(stem, channels), recipe.spectrogram, frames) for stem in stems]
    for spectra in zip(*streams, strict=True):
        yield dict(zip(stems, spectra, strict=True))
