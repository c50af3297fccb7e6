"""What one training example is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from kerasep.dataset import SOURCES, Song
from kerasep.errors import KerasepError
from kerasep.spectral import Spectrogram, stft


@dataclass(frozen=True)
class Mixer:
    """Training examples by number: excerpts of a random song per source, mixed (S. Uhlich et al., ICASSP 2017, section 4).

    Each source gets a random offset, a gain of U(0.25, 1.25) and, every second time, swapped channels; with `speed`, it is
    also played faster or slower, its pitch changing with it as on tape. The same seed and number always give the same
    example, whatever process asks for it in whatever order.

    Attributes:
        songs: where excerpts come from, each at least `seconds` long.
        target: the source to be learnt.
        spectrogram: what is made of the excerpts.
        seconds: length of an excerpt.
        seed: of all random choices.
        speed: the largest relative change of speed, 0 for none.
    """

    songs: list[Song]
    target: str
    spectrogram: Spectrogram
    seconds: float
    seed: int
    speed: float = 0.0

    def __post_init__(self) -> None:
        for song in self.songs:
            if song.rate != self.spectrogram.rate:
                raise KerasepError(f"{song.folder}: has {song.rate} Hz, the recipe {self.spectrogram.rate}: resample it")
            if song.frames < self._needed(1 + self.speed):
                raise KerasepError(f"{song.folder}: shorter than the {self.seconds} s of a training excerpt")

    @property
    def samples(self) -> int:
        """Samples in an excerpt."""
        return int(self.seconds * self.spectrogram.rate)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, bins, channels) of an example's spectrograms."""
        frames = 1 + (self.samples - self.spectrogram.fft) // self.spectrogram.hop
        return frames, self.spectrogram.bins, self.spectrogram.channels

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Example `number`: magnitudes of the mixture and of the target, both float32 (frames, bins, channels)."""
        random = np.random.default_rng((self.seed, number))
        excerpts = {source: self._excerpt(source, random) for source in SOURCES}
        return self._magnitude(np.sum(list(excerpts.values()), axis=0)), self._magnitude(excerpts[self.target])

    def _excerpt(self, source: str, random: np.random.Generator) -> np.ndarray:
        song = self.songs[random.integers(len(self.songs))]
        speed = random.uniform(1 - self.speed, 1 + self.speed)
        needed = self._needed(speed)
        start = int(random.integers(song.frames - needed + 1))
        samples = song.read(source, start, needed) * np.float32(random.uniform(0.25, 1.25))
        if self.speed:
            samples = soxr.resample(samples, speed * song.rate, song.rate)[: self.samples]
        return samples[:, ::-1] if random.random() < 0.5 else samples

    def _needed(self, speed: float) -> int:
        """Samples of a song that give an excerpt at so many times its speed."""
        return self.samples if speed == 1 else int(self.samples * speed) + 2

    def _magnitude(self, samples: np.ndarray) -> np.ndarray:
        # Not centred: an excerpt's ends are no song's ends. Open-Unmix trains so too.
        return np.abs(stft(samples, self.spectrogram, centred=False))


def whole_songs(songs: list[Song], target: str, spectrogram: Spectrogram) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each song's own mixture and target as magnitudes, float32 (frames, bins, channels)."""
    for song in songs:
        mixture, reference = (song.read(stem, frames=song.frames) for stem in ("mixture", target))
        yield np.abs(stft(mixture, spectrogram)), np.abs(stft(reference, spectrogram))
