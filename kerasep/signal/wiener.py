"""The multichannel Wiener filter, in NumPy: stems from a first guess and what their channels have in common.

Gains are float32 (frames, bins, channels), the mixture and all stems complex64 of the same shape.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kerasep.signal.masks import Gains, Spectra, apply
from kerasep.threads import workers

FILTER_FRAMES = 300  # the filter's grid, counted from a song's first frame (Open-Unmix's wiener_win_len)
EPSILON = 1e-10

# Bins filtered at a time. Threads wait for the interpreter between calls of NumPy: two of them gained nothing where calls took
# 3 us, and all there is to gain where they took 15 us. 32 bins at a time took 1.2 times as long as 64, 128 as long.
TILE = 64

Tile = tuple[tuple[slice, slice], float]


def wiener(gains: Gains, mixture: np.ndarray, iterations: int = 1, frames: int = FILTER_FRAMES) -> Spectra:
    """Multichannel Wiener filter, its spatial covariances learnt from the stems by expectation-maximisation.

    A. Nugraha, A. Liutkus and E. Vincent, IEEE/ACM TASLP 2016, section III; conventions and constants as in Open-Unmix, but for
    quiet music, which this filters as it does loud music: a mixture times a number has stems times that number.

    Args:
        gains: of the first guess, which is `apply(gains, mixture)`.
        mixture: of one or two channels.
        iterations: 0 gives the first guess back.
        frames: every so many of them, counted from the first one given, have covariances of their own.

    Returns:
        Stems that add up to the mixture but for what the regularisation withholds: -39 to -48 dB of it, measured on songs at
        any level. It dims bins that are 60 dB and more below the loudest one of the same frames.
    """
    if iterations == 0:
        return apply(gains, mixture)
    stems = {target: np.empty_like(mixture) for target in gains}

    def run(tile: Tile) -> None:
        part, unit = tile
        filtered = _filter([gain[part] for gain in gains.values()], mixture[part], unit, iterations)
        for stem, planes in zip(stems.values(), filtered, strict=True):
            stem[part] = planes.transpose(2, 1, 0)

    with ThreadPoolExecutor(workers()) as pool:  # NumPy lets go of the interpreter in long loops
        list(pool.map(run, _tiles(mixture, frames)))
    return stems


def _tiles(mixture: np.ndarray, frames: int) -> Iterator[Tile]:
    """Parts (frames, bins) that do not depend on each other, and the power that counts as 1 in each."""
    for start in range(0, len(mixture), frames):
        stretch = slice(start, start + frames)
        # Open-Unmix has a power of 1 at least, and dims what never comes to a tenth of that: quiet music.
        unit = (float(np.abs(mixture[stretch]).max()) / 10) ** 2 or 1.0
        for low in range(0, mixture.shape[1], TILE):
            yield (stretch, slice(low, low + TILE)), unit


# The filter of a tile. Its arrays end in planes (bins, frames), which NumPy runs through from end to end, or multiplies by
# small matrices, one for each bin. Complex numbers are two planes, on an axis [re, im] before that of channels. With these two
# axes as one, a complex matrix A + iB of channels becomes the real one [[A, -B], [B, A]].
#
# All is float64: in nearly mono music the covariance of the mixture is nearly singular. Where channels differed by -60 dB, the
# stems had errors of -37 dB in float32 after one iteration and -29 dB after two, for a quarter less time.

# Where the entries of a covariance are in its real form: of one channel, its power; of two, [[l, b], [b*, r]], in the order
# r, l, re b, im b, -im b.
ENTRIES = {1: ([0], [0]), 2: ([1, 0, 0, 2, 0], [1, 0, 1, 1, 3])}
SIGNS = np.array([[1.0, -1.0], [-1.0, 1.0]])[:, None, :, None]


def _filter(gains: list[np.ndarray], mixture: np.ndarray, unit: float, iterations: int) -> np.ndarray:
    """A tile's gains and mixture, each (frames, bins, channels), to its stems, complex64 (targets, channels, bins, frames)."""
    planes = mixture.transpose(2, 1, 0)
    x = np.array([planes.real, planes.imag], np.float64)
    y = x * np.array([gain.transpose(2, 1, 0) for gain in gains], np.float64)[:, None]
    for _ in range(iterations):
        y = _expectation_maximisation(y, x, unit)
    stems = np.empty(y[:, 0].shape, np.complex64)
    stems.real, stems.imag = y[:, 0], y[:, 1]
    return stems


def _expectation_maximisation(y: np.ndarray, x: np.ndarray, unit: float) -> np.ndarray:
    """One iteration: from stems y, (targets, 2, channels, bins, frames), and the mixture x to better stems v_j R_j C^-1 x."""
    channels = x.shape[1]
    power = np.einsum("jrcbt,jrcbt->jbt", y, y)  # v_j, a mean over channels, times their number; R_j is divided by it
    covariance = _covariances(y) / (channels * EPSILON * unit + power.sum(axis=2))[..., None, None]
    total = _times(covariance[(..., *ENTRIES[channels])].transpose(1, 2, 0), power)  # C = sum_j v_j R_j, regularised
    total[:channels] += np.sqrt(EPSILON) * unit
    whitened = _whitened(total, x)
    stems = _times(covariance, whitened.reshape(2 * channels, *power.shape[1:])).reshape(y.shape)
    stems *= power[:, None, None]
    return stems


def _covariances(y: np.ndarray) -> np.ndarray:
    """Sums of y y^H over frames, in real form: (targets, bins, 2 channels, 2 channels)."""
    targets, _, channels, bins, frames = y.shape
    rows = y.reshape(targets, 2 * channels, bins, frames)
    # [re, im] of the first factor stay apart: NumPy would leave the product of a matrix and its own transpose to BLAS's syrk,
    # which takes four times as long for such small ones.
    products: np.ndarray = y.transpose(0, 3, 1, 2, 4) @ rows.transpose(0, 2, 3, 1)[:, :, None]
    products = products.reshape(targets, bins, 2, channels, 2, channels)
    sums: np.ndarray = products + SIGNS * products[:, :, ::-1, :, ::-1]
    return sums.reshape(targets, bins, 2 * channels, 2 * channels)


def _whitened(total: np.ndarray, x: np.ndarray) -> np.ndarray:
    """C^-1 x in closed form, C given by the planes of its entries."""
    if len(total) == 1:
        plain: np.ndarray = x / total
        return plain
    right, left, real, imag = total[:4]
    whitened: np.ndarray = total[:2] * x
    whitened -= real * x[:, ::-1]
    turned = total[3:] * x[::-1, ::-1]
    whitened[0] += turned[0]
    whitened[1] -= turned[1]
    whitened *= 1 / (right * left - real * real - imag * imag)
    return whitened


def _times(matrices: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Matrices, (..., bins, m, n), one for each bin, times planes (n, bins, frames): planes (..., m, bins, frames)."""
    *outer, bins, rows, _ = matrices.shape
    result = np.empty((*outer, rows, bins, planes.shape[-1]))
    np.matmul(matrices, planes.swapaxes(0, 1), out=result.swapaxes(-3, -2))
    return result
