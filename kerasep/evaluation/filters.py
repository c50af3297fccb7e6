"""Distortion filters of BSSEval: the least-squares filters that make estimates of references.

Waveforms stand here as rows: float64 (signals, samples), the channels of a target one after the other.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

from kerasep.threads import workers

LAGS_FFT = 8192  # transform of a stretch of signal for the correlations; stretches are shorter by the number of lags
STRETCHES = 8  # stretches transformed at a time
STRETCH = 1 << 16  # samples filtered at a time

Floats = NDArray[np.float64]
Spectra = NDArray[np.complex128]


def correlations(first: Floats, second: Floats, lags: int) -> Floats:
    """sum_n first_i(n) second_j(n + lag) for lags from 0 to lags - 1: (signals, samples) twice -> (first, second, lags).

    Example:
        >>> correlations(np.array([[1.0, 2, 0]]), np.array([[0, 1.0, 2]]), 2).round(9).tolist()
        [[[2.0, 5.0]]]
    """
    stretch = LAGS_FFT - lags
    samples = first.shape[1]

    def products(begin: int) -> Spectra:
        """Cross-spectra of a few stretches, each of `first` against a longer one of `second`: (bins, first, second)."""
        starts = range(begin, min(begin + STRETCHES * stretch, samples), stretch)
        a = np.zeros((len(first), len(starts), stretch))
        b = np.zeros((len(second), len(starts), LAGS_FFT))
        for number, start in enumerate(starts):
            a[:, number, : samples - start] = first[:, start : start + stretch]
            b[:, number, : samples - start] = second[:, start : start + LAGS_FFT]
        a, b = scipy.fft.rfft(a, LAGS_FFT), scipy.fft.rfft(b)  # (signals, stretches, bins)
        cross: Spectra = np.ascontiguousarray(a.conj().transpose(2, 0, 1)) @ np.ascontiguousarray(b.transpose(2, 1, 0))
        return cross

    total = np.zeros((LAGS_FFT // 2 + 1, len(first), len(second)), complex)
    with ThreadPoolExecutor(workers()) as pool:
        for part in pool.map(products, range(0, samples, STRETCHES * stretch)):
            total += part
    found: Floats = scipy.fft.irfft(total, axis=0)[:lags].transpose(1, 2, 0)
    return found


def gram_matrix(among: Floats) -> Floats:
    """Inner products of all delayed references, (references * taps, references * taps), from their correlations.

    The product of reference i delayed by a and j delayed by b depends on a - b alone: each block is Toeplitz.
    """
    references, _, taps = among.shape
    # Lags from -(taps - 1) to taps - 1 in a row: those below zero are those of the pair the other way round.
    both = np.concatenate([among.transpose(1, 0, 2)[:, :, :0:-1], among], axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(both, taps, axis=2)[..., ::-1]  # [i, j, a, b] = lag a - b
    return windows.transpose(0, 2, 1, 3).reshape(references * taps, references * taps)


def least_squares_filters(gram: Floats, against: Floats, channels: int) -> tuple[Floats, Floats]:
    """Filters from references to estimates.

    Args:
        gram: `gram_matrix` of the references.
        against: correlations of references and estimates, (references, estimates, taps).
        channels: of a target.

    Returns:
        From all references, (references, taps, estimates); from the target's own, (channels, taps, estimates).
    """
    references, _, taps = against.shape
    right = against.transpose(0, 2, 1)  # (references, taps, estimates)
    everything = _solve(gram, right.reshape(references * taps, -1)).reshape(right.shape)
    own = np.empty((channels, taps, right.shape[2]))
    for start in range(0, references, channels):
        rows = slice(start * taps, (start + channels) * taps)
        part = slice(start, start + channels)
        solved = _solve(gram[rows, rows], right[part, :, part].reshape(channels * taps, channels))
        own[:, :, part] = solved.reshape(channels, taps, channels)
    return everything, own


def filtered(references: Floats, everything: Floats, own: Floats) -> Iterator[tuple[int, Floats, Floats, Floats]]:
    """What the filters of `least_squares_filters` make of the references, a stretch after the other, with the last one's tail.

    Yields:
        Where a stretch starts; the references there, filtered by the targets' own filters, by all: (signals, samples) each.
    """
    channels, taps, signals = own.shape
    samples, tail = references.shape[1], taps - 1
    size = scipy.fft.next_fast_len(STRETCH + tail, real=True)
    all_spectra = scipy.fft.rfft(everything, size, axis=1).transpose(1, 2, 0)  # (bins, estimates, references)
    own_spectra = scipy.fft.rfft(own, size, axis=1).transpose(0, 2, 1)  # (channels, estimates, bins)
    first = np.arange(signals) // channels * channels  # of each signal's target
    for start in range(0, samples + tail, STRETCH):
        stretch = np.zeros((signals, tail + STRETCH))  # with what the filters still remember
        begin, end = max(0, start - tail), min(samples, start + STRETCH)
        stretch[:, begin - start + tail : end - start + tail] = references[:, begin:end]
        spectra = scipy.fft.rfft(stretch, size)
        one = sum(own_spectra[channel] * spectra[first + channel] for channel in range(channels))
        all_ = (all_spectra @ spectra.T[:, :, None])[:, :, 0].T
        one, all_ = (scipy.fft.irfft(part, size)[:, tail : tail + STRETCH] for part in (one, all_))
        yield start, stretch[:, tail:], one, all_


def _solve(gram: Floats, right: Floats) -> Floats:
    """gram^-1 right, with museval's tiny ridge.

    Where references repeat each other (a mono stem has two equal channels) there is no inverse, and rounding decides what
    museval finds; a ridge as large as rounding itself then divides the filter among them.
    """
    peak = gram.diagonal().max()
    for ridge in (np.finfo(float).eps, 1e-12 * peak, 1e-10 * peak):
        ridged = gram.copy()
        ridged.flat[:: len(gram) + 1] += ridge
        with contextlib.suppress(np.linalg.LinAlgError):
            factor = scipy.linalg.cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)
            solution: Floats = scipy.linalg.cho_solve(factor, right, check_finite=False)
            return solution
    raise ValueError("the references' correlations are not finite")
