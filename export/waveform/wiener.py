"""`kerasep.signal.wiener.wiener`, one iteration, as Keras operations: float32, and without control flow.

The filter in NumPy computes in float64, because the covariance of music whose channels are alike is nearly singular. Here, in
each bin, two channels are rotated to their principal components (`Rotation`). Their covariance is nearly diagonal, so that the
regularisation of its determinant, then a sum of parts that are not negative, is not rounded away. The filter commutes with a
rotation, but for rounding: on music with one channel half the other, stems would be off by -30 dB without it, and are by -100
dB or less.
"""

from collections.abc import Sequence

from keras import ops

from kerasep.signal.wiener import EPSILON

TINY = 1e-20
Complex = Sequence  # real and imaginary part
Signals = list  # a Complex for each channel, of planes (bins, frames, batch)


def filtered(gains: list, spectrum, frames: int) -> list:
    """Stems of a first guess, by target.

    Args:
        gains: of the first guess, (channels, bins, frames, batch) for each target.
        spectrum: of the mixture, (2, channels, bins, frames, batch): real and imaginary parts.
        frames: that share a covariance, counted from the first.

    Returns:
        Spectra as the mixture's.
    """
    stretches = []
    for start in range(0, spectrum.shape[3], frames):
        stretch = slice(start, start + frames)
        stretches.append(_stretch([gain[:, :, stretch] for gain in gains], spectrum[:, :, :, stretch]))
    return [ops.concatenate(parts, axis=3) for parts in zip(*stretches, strict=True)]


def _stretch(gains: list, spectrum) -> list:
    channels = spectrum.shape[1]
    loudest = ops.max(ops.sum(ops.square(spectrum), axis=0), axis=(0, 1, 2), keepdims=True)[0]  # (1, 1, batch)
    unit = ops.maximum(ops.sqrt(loudest) / 10, TINY)
    spectrum = spectrum / unit  # else products of quiet music's powers vanish in float32
    rotation = Rotation(_signals(spectrum)) if channels == 2 else None
    mixture, *stems = (_signals(signals) for signals in (spectrum, *(spectrum * gain for gain in gains)))
    if rotation:
        mixture, *stems = (rotation.apply(signals) for signals in (mixture, *stems))
    powers = [_sum(_power(signal) for signal in stem) for stem in stems]
    covariances = [_covariance(stem, channels * EPSILON) for stem in stems]
    whitened = _whitened(mixture, _mixed(powers, covariances), EPSILON**0.5)
    filtered = [_times(power, parts, whitened) for power, parts in zip(powers, covariances, strict=True)]
    return [unit * _stacked(rotation.invert(stem) if rotation else stem) for stem in filtered]


class Rotation:
    """The rotation of two channels to their principal components over time, in each bin: a Karhunen-Loeve transform (PCA).

    Unitary: [[cosine, sine phase], [-sine, cosine phase]], where `phase` aligns the right channel with the left.
    """

    def __init__(self, mixture: Signals) -> None:
        left, right, real, imaginary = (ops.sum(plane, axis=1, keepdims=True) for plane in _products(mixture))
        half, size = (left - right) / 2, ops.sqrt(ops.square(real) + ops.square(imaginary))
        cosine = half / (ops.sqrt(ops.square(half) + ops.square(size)) + TINY)  # of twice the angle
        self.cosine, self.sine = ops.sqrt((1 + cosine) / 2), ops.sqrt((1 - cosine) / 2)
        self.phase = ((real + TINY) / (size + TINY), imaginary / (size + TINY))

    def apply(self, signals: Signals) -> Signals:
        """From left and right to the first and the second component."""
        left, right = signals[0], _product(self.phase, signals[1])
        return [_sum_of(self.cosine, left, self.sine, right), _sum_of(-1 * self.sine, left, self.cosine, right)]

    def invert(self, signals: Signals) -> Signals:
        """From components to left and right."""
        first, second = signals
        right = _sum_of(self.sine, first, self.cosine, second)
        return [_sum_of(self.cosine, first, -1 * self.sine, second), _conjugate_product(self.phase, right)]


def _sum_of(a, x: Complex, b, y: Complex) -> Complex:
    return a * x[0] + b * y[0], a * x[1] + b * y[1]


def _signals(spectrum) -> Signals:
    return [(spectrum[0, channel], spectrum[1, channel]) for channel in range(spectrum.shape[1])]


def _stacked(signals: Signals):
    return ops.stack([ops.stack(parts) for parts in zip(*signals, strict=True)])


def _power(signal: Complex):
    return ops.square(signal[0]) + ops.square(signal[1])


def _sum(parts):
    first, *rest = parts
    return sum(rest, first)


def _products(signals: Signals) -> list:
    """The power of each channel, and of two the parts of first times second, conjugated."""
    powers = [_power(signal) for signal in signals]
    return [*powers, *_conjugate_product(signals[1], signals[0])] if len(signals) == 2 else powers


def _covariance(stem: Signals, least) -> list:
    """Sums over frames, (bins, 1, batch), over that of the power: of each channel, and of two the cross term's parts."""
    sums = [ops.sum(plane, axis=1, keepdims=True) for plane in _products(stem)]
    total = least + _sum(sums[: len(stem)])
    return [part / total for part in sums]


def _mixed(powers: list, covariances: list) -> list:
    """The mixture's covariance, by bin and frame."""
    weighted = [[power * part for part in parts] for power, parts in zip(powers, covariances, strict=True)]
    return [_sum(parts) for parts in zip(*weighted, strict=True)]


def _whitened(mixture: Signals, covariance: list, least) -> Signals:
    """The regularised covariance's inverse times the mixture."""
    if len(mixture) == 1:
        return [tuple(part / (covariance[0] + least) for part in mixture[0])]
    (main, residual), (first, second, *cross) = mixture, covariance
    # What rounding leaves of the first difference may be below zero.
    determinant = ops.maximum(first * second - _power(cross), 0.0)
    determinant = determinant + least * (first + second + least)
    across, back = _product(cross, residual), _conjugate_product(cross, main)
    return [
        tuple(((second + least) * a - b) / determinant for a, b in zip(main, across, strict=True)),
        tuple(((first + least) * a - b) / determinant for a, b in zip(residual, back, strict=True)),
    ]


def _times(power, covariance: list, whitened: Signals) -> Signals:
    """Power times a target's covariance times what was whitened."""
    if len(whitened) == 1:
        return [tuple(power * covariance[0] * part for part in whitened[0])]
    (main, residual), (first, second, *cross) = whitened, covariance
    across, back = _product(cross, residual), _conjugate_product(cross, main)
    return [
        tuple(power * (first * a + b) for a, b in zip(main, across, strict=True)),
        tuple(power * (second * a + b) for a, b in zip(residual, back, strict=True)),
    ]


def _product(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _conjugate_product(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] + a[1] * b[1], a[0] * b[1] - a[1] * b[0]
