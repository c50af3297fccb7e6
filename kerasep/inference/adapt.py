"""Between a song's rate and channels and a graph's."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import soxr


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


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Mono to two equal channels, stereo to its mean."""
    if samples.shape[1] == channels:
        return samples
    if channels == 2:
        return np.repeat(samples, 2, axis=1)
    mean: np.ndarray = samples.mean(axis=1, keepdims=True)
    return mean
