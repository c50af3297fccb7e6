"""Objective scores of separated stems: BSSEval v4, the same numbers as the museval package, much faster.

Each estimate is taken apart with respect to the true stems, by distortion filters of 512 taps (E. Vincent, R. Gribonval and
C. Févotte, IEEE Trans. ASLP 2006; the images version):

    estimate = s_true + e_spat + e_interf + e_artif
    s_true + e_spat              the best filtering of the target's own reference
    s_true + e_spat + e_interf   the best filtering of all references

    SDR = |s_true|^2 / |e_spat + e_interf + e_artif|^2      ISR = |s_true|^2 / |e_spat|^2
    SIR = |s_true + e_spat|^2 / |e_interf|^2                SAR = |s_true + e_spat + e_interf|^2 / |e_artif|^2

in dB. Version 4 (F. Stöter, A. Liutkus and N. Ito, LVA/ICA 2018, section 4) learns one set of filters from the whole song and
applies it frame by frame. Conventions: waveforms are (samples, channels), a dict by target; frames are one second long,
one after the other, and what is left after the last whole one is not scored; a song shorter than a frame is one frame.

Where the time goes, and what is done about it:
- All correlations come from one pass of short transforms, products of spectra summed before the one inverse.
- One factorisation of the references' Gram matrix serves all estimates.
- A frame's filtered references are needed only for their energies, which Parseval's theorem gives without an inverse transform.
- Whole-song energies are quadratic forms of the filters and the correlations: no signal is filtered for them.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike

TAPS = 512
METRICS = ("SDR", "ISR", "SIR", "SAR")
LAGS_FFT = 8192  # transform of a stretch of signal for the correlations; stretches are TAPS shorter
STRETCHES = 8  # stretches transformed at a time
FRAMES = 8  # frames projected at a time
BINS = 1024  # bins of their spectra at a time, so that they stay in the processor's cache

Signals = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """What `evaluate` gives.

    Attributes:
        frames: {target: {metric: (frames,) float64 in dB}}. NaN for all targets where any reference or estimate is silent.
        whole: {target: {metric: dB over the whole song}}.
    """

    frames: dict[str, dict[str, np.ndarray]]
    whole: dict[str, dict[str, float]]


def frame_sdr(references: Signals, estimates: Signals, rate: int) -> dict[str, np.ndarray]:
    """SDR alone, which needs no filters.

    Args:
        references: each target's true stem, (samples, channels).
        estimates: each target's separated stem, of the same shape.
        rate: samples in a second.

    Returns:
        (frames,) float64 per target, as in `Scores.frames`.
    """
    length, heard = _heard(references, estimates, rate)
    scores = {}
    for target, reference in references.items():
        error = _energy(reference.astype(np.float64) - estimates[target], length)
        scores[target] = np.where(heard, _decibels(_energy(reference, length), error), np.nan)
    return scores


def evaluate(references: Signals, estimates: Signals, rate: int) -> Scores:
    """All four metrics of every target, frame by frame and over the whole song.

    Args:
        references: each target's true stem, (samples, channels), all of one shape, none of them silent throughout.
        estimates: each target's separated stem, of the same shape.
        rate: samples in a second.

    Returns:
        The scores.

    Raises:
        ValueError: names or shapes do not match, or a reference or estimate is silent throughout, so that no filter is defined.
    """
    _check(references, estimates)
    targets = tuple(references)
    # (signals, samples) with the channels of a target side by side
    signals = _side_by_side([*references.values(), *(estimates[t] for t in targets)])
    refs, ests = np.split(signals, 2)
    channels = len(refs) // len(targets)

    lags = _correlations(refs, signals)  # (references, references + estimates, TAPS)
    among, against = lags[:, : len(refs)], lags[:, len(refs) :]
    gram = _gram(among)
    filters, single = _filters(gram, against, channels)

    frames = _frame_scores(references, estimates, refs, ests, filters, single, rate)
    whole = _whole_scores(gram, against, filters, single, ests, channels)
    return Scores(
        {target: {metric: frames[m, t] for m, metric in enumerate(METRICS)} for t, target in enumerate(targets)},
        {target: {metric: float(whole[m, t]) for m, metric in enumerate(METRICS)} for t, target in enumerate(targets)},
    )


def _check(references: Signals, estimates: Signals) -> None:
    if list(references) != list(estimates):
        raise ValueError(f"references are of {', '.join(references)}, estimates of {', '.join(estimates)}")
    shapes = {np.shape(signal) for signal in (*references.values(), *estimates.values())}
    if len(shapes) != 1:
        raise ValueError(f"references and estimates differ in shape: {', '.join(map(str, sorted(shapes)))}")
    for kind, signals in (("reference", references), ("estimate", estimates)):
        for target, signal in signals.items():
            if not _mono(signal).any():
                raise ValueError(f"the {kind} of {target} is silent throughout")


def _heard(references: Signals, estimates: Signals, rate: int) -> tuple[int, np.ndarray]:
    """Length of a frame, and which frames have sound in every reference and every estimate, (frames,).

    museval takes a frame as silent when its channels add up to zero at every sample; so it is here.
    """
    length = min(rate, min(map(len, references.values())))
    sound = []
    for signal in (*references.values(), *estimates.values()):
        count = len(signal) // length
        sound.append((_mono(signal[: count * length]) != 0).reshape(count, length).any(axis=1))
    return length, np.all(sound, axis=0)


def _mono(signal: np.ndarray) -> np.ndarray:
    """Sum of the channels, column by column: much faster than along an axis of two."""
    return sum((signal[:, channel] for channel in range(1, signal.shape[1])), start=signal[:, 0])


def _side_by_side(signals: Sequence[np.ndarray]) -> np.ndarray:
    """Channels as rows, float64 (signals * channels, samples)."""
    samples, channels = signals[0].shape
    rows = np.empty((len(signals) * channels, samples))
    for row in range(len(rows)):
        rows[row] = signals[row // channels][:, row % channels]
    return rows


def _energy(samples: np.ndarray, length: int) -> np.ndarray:
    """Energy of each frame of `length` samples, over all channels, (frames,)."""
    frames = len(samples) // length
    return np.square(samples[: frames * length].astype(np.float64)).reshape(frames, -1).sum(axis=1)


def _decibels(signal: ArrayLike, error: ArrayLike) -> np.ndarray:
    """10 log10(signal / error), infinite where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.equal(error, 0), np.inf, 10 * np.log10(np.divide(signal, error)))


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """sum_n first_i(n) second_j(n + lag) for lags from 0 to TAPS - 1: (signals, samples) twice -> (first, second, TAPS)."""
    stretch = LAGS_FFT - TAPS
    samples = first.shape[1]

    def products(begin: int) -> np.ndarray:
        """Cross-spectra of a few stretches, each of `first` against one TAPS longer of `second`: (bins, first, second)."""
        starts = range(begin, min(begin + STRETCHES * stretch, samples), stretch)
        a = np.zeros((len(first), len(starts), stretch))
        b = np.zeros((len(second), len(starts), LAGS_FFT))
        for number, start in enumerate(starts):
            a[:, number, : samples - start] = first[:, start : start + stretch]
            b[:, number, : samples - start] = second[:, start : start + LAGS_FFT]
        a, b = scipy.fft.rfft(a, LAGS_FFT), scipy.fft.rfft(b)  # (signals, stretches, bins)
        return np.ascontiguousarray(a.conj().transpose(2, 0, 1)) @ np.ascontiguousarray(b.transpose(2, 1, 0))

    total = np.zeros((LAGS_FFT // 2 + 1, len(first), len(second)), complex)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(products, range(0, samples, STRETCHES * stretch)):
            total += part
    return scipy.fft.irfft(total, axis=0)[:TAPS].transpose(1, 2, 0)


def _gram(lags: np.ndarray) -> np.ndarray:
    """Inner products of all delayed references, (references * TAPS, references * TAPS), from (references, references, TAPS).

    The product of reference i delayed by a and j delayed by b depends on a - b alone: each block is Toeplitz.
    """
    count = len(lags)
    # Lags from -(TAPS - 1) to TAPS - 1 in a row: those below zero are those of the pair the other way round.
    both = np.concatenate([lags.transpose(1, 0, 2)[:, :, :0:-1], lags], axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(both, TAPS, axis=2)[..., ::-1]  # [i, j, a, b] = lag a - b
    return windows.transpose(0, 2, 1, 3).reshape(count * TAPS, count * TAPS)


def _filters(gram: np.ndarray, against: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares filters from references to estimates.

    Returns:
        From all references, (references, TAPS, estimates); from the target's own, (channels, TAPS, estimates).
    """
    references = len(against)
    right = against.transpose(0, 2, 1)  # (references, TAPS, estimates)
    everything = _solve(gram, right.reshape(references * TAPS, -1)).reshape(right.shape)
    own = np.empty((channels, TAPS, right.shape[2]))
    for start in range(0, references, channels):
        rows = slice(start * TAPS, (start + channels) * TAPS)
        part = slice(start, start + channels)
        own[:, :, part] = _solve(gram[rows, rows], right[part, :, part].reshape(channels * TAPS, channels)).reshape(
            channels, TAPS, channels
        )
    return everything, own


def _solve(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """gram^-1 right, with museval's whisper of a ridge.

    Where references repeat each other (a mono stem has two equal channels) there is no inverse, and rounding decides what
    museval finds; a ridge as large as rounding itself then shares the filter out among them.
    """
    peak = gram.diagonal().max()
    for ridge in (np.finfo(float).eps, 1e-12 * peak, 1e-10 * peak):
        ridged = gram.copy()
        ridged.flat[:: len(gram) + 1] += ridge
        with contextlib.suppress(np.linalg.LinAlgError):
            factor = scipy.linalg.cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)
            return scipy.linalg.cho_solve(factor, right, check_finite=False)
    raise ValueError("the references' correlations are not finite")


def _frame_scores(
    references: Signals,
    estimates: Signals,
    refs: np.ndarray,
    ests: np.ndarray,
    filters: np.ndarray,
    single: np.ndarray,
    rate: int,
) -> np.ndarray:
    """(metrics, targets, frames) in dB."""
    length, heard = _heard(references, estimates, rate)
    size = scipy.fft.next_fast_len(length + TAPS - 1, real=True)  # a filtered frame and its tail
    # (bins, estimates, references) and, of one target's signals, (bins, targets, channels, channels)
    everything = scipy.fft.rfft(filters, size, axis=1).transpose(1, 2, 0)
    count, channels = len(references), len(single)
    own = scipy.fft.rfft(single, size, axis=1).reshape(channels, -1, count, channels).transpose(1, 2, 3, 0)
    everything, own = np.ascontiguousarray(everything), np.ascontiguousarray(own)
    weight = np.full((len(everything), 1, 1), 2.0 / size)  # Parseval, with the half of the spectrum that is not there
    weight[0] = 1.0 / size
    if size % 2 == 0:
        weight[-1] = 1.0 / size

    def energies(start: int) -> np.ndarray:
        """Of a few frames, (7, targets, frames): s_true, e_spat, s_true + e_spat, e_interf, all three, e_artif, the error."""
        few = min(FRAMES, len(heard) - start)
        span = slice(start * length, (start + few) * length)
        # (signals, frames, bins) -> (bins, signals, frames)
        true, estimate = (
            scipy.fft.rfft(signals[:, span].reshape(-1, few, length), size).transpose(2, 0, 1) for signals in (refs, ests)
        )
        total = np.zeros((7, count, few))
        for low in range(0, len(weight), BINS):
            bins = slice(low, low + BINS)
            s, x, w = np.ascontiguousarray(true[bins]), np.ascontiguousarray(estimate[bins]), weight[bins]
            one = (own[bins] @ s.reshape(-1, count, channels, few)).reshape(s.shape)
            all_ = everything[bins] @ s
            for number, part in enumerate((s, one - s, one, all_ - one, all_, x - all_, x - s)):
                energy = ((part.real**2 + part.imag**2) * w).sum(axis=0)  # (signals, frames)
                total[number] += energy.reshape(count, channels, few).sum(axis=1)
        return total

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(energies, range(0, len(heard), FRAMES)))
    s_true, e_spat, filtered, e_interf, projected, e_artif, error = np.concatenate(parts, axis=2)
    scores = [_decibels(s_true, error), _decibels(s_true, e_spat), _decibels(filtered, e_interf), _decibels(projected, e_artif)]
    return np.where(heard, scores, np.nan)


def _whole_scores(
    gram: np.ndarray, against: np.ndarray, filters: np.ndarray, single: np.ndarray, ests: np.ndarray, channels: int
) -> np.ndarray:
    """(metrics, targets) in dB, from inner products alone."""
    references = len(against)
    scores = np.empty((len(METRICS), references // channels))
    right = against.transpose(0, 2, 1).reshape(references * TAPS, -1)
    for target, start in enumerate(range(0, references, channels)):
        sums = np.zeros(6)  # s_true^2, s_true one, one^2, one all, all^2, all estimate: over the target's channels
        inner = np.zeros(2)  # s_true estimate, estimate^2
        for signal in range(start, start + channels):
            delta, one = np.zeros((2, references * TAPS))
            delta[signal * TAPS] = 1
            one[start * TAPS : (start + channels) * TAPS] = single[:, :, signal].ravel()
            all_ = filters[:, :, signal].ravel()
            gram_one, gram_all, gram_delta = gram @ one, gram @ all_, gram[signal * TAPS]
            sums += (
                gram_delta @ delta,
                gram_delta @ one,
                gram_one @ one,
                gram_one @ all_,
                gram_all @ all_,
                all_ @ right[:, signal],
            )
            inner += delta @ right[:, signal], ests[signal] @ ests[signal]
        true, true_one, one_one, one_all, all_all, all_est = sums
        scores[:, target] = (
            _decibels(true, true - 2 * inner[0] + inner[1]),
            _decibels(true, one_one - 2 * true_one + true),
            _decibels(one_one, all_all - 2 * one_all + one_one),
            _decibels(all_all, inner[1] - 2 * all_est + all_all),
        )
    return scores
