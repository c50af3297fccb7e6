"""A transform of N = A B points as two products (J. Cooley and J. Tukey, Math. Comp. 1965): sizes and matrices, in NumPy.

With n = B a + b and k = k1 + A k2,

    X[k1 + A k2] = sum_b exp(-2 pi i b k2 / B) Y[b, k1],    Y[b, k1] = sum_a w[n] x[n] exp(-2 pi i k1 n / N).

The window and the twiddle factors cost nothing: they are part of the first product's matrices, one for each b. The
signal is real: of k2 only 0 to B / 2 is computed. That is a sixteenth of the multiply-adds of one product of 4096 x 4098.
"""

import math

import numpy as np

from kerasep.signal.spectrogram import Spectrogram, window


class Plan:
    """Sizes and matrices of a spectrogram's transform.

    Attributes:
        outer, inner: A and B; B divides the hop.
        rows: of spectra.
        overlap: hops in a window.
        lead, trail: hops of padding before and after a signal.
        extra: frames that a signal has more than hops.
    """

    def __init__(self, spectrogram: Spectrogram) -> None:
        """Raises ValueError for a spectrogram whose frames do not begin where a hop of the signal does."""
        fft, hop = spectrogram.fft, spectrogram.hop
        if spectrogram.start % hop:
            raise ValueError(f"half a window of {fft} samples is not made of hops of {hop}: there is no waveform graph of it")
        self.spectrogram = spectrogram
        self.inner = max(b for b in range(1, math.isqrt(fft) + 1) if fft % b == 0 and hop % b == 0)
        self.outer = fft // self.inner
        self.rows = self.outer * (self.inner // 2 + 1)
        self.overlap = fft // hop
        self.lead = spectrogram.start // hop
        self.extra = spectrogram.frames(fft) - self.overlap
        self.trail = self.extra + self.overlap - 1 - self.lead

    def frames(self, samples: int) -> int:
        """Frames of a signal with this number of samples."""
        return samples // self.spectrogram.hop + self.extra

    def samples(self, frames: int) -> int:
        """Samples of a signal with this number of frames."""
        return (frames - self.extra) * self.spectrogram.hop

    def per_second(self) -> float:
        """Multiply-adds of a transform, or of an inverse, of a second of one signal."""
        frame = 2 * self.outer**2 * self.inner + 4 * self.inner * self.rows
        return frame * self.spectrogram.rate / self.spectrogram.hop

    def outer_matrices(self) -> np.ndarray:
        """The first product, from windows to Y: (B, 2 A, A), axes b, [real, imaginary] x k1, a."""
        waves = self._waves() * window(self.spectrogram.window, self.spectrogram.fft).reshape(self.outer, self.inner)
        return np.concatenate([waves.real, -waves.imag]).transpose(2, 0, 1).astype(np.float32)

    def inner_matrix(self) -> np.ndarray:
        """The second product, from Y to spectra: (2 (B / 2 + 1), 2 B), axes [real, imaginary] x k2, b x [real, imaginary]."""
        waves = self._inner_waves()
        real, imaginary = np.stack([waves.real, waves.imag], -1), np.stack([-waves.imag, waves.real], -1)
        return np.concatenate([real, imaginary]).reshape(-1, 2 * self.inner).astype(np.float32)

    def inverse_inner_matrix(self) -> np.ndarray:
        """The inverse's first product: (2 B, 2 (B / 2 + 1)), axes b x [real, imaginary], [real, imaginary] x k2."""
        waves = self._inner_waves().T
        real, imaginary = np.concatenate([waves.real, -waves.imag], 1), np.concatenate([waves.imag, waves.real], 1)
        return np.stack([real, imaginary], 1).reshape(2 * self.inner, -1).astype(np.float32)

    def inverse_outer_matrices(self) -> np.ndarray:
        """The inverse's second product: (B, A, 2 A), axes b, a, [real, imaginary] x k1.

        The window is in it, and division by the sum of squared windows.
        """
        shape = window(self.spectrogram.window, self.spectrogram.fft).astype(np.float64)
        factors = shape / np.tile(self._weights(range(self.overlap)), self.overlap) / self.spectrogram.fft
        waves = self._waves() * factors.reshape(self.outer, self.inner)
        return np.concatenate([waves.real, -waves.imag]).transpose(2, 1, 0).astype(np.float32)

    def row_weights(self) -> np.ndarray:
        """Weight of each row in the inverse, (rows,): 2, for the bin and its mirror image; 1 for the first and last bin."""
        counts = np.zeros(self.rows, np.float32)
        counts[: self.spectrogram.bins] = 2
        counts[[0, self.spectrogram.bins - 1]] = 1
        return counts

    def edges(self) -> list[np.ndarray]:
        """Gains for a signal's first and last hops, which fewer windows cover: (hops, hop) each."""
        whole, most = self._weights(range(self.overlap)), self.overlap - 1
        first = [whole / self._weights(range(self.lead + hop + 1)) for hop in range(most - self.lead)]
        last = [whole / self._weights(range(most - self.trail - hop, most + 1)) for hop in range(most - self.trail)][::-1]
        return [np.reshape(factors, (-1, self.spectrogram.hop)) for factors in (first, last)]

    def _waves(self) -> np.ndarray:
        """exp(2 pi i k1 n / N): (k1, a, b)."""
        steps = np.outer(np.arange(self.outer), np.arange(self.spectrogram.fft)) % self.spectrogram.fft
        waves: np.ndarray = np.exp(2j * np.pi * steps / self.spectrogram.fft)
        return waves.reshape(self.outer, self.outer, self.inner)

    def _inner_waves(self) -> np.ndarray:
        """exp(2 pi i b k2 / B): (k2, b)."""
        steps = np.outer(np.arange(self.inner // 2 + 1), np.arange(self.inner)) % self.inner
        waves: np.ndarray = np.exp(2j * np.pi * steps / self.inner)
        return waves

    def _weights(self, pieces: range) -> np.ndarray:
        """The sum of these pieces of the squared window, (hop,)."""
        squares = np.square(window(self.spectrogram.window, self.spectrogram.fft).astype(np.float64))
        weights: np.ndarray = squares.reshape(self.overlap, -1)[list(pieces)].sum(0)
        return weights
