"""Waveforms to complex spectra and back, within a network: products with constant matrices, sums and moves.

Frames are a window of four hops, begin where a hop begins, and are as many as hops are needed to hold the signal: a signal is
extended by one and a half hops on the left and at least as much on the right, so that the middle of frame t is the middle of
hop t. A bin's real and imaginary parts are channels of their own, and the last bin, at half the rate, is left out. Spectra are
those of a unitary transform: divided by the square root of the window's samples.

All within is (..., signals, time), as wide products want it; a transform is two products of `kerasep.signal.factored`.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from kerasep.signal.factored import Plan
from kerasep.signal.spectrogram import Spectrogram

OVERLAP = 4  # hops in a window


class _Transform(layers.Layer):
    """Sizes of a transform. Float32 under every policy: float16 would not hold its sums.

    Args:
        fft: samples in a window.
        samples: of the waveforms.
    """

    def __init__(self, fft: int, samples: int, **kwargs) -> None:
        super().__init__(**kwargs | {"dtype": "float32", "autocast": False})
        self.fft, self.hop, self.samples = fft, fft // OVERLAP, samples
        self.plan = Plan(Spectrogram(fft=fft, hop=self.hop))
        self.frames = math.ceil(samples / self.hop)
        self.before = self.hop * 3 // 2  # samples of padding
        self.behind = self.before + self.frames * self.hop - samples
        if samples <= self.behind:
            raise ValueError(f"{samples} samples are too few: a reflection at their end takes {self.behind}")

    def get_config(self) -> dict:
        return super().get_config() | {"fft": self.fft, "samples": self.samples}


@keras.saving.register_keras_serializable("kerasep")
class Spectra(_Transform):
    """Waveforms (batch, samples, channels) to spectra (batch, bins, frames, channels x [real, imaginary])."""

    def __init__(self, fft: int, samples: int, **kwargs) -> None:
        super().__init__(fft, samples, **kwargs)
        self.outer = self.plan.outer_matrices() / np.float32(math.sqrt(fft))
        self.inner = self.plan.inner_matrix()

    def call(self, waveforms):
        outer, inner, channels = self.plan.outer, self.plan.inner, waveforms.shape[2]
        x = ops.pad(waveforms, ((0, 0), (self.before, self.behind), (0, 0)), "reflect")
        x = ops.reshape(x, (-1, self.frames + OVERLAP - 1, outer // OVERLAP, inner, channels))  # (batch, hops, ...)
        x = ops.transpose(x, (3, 2, 0, 4, 1))  # (inner, outer / 4, batch, channels, hops)
        x = ops.concatenate([x[..., piece : piece + self.frames] for piece in range(OVERLAP)], axis=1)
        x = ops.reshape(x, (inner, outer, -1))  # batch, channels and frames as one
        x = ops.matmul(self.outer, x)  # (inner, [real, imaginary] x outer, ...)
        x = ops.matmul(self.inner, ops.reshape(x, (2 * inner, -1)))
        x = ops.reshape(x, (2, self.plan.rows, -1, channels, self.frames))[:, : self.fft // 2]
        x = ops.transpose(x, (2, 1, 4, 3, 0))  # (batch, bins, frames, channels, [real, imaginary])
        return ops.reshape(x, (-1, self.fft // 2, self.frames, 2 * channels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.fft // 2, self.frames, 2 * input_shape[2])


@keras.saving.register_keras_serializable("kerasep")
class Waveforms(_Transform):
    """Spectra (batch, bins, frames, signals x [real, imaginary]) to waveforms (batch, samples, signals).

    Frames before the first and after the last are zero, but count where overlapping windows are divided by their sum.
    """

    def __init__(self, fft: int, samples: int, **kwargs) -> None:
        super().__init__(fft, samples, **kwargs)
        self.inner = self.plan.inverse_inner_matrix()
        self.outer = self.plan.inverse_outer_matrices() * np.float32(math.sqrt(fft))
        self.weights_of_bins = self.plan.row_weights()[: fft // 2, None, None, None]

    def call(self, spectra):
        outer, inner, signals = self.plan.outer, self.plan.inner, spectra.shape[3] // 2
        x = ops.reshape(spectra, (-1, self.fft // 2, self.frames, signals, 2))
        x = ops.transpose(x, (4, 1, 0, 3, 2)) * self.weights_of_bins  # ([real, imaginary], bins, batch, signals, frames)
        x = ops.pad(x, ((0, 0), (0, self.plan.rows - self.fft // 2), (0, 0), (0, 0), (0, 0)))
        x = ops.reshape(x, (2 * (inner // 2 + 1), -1))
        x = ops.matmul(self.inner, x)  # (inner x [real, imaginary], ...)
        x = ops.matmul(self.outer, ops.reshape(x, (inner, 2 * outer, -1)))
        x = ops.reshape(x, (inner, outer, -1, signals, self.frames))
        size, hops = outer // OVERLAP, []
        for piece in range(OVERLAP):
            part = x[:, piece * size : (piece + 1) * size]
            hops.append(ops.pad(part, ((0, 0), (0, 0), (0, 0), (0, 0), (piece, OVERLAP - 1 - piece))))
        x = ops.transpose(sum(hops[1:], hops[0]), (2, 4, 1, 0, 3))  # (batch, hops, outer / 4, inner, signals)
        x = ops.reshape(x, (-1, (self.frames + OVERLAP - 1) * self.hop, signals))
        return x[:, self.before : self.before + self.samples]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.samples, input_shape[3] // 2)
