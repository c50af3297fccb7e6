"""Between a song's rate, channels and level and a graph's."""

import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import soxr

LEAST = 1e-8  # of a standard deviation: silence is divided by it


class Counted:
    """Passes pieces on and counts their samples."""

    def __init__(self, pieces: Iterable[np.ndarray]) -> None:
        self.pieces = pieces
        self.samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self.pieces:
            self.samples += len(piece)
            yield piece


class Output:
    """One stem on its way out, from the graph's rate and channels to the song's; and its length."""

    def __init__(self, source: int, source_channels: int, rate: int, channels: int) -> None:
        """
        Args:
            source, source_channels: rate in Hz and channels of what is pushed.
            rate, channels: of what comes out.
        """
        self.source_channels = source_channels
        self.channels = channels
        self.resampler = None if rate == source else soxr.ResampleStream(source, rate, source_channels, dtype="float32")
        self.inner = 0  # samples so far at the graph's rate
        self.outer = 0  # samples so far at the song's

    def push(self, make: Callable[[], np.ndarray], given: int) -> np.ndarray:
        """What `make` gives, as far as the song has it: of the `given` samples so far, the last frames reach beyond."""
        samples = make()[: given - self.inner]
        self.inner += len(samples)
        return self._convert(samples, last=False)

    def finish(self, inner: int, outer: int) -> np.ndarray:
        """The last samples, so that there are `outer` in all, `inner` of them at the graph's rate."""
        written = self.outer
        silence = np.zeros((inner - self.inner, self.source_channels), np.float32)
        samples = self._convert(silence, last=True)[: outer - written]
        return np.pad(samples, ((0, outer - written - len(samples)), (0, 0)))

    def _convert(self, samples: np.ndarray, last: bool) -> np.ndarray:
        if self.resampler is not None:
            samples = self.resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        self.outer += len(samples)
        return to_channels(samples, self.channels)


class Level:
    """A whole song less its mean and divided by its standard deviation, both of the mean of its channels.

    They are known when the song has been heard to its end: until then it is in a file, so that memory does not grow with it.
    """

    def __init__(self, pieces: Iterable[np.ndarray], channels: int) -> None:
        """
        Args:
            pieces: of the song, float32 (samples, channels).
            channels: of them.
        """
        self.pieces, self.channels = pieces, channels
        self.mean, self.deviation = 0.0, LEAST

    def __iter__(self) -> Iterator[np.ndarray]:
        """The song in pieces at the level that a graph takes."""
        count, total, squares = 0, 0.0, 0.0
        lengths = []
        with tempfile.TemporaryFile(prefix="kerasep-") as file:
            for piece in self.pieces:
                file.write(np.ascontiguousarray(piece).data)
                mono = piece.mean(axis=1, dtype=np.float64)
                count, total, squares = count + len(mono), total + float(mono.sum()), squares + float(mono @ mono)
                lengths.append(len(piece))
            if count > 1:
                self.mean = total / count
                self.deviation = LEAST + max(squares - count * self.mean**2, 0.0) ** 0.5 / (count - 1) ** 0.5
            file.seek(0)
            for length in lengths:
                piece = np.frombuffer(file.read(4 * length * self.channels), np.float32).reshape(length, self.channels)
                yield (piece - np.float32(self.mean)) / np.float32(self.deviation)

    def back(self, stem: np.ndarray) -> np.ndarray:
        """A stem at the song's own level."""
        return stem * np.float32(self.deviation) + np.float32(self.mean)


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Mono to two equal channels, stereo to its mean."""
    if samples.shape[1] == channels:
        return samples
    if channels == 2:
        return np.repeat(samples, 2, axis=1)
    mean: np.ndarray = samples.mean(axis=1, keepdims=True)
    return mean
