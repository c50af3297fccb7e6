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

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike

from kerasep.evaluation.filters import correlations, filtered, gram_matrix, least_squares_filters
from kerasep.threads import workers

TAPS = 512
METRICS = ("SDR", "ISR", "SIR", "SAR")
FRAMES = 8  # frames projected at a time
CANCELLED = 1e-9  # of its signal: the difference of two energies that is smaller has lost most of its digits
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
    """SDR alone, which needs no filters: |s_true|^2 / |s_true - estimate|^2.

    Args:
        references: each target's true stem, (samples, channels).
        estimates: each target's separated stem, of the same shape.
        rate: samples in a second.

    Returns:
        (frames,) float64 per target, as in `Scores.frames`.

    Raises:
        ValueError: there are no samples.

    Example:
        >>> reference = np.ones((300, 2))
        >>> frame_sdr({"vocals": reference}, {"vocals": 0.9 * reference}, rate=100)["vocals"].round(3).tolist()
        [20.0, 20.0, 20.0]
    """
    length, audible = _audible_frames(references, estimates, rate)
    scores = {}
    for target, reference in references.items():
        error = _energy(reference.astype(np.float64) - estimates[target], length)
        scores[target] = np.where(audible, _decibels(_energy(reference, length), error), np.nan)
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
        ValueError: names or shapes do not match, there are no samples, or a reference or estimate is silent throughout, so that
            no filter is defined.

    Example:
        >>> reference, noise = np.random.default_rng(0).normal(size=(2, 2000, 1))
        >>> scores = evaluate({"vocals": reference}, {"vocals": reference + 0.1 * noise}, rate=1000)
        >>> scores.frames["vocals"]["SDR"].round().tolist(), round(scores.whole["vocals"]["SDR"])
        ([20.0, 20.0], 20)
    """
    _check(references, estimates)
    targets = tuple(references)
    # (signals, samples) with the channels of a target side by side
    signals = _as_rows([*references.values(), *(estimates[t] for t in targets)])
    refs, ests = np.split(signals, 2)
    channels = len(refs) // len(targets)

    lags = correlations(refs, signals, TAPS)  # (references, references + estimates, TAPS)
    among, against = lags[:, : len(refs)], lags[:, len(refs) :]
    gram = gram_matrix(among)
    everything, own = least_squares_filters(gram, against, channels)

    frames = _frame_scores(references, estimates, refs, ests, everything, own, rate)
    whole = _whole_scores(gram, against, everything, own, refs, ests)
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
    _frame_length(references, 1)
    for kind, signals in (("reference", references), ("estimate", estimates)):
        for target, signal in signals.items():
            if not _mono(signal).any():
                raise ValueError(f"the {kind} of {target} is silent throughout")


def _frame_length(references: Signals, rate: int) -> int:
    """A second, or the whole song where it is shorter."""
    length = min(rate, *map(len, references.values()))
    if not length:
        raise ValueError("there are no samples to score")
    return length


def _audible_frames(references: Signals, estimates: Signals, rate: int) -> tuple[int, np.ndarray]:
    """Length of a frame, and which frames have sound in every reference and every estimate, (frames,).

    As in museval, a frame is silent when its channels add up to zero at every sample.
    """
    length = _frame_length(references, rate)
    sound = []
    for signal in (*references.values(), *estimates.values()):
        count = len(signal) // length
        sound.append((_mono(signal[: count * length]) != 0).reshape(count, length).any(axis=1))
    return length, np.all(sound, axis=0)


def _mono(signal: np.ndarray) -> np.ndarray:
    """Sum of the channels, column by column: much faster than along an axis of two."""
    total = signal[:, 0]
    for channel in range(1, signal.shape[1]):
        total = total + signal[:, channel]
    return total


def _as_rows(signals: Sequence[np.ndarray]) -> np.ndarray:
    """Channels as rows, float64 (signals * channels, samples)."""
    samples, channels = signals[0].shape
    rows = np.empty((len(signals) * channels, samples))
    for row in range(len(rows)):
        rows[row] = signals[row // channels][:, row % channels]
    return rows


def _energy(samples: np.ndarray, length: int) -> np.ndarray:
    """Energy of each frame of `length` samples, over all channels, (frames,)."""
    frames = len(samples) // length
    energies: np.ndarray = np.square(samples[: frames * length].astype(np.float64)).reshape(frames, -1).sum(axis=1)
    return energies


def _decibels(signal: ArrayLike, error: ArrayLike) -> np.ndarray:
    """10 log10(signal / error), infinite where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.equal(error, 0), np.inf, 10 * np.log10(np.divide(signal, error))))


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
    length, audible = _audible_frames(references, estimates, rate)
    size = scipy.fft.next_fast_len(length + TAPS - 1, real=True)  # a filtered frame and its tail
    # (bins, estimates, references) and, target by target, (bins, targets, channels, channels)
    everything = scipy.fft.rfft(filters, size, axis=1).transpose(1, 2, 0)
    count, channels = len(references), len(single)
    own = scipy.fft.rfft(single, size, axis=1).reshape(channels, -1, count, channels).transpose(1, 2, 3, 0)
    everything, own = np.ascontiguousarray(everything), np.ascontiguousarray(own)
    weight = np.full((len(everything), 1, 1), 2.0 / size)  # Parseval's theorem for half a spectrum
    weight[0] = 1.0 / size
    if size % 2 == 0:
        weight[-1] = 1.0 / size

    def energies(start: int) -> np.ndarray:
        """Of a few frames, (7, targets, frames): s_true, e_spat, s_true + e_spat, e_interf, all three, e_artif, the error."""
        number = min(FRAMES, len(audible) - start)
        span = slice(start * length, (start + number) * length)
        # (signals, frames, bins) -> (bins, signals, frames)
        true, estimate = (
            scipy.fft.rfft(signals[:, span].reshape(-1, number, length), size).transpose(2, 0, 1) for signals in (refs, ests)
        )
        total = np.zeros((7, count, number))
        for low in range(0, len(weight), BINS):
            bins = slice(low, low + BINS)
            s, x, w = np.ascontiguousarray(true[bins]), np.ascontiguousarray(estimate[bins]), weight[bins]
            one = (own[bins] @ s.reshape(-1, count, channels, number)).reshape(s.shape)
            all_ = everything[bins] @ s
            for row, part in enumerate((s, one - s, one, all_ - one, all_, x - all_, x - s)):
                energy = ((part.real**2 + part.imag**2) * w).sum(axis=0)  # (signals, frames)
                total[row] += energy.reshape(count, channels, number).sum(axis=1)
        return total

    with ThreadPoolExecutor(workers()) as pool:
        parts = list(pool.map(energies, range(0, len(audible), FRAMES)))
    s_true, e_spat, filtered, e_interf, projected, e_artif, error = np.concatenate(parts, axis=2)
    scores = [_decibels(s_true, error), _decibels(s_true, e_spat), _decibels(filtered, e_interf), _decibels(projected, e_artif)]
    return np.where(audible, scores, np.nan)


