"""The short-time Fourier transform and its inverse as Keras layers, from products, sums and moves that every runtime has.

All tensors have time last, and before it signals, batch and channels as one: products are then wide, frames are put together
from contiguous memory, bins come out in order, and only plain matrices are left to transpose. Spectra are (2, rows, signals,
frames): real and imaginary parts of rows 0 to A (B / 2 + 1) - 1 of `factored`, of which the first `bins` are the spectrum.
"""

import numpy as np
from keras import layers, ops

from kerasep.signal.factored import Plan


class Analysis(layers.Layer):
    """`kerasep.signal.stft.stft` of (batch, channels, samples): spectra of batch x channels signals.

    Args:
        plan: of the transform.
        signals: batch x channels.
    """

    def __init__(self, plan: Plan, signals: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.signals = signals
        self.outer, self.inner = self.plan.outer_matrices(), self.plan.inner_matrix()

    def call(self, mixture):
        plan, hop = self.plan, self.plan.spectrogram.hop
        mode = "reflect" if plan.spectrogram.padding == "reflect" else "constant"
        x = ops.pad(mixture, ((0, 0), (0, 0), (plan.lead * hop, plan.trail * hop)), mode)
        x = ops.transpose(ops.reshape(x, (self.signals, -1, hop)), (0, 2, 1))
        x = ops.reshape(x, (self.signals, hop // plan.inner, plan.inner, -1))
        x = ops.transpose(x, (2, 1, 0, 3))  # (inner, outer / overlap, signals, hops)
        last = plan.overlap - 1
        x = ops.concatenate([x[:, :, :, piece : piece - last or None] for piece in range(plan.overlap)], axis=1)
        x = ops.reshape(x, (plan.inner, plan.outer, -1))  # signals and frames as one
        x = ops.matmul(self.outer, x)
        x = ops.matmul(self.inner, ops.reshape(x, (2 * plan.inner, -1)))
        return ops.reshape(x, (2, plan.rows, self.signals, -1))

    def compute_output_shape(self, input_shape):
        frames = None if input_shape[2] is None else self.plan.frames(input_shape[2])
        return (2, self.plan.rows, self.signals, frames)


class Synthesis(layers.Layer):
    """`kerasep.signal.stft.istft` of spectra: (batch, channels, samples).

    Args:
        plan: of the transform.
        channels: of a mixture; signals are batch x channels.
    """

    def __init__(self, plan: Plan, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.channels = channels
        self.inner, self.outer = self.plan.inverse_inner_matrix(), self.plan.inverse_outer_matrices()
        self.edges = [self._laid_out(factors) for factors in self.plan.edges()]

    def call(self, spectrum):
        """Rows must have been multiplied by `Plan.row_weights`."""
        plan, signals = self.plan, spectrum.shape[2]
        x = ops.reshape(spectrum, (2 * (plan.inner // 2 + 1), -1))
        x = ops.matmul(self.inner, x)
        x = ops.matmul(self.outer, ops.reshape(x, (plan.inner, 2 * plan.outer, -1)))
        x = self._overlap_added(ops.reshape(x, (plan.inner, plan.outer, signals, -1)))
        first, last = (edge.shape[3] for edge in self.edges)
        if first or last:
            parts = [x[:, :, :, :first] * self.edges[0], x[:, :, :, first : -last or None], x[:, :, :, -last:] * self.edges[1]]
            x = ops.concatenate(parts, axis=3)
        x = ops.transpose(x, (2, 1, 0, 3))  # (signals, outer / overlap, inner, hops)
        x = ops.transpose(ops.reshape(x, (signals, plan.spectrogram.hop, -1)), (0, 2, 1))
        return ops.reshape(x, (signals // self.channels, self.channels, -1))

    def _overlap_added(self, windows):
        """Overlap-add of windows (inner, outer, signals, frames), without the hops of padding."""
        plan = self.plan
        size, sums = plan.outer // plan.overlap, []
        for piece in range(plan.overlap):
            before = plan.lead - piece  # frames that come too early
            behind = plan.extra - before  # and too late
            x = windows[:, piece * size : (piece + 1) * size, :, max(0, before) : -max(0, behind) or None]
            if before < 0 or behind < 0:
                x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (max(0, -before), max(0, -behind))))
            sums.append(x)
        return sum(sums[1:], sums[0])

    def _laid_out(self, factors: np.ndarray) -> np.ndarray:
        """(hops, hop) in the layout of windows: (inner, outer / overlap, 1, hops)."""
        edge = factors.reshape(len(factors), self.plan.outer // self.plan.overlap, self.plan.inner).transpose(2, 1, 0)
        return edge[:, :, None].astype(np.float32)

    def compute_output_shape(self, input_shape):
        samples = None if input_shape[3] is None else self.plan.samples(input_shape[3])
        return (input_shape[2] // self.channels, self.channels, samples)
