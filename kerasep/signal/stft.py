"""Short-time Fourier transform and its inverse, whole or block by block, in NumPy and SciPy.

Waveforms are float32 of shape (samples, channels); spectra are complex64 of shape (frames, bins, channels).
By default frame t is centred on sample t * hop: the signal is extended by fft / 2 samples at both ends, reflected about its
first and last sample, so n samples give 1 + n // hop frames. This is the convention of librosa, torch.stft
and Open-Unmix (F. Stöter et al., JOSS 2019). Other networks were trained on other extensions (`spectrogram.PADDINGS`).

The inverse is the least-squares one (D. Griffin and J. Lim, IEEE Trans. ASSP 1984, eq. 6): windowed overlap-add divided by
the sum of squared windows.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft

from kerasep.signal.spectrogram import Spectrogram, window

CHUNK = 16  # frames transformed at a time, so that they stay in the processor's cache


def stft(samples: np.ndarray, spectrogram: Spectrogram, centred: bool = True) -> np.ndarray:
    """Transform a whole signal.

    Args:
        samples: float32 (samples, channels), at least one sample.
        centred: extend the signal at both ends. Without, only frames that lie inside it come out, as for training on
            excerpts, whose ends are no song's ends.

    Returns:
        complex64 (frames, bins, channels).
    """
    return _transform(_extended(samples, spectrogram) if centred else samples, spectrogram)


def istft(spectrum: np.ndarray, spectrogram: Spectrogram, samples: int) -> np.ndarray:
    """Invert `stft`: complex64 (frames, bins, channels) to float32 (samples, channels)."""
    synthesis = Synthesis(spectrogram, spectrum.shape[-1])
    return np.concatenate([synthesis.push(spectrum), synthesis.finish()])[:samples]


def stft_blocks(blocks: Iterable[np.ndarray], spectrogram: Spectrogram, frames: int) -> Iterator[np.ndarray]:
    """Transform a signal that arrives in pieces; equal to `stft` of the whole, in memory for one block.

    Args:
        blocks: pieces of the signal, float32 (samples, channels), of any lengths.
        frames: frames in each block that comes out; the last one has what is left.

    Yields:
        complex64 (frames, bins, channels).
    """
    return (_transform(piece, spectrogram) for piece in padded_blocks(blocks, spectrogram, frames))


def padded_blocks(blocks: Iterable[np.ndarray], spectrogram: Spectrogram, frames: int) -> Iterator[np.ndarray]:
    """What `stft_blocks` transforms: the signal, extended at its ends, in pieces that overlap as their frames do.

    Args:
        blocks: pieces of the signal, float32 (samples, channels), of any lengths.
        frames: frames in each piece that comes out; the last one has what is left.

    Yields:
        float32 (samples, channels), for so many frames that are not centred.
    """
    pieces = _Pieces(spectrogram, frames)
    for block in blocks:
        yield from pieces.push(block)
    yield from pieces.finish()


class Analysis:
    """The transform of a signal that arrives in pieces: what `Synthesis` is the inverse of."""

    def __init__(self, spectrogram: Spectrogram, frames: int) -> None:
        """
        Args:
            frames: frames in each block that comes out; the last one has what is left.
        """
        self.spectrogram = spectrogram
        self.pieces = _Pieces(spectrogram, frames)

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Add samples, float32 (samples, channels), for the blocks that they complete, complex64 (frames, bins, channels)."""
        return (_transform(piece, self.spectrogram) for piece in self.pieces.push(samples))

    def finish(self) -> Iterator[np.ndarray]:
        """The blocks that the signal's end completes, and what is left."""
        return (_transform(piece, self.spectrogram) for piece in self.pieces.finish())