def _whole_scores(
    gram: np.ndarray, against: np.ndarray, filters: np.ndarray, single: np.ndarray, refs: np.ndarray, ests: np.ndarray
) -> np.ndarray:
    """(metrics, targets) in dB, from inner products alone, unless errors are too small for that."""
    references, channels = len(against), len(single)
    energies, errors = np.empty((2, len(METRICS), references // channels))
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
        energies[:, target] = true, true, one_one, all_all
        errors[:, target] = (
            true - 2 * inner[0] + inner[1],
            one_one - 2 * true_one + true,
            all_all - 2 * one_all + one_one,
            inner[1] - 2 * all_est + all_all,
        )
    if (errors < CANCELLED * energies).any():  # estimates that are their references, or nearly
        errors = _whole_errors(filters, single, refs, ests)
    return _decibels(energies, errors)


def _whole_errors(filters: np.ndarray, single: np.ndarray, refs: np.ndarray, ests: np.ndarray) -> np.ndarray:
    """Energies of the errors over the whole song, (metrics, targets), from the signals themselves: slower, never below zero.

    What is exact has none, and an infinite score; the others end where double precision does, at about 300 dB, as in museval.
    """
    errors = np.zeros((len(METRICS), len(refs)))
    for start, true, one, all_ in filtered(refs, filters, single):
        part = ests[:, start : start + true.shape[1]]
        estimate = np.pad(part, ((0, 0), (0, true.shape[1] - part.shape[1])))
        for row, error in enumerate((estimate - true, one - true, all_ - one, estimate - all_)):
            errors[row] += np.square(error).sum(axis=1)
    summed: np.ndarray = errors.reshape(len(METRICS), -1, len(single)).sum(axis=2)  # over each target's channels
    return summed
