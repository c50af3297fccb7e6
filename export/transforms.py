"""The short-time Fourier transform and its inverse as Keras layers, of products, sums and moves that every runtime has.

A transform of N = A B points is two products (J. Cooley and J. Tukey, Math. Comp. 1965). With n = B a + b and k = k1 + A k2,

    X[k1 + A k2] = sum_b exp(-2 pi i b k2 / B) Y[b, k1],    Y[b, k1] = sum_a w[n] x[n] exp(-2 pi i k1 n / N).

So the window and the twiddles cost nothing: they are part of the first product's matrices, one for each b. The signal is real:
of k2 only 0 to B / 2 is computed. That is a sixteenth of the multiply-adds of one product of 4096 x 4098.

All tensors have time behind the transformed axis, and signals, batch and channels as one, last: products are then wide, frames
are put together from whole stretches of memory, and bins come out in order. Spectra are (2, rows, frames, signals): real and
imaginary parts of rows 0 to A (B / 2 + 1) - 1, of which the first `bins` are what one wants.
"""

import math

import numpy as np
from keras import layers, ops

from kerasep.spectral import Spectrogram, window


class Plan:
    """Sizes and matrices of a spectrogram's transform.

    Attributes:
        outer, inner: A and B; B divides the hop.
        rows: of spectra.
        overlap: hops in a window.
        lead, trail: hops that a signal is extended by in front and behind.
        more: frames that a signal has more than hops.
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
        self.more = spectrogram.frames(fft) - self.overlap
        self.trail = self.more + self.overlap - 1 - self.lead

    def frames(self, samples: int) -> int:
        """Of a signal of so many samples."""
        return samples // self.spectrogram.hop + self.more

    def samples(self, frames: int) -> int:
        """Of a signal that has so many frames."""
        return (frames - self.more) * self.spectrogram.hop

    def per_second(self) -> float:
        """Multiply-adds of a transform, or of an inverse, of a second of one signal."""
        frame = 2 * self.outer**2 * self.inner + 4 * self.inner * self.rows
        return frame * self.spectrogram.rate / self.spectrogram.hop

    def first(self) -> np.ndarray:
        """From windows to Y: (B, 2 A, A), of [real, imaginary] x k1 and a."""
        waves = self._waves() * window(self.spectrogram.window, self.spectrogram.fft).reshape(self.outer, self.inner)
        return np.concatenate([waves.real, -waves.imag]).transpose(2, 0, 1).astype(np.float32)

    def second(self) -> np.ndarray:
        """From Y to spectra: (2 (B / 2 + 1), 2 B), of [real, imaginary] x k2 and b x [real, imaginary]."""
        waves = self._inner_waves()
        real, imaginary = np.stack([waves.real, waves.imag], -1), np.stack([-waves.imag, waves.real], -1)
        return np.concatenate([real, imaginary]).reshape(-1, 2 * self.inner).astype(np.float32)

    def second_back(self) -> np.ndarray:
        """The inverse's first product: (2 B, 2 (B / 2 + 1)), of b x [real, imaginary] and [real, imaginary] x k2."""
        waves = self._inner_waves().T
        real, imaginary = np.concatenate([waves.real, -waves.imag], 1), np.concatenate([waves.imag, waves.real], 1)
        return np.stack([real, imaginary], 1).reshape(2 * self.inner, -1).astype(np.float32)

    def first_back(self) -> np.ndarray:
        """The inverse's second product: (B, A, 2 A), of a and [real, imaginary] x k1.

        The window is in it, and division by the sum of squared windows.
        """
        shape = window(self.spectrogram.window, self.spectrogram.fft).astype(np.float64)
        factors = shape / np.tile(self._weights(range(self.overlap)), self.overlap) / self.spectrogram.fft
        waves = self._waves() * factors.reshape(self.outer, self.inner)
        return np.concatenate([waves.real, -waves.imag]).transpose(2, 1, 0).astype(np.float32)

    def halves(self) -> np.ndarray:
        """How often a row counts in the inverse: twice, for its mirror image, but for the first and the last bin; (rows,)."""
        counts = np.zeros(self.rows, np.float32)
        counts[: self.spectrogram.bins] = 2
        counts[[0, self.spectrogram.bins - 1]] = 1
        return counts

    def edges(self) -> list[np.ndarray]:
        """Factors for a signal's first and for its last hops, which fewer windows cover: (hops, hop) each."""
        whole, most = self._weights(range(self.overlap)), self.overlap - 1
        first = [whole / self._weights(range(self.lead + hop + 1)) for hop in range(most - self.lead)]
        last = [whole / self._weights(range(most - self.trail - hop, most + 1)) for hop in range(most - self.trail)][::-1]
        return [np.reshape(factors, (-1, self.spectrogram.hop)) for factors in (first, last)]

    def _waves(self) -> np.ndarray:
        """exp(2 pi i k1 n / N): (k1, a, b)."""
        steps = np.outer(np.arange(self.outer), np.arange(self.spectrogram.fft)) % self.spectrogram.fft
        return np.exp(2j * np.pi * steps / self.spectrogram.fft).reshape(self.outer, self.outer, self.inner)

    def _inner_waves(self) -> np.ndarray:
        """exp(2 pi i b k2 / B): (k2, b)."""
        steps = np.outer(np.arange(self.inner // 2 + 1), np.arange(self.inner)) % self.inner
        return np.exp(2j * np.pi * steps / self.inner)

    def _weights(self, pieces: range) -> np.ndarray:
        """The sum of these pieces of the squared window, (hop,)."""
        squares = np.square(window(self.spectrogram.window, self.spectrogram.fft).astype(np.float64))
        return squares.reshape(self.overlap, -1)[list(pieces)].sum(0)


class Analysis(layers.Layer):
    """`kerasep.spectral.stft` of (batch, channels, samples): spectra of batch x channels signals.

    Args:
        plan: of the transform.
        signals: batch x channels.
    """

    def __init__(self, plan: Plan, signals: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.signals = signals
        self.first, self.second = self.plan.first(), self.plan.second()

    def call(self, mixture):
        plan, hop = self.plan, self.plan.spectrogram.hop
        mode = "reflect" if plan.spectrogram.padding == "reflect" else "constant"
        x = ops.pad(mixture, ((0, 0), (0, 0), (plan.lead * hop, plan.trail * hop)), mode)
        x = ops.reshape(x, (self.signals, -1, hop // plan.inner, plan.inner))
        x = ops.transpose(x, (3, 2, 1, 0))  # (inner, outer / overlap, hops, signals)
        last = plan.overlap - 1
        x = ops.concatenate([x[:, :, piece : piece - last or None] for piece in range(plan.overlap)], axis=1)
        x = ops.reshape(x, (plan.inner, plan.outer, -1))  # frames and signals as one
        x = ops.matmul(self.first, x)
        x = ops.matmul(self.second, ops.reshape(x, (2 * plan.inner, -1)))
        return ops.reshape(x, (2, plan.rows, -1, self.signals))

    def compute_output_shape(self, input_shape):
        frames = None if input_shape[2] is None else self.plan.frames(input_shape[2])
        return (2, self.plan.rows, frames, self.signals)


class Synthesis(layers.Layer):
    """`kerasep.spectral.istft` of spectra: (batch, channels, samples).

    Args:
        plan: of the transform.
        channels: of its signals, the rest of them being the batch.
    """

    def __init__(self, plan: Plan, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.channels = channels
        self.second, self.first = self.plan.second_back(), self.plan.first_back()
        self.edges = [self._turned(factors) for factors in self.plan.edges()]

    def call(self, spectrum):
        """Rows have to be multiplied by `Plan.halves` before."""
        plan, signals = self.plan, spectrum.shape[3]
        x = ops.reshape(spectrum, (2 * (plan.inner // 2 + 1), -1))
        x = ops.matmul(self.second, x)
        x = ops.matmul(self.first, ops.reshape(x, (plan.inner, 2 * plan.outer, -1)))
        x = self._added(ops.reshape(x, (plan.inner, plan.outer, -1, signals)))
        first, last = (edge.shape[2] for edge in self.edges)
        if first or last:
            parts = [x[:, :, :first] * self.edges[0], x[:, :, first : -last or None], x[:, :, -last:] * self.edges[1]]
            x = ops.concatenate(parts, axis=2)
        x = ops.transpose(x, (3, 2, 1, 0))  # (signals, hops, outer / overlap, inner)
        return ops.reshape(x, (signals // self.channels, self.channels, -1))

    def _added(self, windows):
        """Windows (inner, outer, frames, signals) added up, each hop of them where it belongs, without what is no signal."""
        plan = self.plan
        size, sums = plan.outer // plan.overlap, []
        for piece in range(plan.overlap):
            before = plan.lead - piece  # frames that come too early
            behind = plan.more - before  # and too late
            x = windows[:, piece * size : (piece + 1) * size, max(0, before) : -max(0, behind) or None]
            if before < 0 or behind < 0:
                x = ops.pad(x, ((0, 0), (0, 0), (max(0, -before), max(0, -behind)), (0, 0)))
            sums.append(x)
        return sum(sums[1:], sums[0])

    def _turned(self, factors: np.ndarray) -> np.ndarray:
        """(hops, hop) as windows are laid out."""
        turned = factors.reshape(len(factors), self.plan.outer // self.plan.overlap, self.plan.inner).transpose(2, 1, 0)
        return turned[..., None].astype(np.float32)

    def compute_output_shape(self, input_shape):
        samples = None if input_shape[2] is None else self.plan.samples(input_shape[2])
        return (input_shape[3] // self.channels, self.channels, samples)