class _Pieces:
    """A signal, extended at its ends, in pieces for `frames` frames each, of which the last one has what is left."""

    def __init__(self, spectrogram: Spectrogram, frames: int) -> None:
        self.spectrogram = spectrogram
        self.frames = frames
        self.extension = _Extension(spectrogram)
        self.waiting: list[np.ndarray] = []
        self.held = 0

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        yield from self._complete(self.extension.push(samples))

    def finish(self) -> Iterator[np.ndarray]:
        yield from self._complete(self.extension.finish())
        if self.held >= self.spectrogram.fft:
            yield np.concatenate(self.waiting)

    def _complete(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        need = (self.frames - 1) * self.spectrogram.hop + self.spectrogram.fft
        self.waiting.append(samples)
        self.held += len(samples)
        if self.held < need:
            return
        joined = np.concatenate(self.waiting)
        while len(joined) >= need:
            yield joined[:need]
            joined = joined[self.frames * self.spectrogram.hop :]
        self.waiting, self.held = [joined], len(joined)


class Synthesis:
    """The inverse transform of a signal that arrives in blocks of frames, by overlap-add in constant memory."""

    def __init__(self, spectrogram: Spectrogram, channels: int) -> None:
        self.spectrogram = spectrogram
        hop, pieces = spectrogram.hop, spectrogram.fft // spectrogram.hop
        self.squares = np.square(window(spectrogram.window, spectrogram.fft).astype(np.float64)).reshape(pieces, hop)
        # Divided by the sum of squared windows at once, where all of them are: the ends are made good.
        shape = window(spectrogram.window, spectrogram.fft) / np.tile(self.squares.sum(0), pieces)
        self.window = np.repeat(shape.astype(np.float32)[:, None], channels, axis=1)
        self.tail = np.zeros((spectrogram.fft - hop, channels), np.float32)  # sums that later frames still add to
        self.frames = 0  # so far
        self.skip = spectrogram.start  # no part of the signal

    def push(self, spectrum: np.ndarray, gain: np.ndarray | None = None) -> np.ndarray:
        """Add frames, complex64 (frames, bins, channels), perhaps times a gain, for the samples they complete.

        The gain is put on as few frames at a time as the transform takes, while they are in the processor's cache.

        Returns:
            float32 (samples, channels).
        """
        fft, hop = self.spectrogram.fft, self.spectrogram.hop
        sums = _with_room(self.tail, len(spectrum), hop)
        for start in range(0, len(spectrum), CHUNK):
            chunk = slice(start, start + CHUNK)
            part = spectrum[chunk] if gain is None else spectrum[chunk] * gain[chunk]
            frames = scipy.fft.irfft(part, n=fft, axis=1)  # (frames, fft, channels)
            frames *= self.window
            _overlap_add(frames, sums[start:])
        done = len(spectrum)
        for number in range(self.frames, min(self.frames + done, len(self.squares) - 1)):
            self._make_good(sums[number - self.frames], self.squares[: number + 1])
        self.frames += done
        self.tail = sums[done:].reshape(fft - hop, -1)
        return self._complete(sums[:done].reshape(done * hop, -1))

    def finish(self) -> np.ndarray:
        """The samples after the last frame's hop. More than the signal had: cut at its length."""
        tail = self.tail.reshape(len(self.squares) - 1, self.spectrogram.hop, -1)
        for number, hop in enumerate(tail):
            self._make_good(hop, self.squares[number + 1 : number + 1 + self.frames])
        return self._complete(self.tail)

    def _make_good(self, samples: np.ndarray, squares: np.ndarray) -> None:
        """A hop (hop, channels) over which there are these windows alone, for all of them."""
        # The floor is reached only past the end of the signal, where what comes out is cut off.
        samples *= (self.squares.sum(0) / np.maximum(squares.sum(0), 1e-6)).astype(np.float32)[:, None]

    def _complete(self, sums: np.ndarray) -> np.ndarray:
        start = min(self.skip, len(sums))
        self.skip -= start
        return sums[start:]


def _transform(padded: np.ndarray, spectrogram: Spectrogram) -> np.ndarray:
    """All whole frames of an extended signal (samples, channels) -> (frames, bins, channels), contiguous."""
    fft, hop = spectrogram.fft, spectrogram.hop
    shape = _for_channels(spectrogram, padded.shape[1])
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft, axis=0)[::hop].transpose(0, 2, 1)
    spectrum = np.empty((len(frames), spectrogram.bins, padded.shape[1]), np.complex64)
    for start in range(0, len(frames), CHUNK):
        chunk = slice(start, start + CHUNK)
        spectrum[chunk] = scipy.fft.rfft(np.multiply(frames[chunk], shape, order="C"), axis=1)
    return spectrum


def _for_channels(spectrogram: Spectrogram, channels: int) -> np.ndarray:
    """The window for each channel, (fft, channels). NumPy is several times slower when it has to repeat along the last axis."""
    return np.repeat(window(spectrogram.window, spectrogram.fft)[:, None], channels, axis=1)


def _with_room(tail: np.ndarray, frames: int, hop: int) -> np.ndarray:
    """`tail` (samples, channels) with room for `frames` more hops, as (hops, hop, channels)."""
    room = np.zeros((frames * hop, tail.shape[1]), np.float32)
    return np.concatenate([tail, room]).reshape(-1, hop, tail.shape[1])


def _overlap_add(frames: np.ndarray, sums: np.ndarray) -> None:
    """Add frames (frames, fft, channels), one hop apart, to the start of `sums` (hops, hop, channels)."""
    count, hop = len(frames), sums.shape[1]
    for piece in range(frames.shape[1] // hop):  # the k-th hop of every frame lands k hops after the frame's start
        sums[piece : piece + count] += frames[:, piece * hop : (piece + 1) * hop]


def _extended(samples: np.ndarray, spectrogram: Spectrogram) -> np.ndarray:
    """A whole signal with what its spectrogram needs at either end."""
    ends = ((spectrogram.start, spectrogram.end), (0, 0))
    return np.pad(samples, ends, mode="reflect") if spectrogram.padding == "reflect" else np.pad(samples, ends)


class _Extension:
    """`_extended` of a signal that arrives in pieces."""

    def __init__(self, spectrogram: Spectrogram) -> None:
        self.spectrogram = spectrogram
        self.held: list[np.ndarray] | None = []  # the start of the signal, until there is enough of it to reflect
        self.tail = np.zeros((0, 1), np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next samples, behind those before the first where they are the first; none while there are too few to tell."""
        start, end = self.spectrogram.start, self.spectrogram.end
        if self.held is not None:
            self.held.append(samples)
            if sum(map(len, self.held)) <= end:
                return samples[:0]
            self.tail = samples = np.concatenate(self.held)
            self.held = None
            first = samples[start:0:-1] if self._reflects else np.zeros((start, samples.shape[1]), samples.dtype)
            extended = np.concatenate([first, samples])
        else:
            extended = samples
            self.tail = samples if len(samples) > end else np.concatenate([self.tail, samples])
        self.tail = self.tail[-(end + 1) :]
        return extended

    def finish(self) -> np.ndarray:
        """What comes behind the last sample."""
        if self.held is None:
            end, tail = self.spectrogram.end, self.tail
            return tail[-2 : -end - 2 : -1] if self._reflects else np.zeros((end, tail.shape[1]), tail.dtype)
        whole = np.concatenate(self.held) if self.held else self.tail
        # Shorter than what it is extended by: NumPy reflects back and forth.
        return _extended(whole, self.spectrogram) if len(whole) else whole

    @property
    def _reflects(self) -> bool:
        return self.spectrogram.padding == "reflect"
