"""From estimated magnitudes to complex stems: masks and the multichannel Wiener filter, in NumPy.

Estimates are a dict from target to magnitudes, float32 (frames, bins, channels); the mixture is complex64 of the same shape,
and so is every stem that comes out.
"""

import numpy as np

FILTER_FRAMES = 300  # the Wiener filter's grid, counted from a song's first frame (Open-Unmix's wiener_win_len)
EPSILON = 1e-10
CHUNK = 32  # bins filtered at a time, so that they stay in the processor's cache
TINY = np.float32(1e-20)  # keeps quotients finite in silence, far below any magnitude of 24-bit audio

Spectra = dict[str, np.ndarray]


def mixture_phase(estimates: Spectra, mixture: np.ndarray) -> Spectra:
    """Each estimate's magnitudes with the mixture's phase."""
    scale = 1 / np.maximum(np.abs(mixture), TINY)
    return {target: mixture * (estimate * scale) for target, estimate in estimates.items()}


def ratio_mask(estimates: Spectra, mixture: np.ndarray, exponent: float = 1.0) -> Spectra:
    """Soft masks est_j^p / sum_k est_k^p times the mixture; the stems add up to it (thesis 2.3).

    Where no target has any magnitude the mixture is shared out evenly.
    """
    if exponent != 1.0:  # scaled to at most 1 first: no power can overflow
        peak = max(TINY, *(estimate.max() for estimate in estimates.values()))
        estimates = {target: (estimate / peak) ** np.float32(exponent) for target, estimate in estimates.items()}
    total = sum(estimates.values()) + TINY * len(estimates)
    share = 1 / total
    return {target: mixture * ((estimate + TINY) * share) for target, estimate in estimates.items()}


def binary_mask(estimates: Spectra, mixture: np.ndarray) -> Spectra:
    """Every bin to its strongest target alone (thesis 2.3); the stems add up to the mixture."""
    winner = np.argmax(np.stack(list(estimates.values())), axis=0)
    return {target: np.where(winner == number, mixture, 0) for number, target in enumerate(estimates)}


def wiener(stems: Spectra, mixture: np.ndarray, iterations: int = 1) -> Spectra:
    """Multichannel Wiener filter, its spatial covariances learnt from the stems by expectation-maximisation.

    A. Nugraha, A. Liutkus and E. Vincent, IEEE/ACM TASLP 2016, section III; conventions and constants as in Open-Unmix. Every
    stretch of FILTER_FRAMES frames, counted from the first one given, has covariances of its own. For one or two channels.

    Args:
        stems: a first guess, complex64 (frames, bins, channels) per target.
        mixture: complex64 (frames, bins, channels).
        iterations: 0 gives the guess back.

    Returns:
        Stems that add up to the mixture but for the regularisation (far below -40 dB).
    """
    if iterations == 0:
        return stems
    stretches = [slice(start, start + FILTER_FRAMES) for start in range(0, len(mixture), FILTER_FRAMES)]
    parts = [_filter({t: stem[part] for t, stem in stems.items()}, mixture[part], iterations) for part in stretches]
    return {target: np.concatenate([part[target] for part in parts]) for target in stems}


def _filter(stems: Spectra, mixture: np.ndarray, iterations: int) -> Spectra:
    """The filter on one stretch."""
    scale = max(1.0, float(np.abs(mixture).max()) / 10)
    filtered = {target: np.empty_like(stem) for target, stem in stems.items()}
    for start in range(0, mixture.shape[1], CHUNK):  # bins do not depend on each other
        part = np.s_[:, start : start + CHUNK]
        # Products of nearly equal numbers decide the determinant below: double precision, channels apart.
        mix = _channels(mixture[part], scale)
        guess = {target: _channels(stem[part], scale) for target, stem in stems.items()}
        for _ in range(iterations):
            guess = _expectation_maximisation(guess, mix)
        for target, channels in guess.items():
            for number, channel in enumerate(channels):
                filtered[target][part][..., number] = channel * scale
    return filtered


def _expectation_maximisation(guess: dict[str, list[np.ndarray]], mix: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """One iteration. Every array is complex128 or float64, (frames, bins) or, for covariances, (bins,)."""
    channels = range(len(mix))
    power = {}  # v_j: mean power over channels
    covariance = {}  # R_j: Hermitian, [row][column]
    total = [[np.zeros(()) for _ in channels] for _ in channels]
    for target, parts in guess.items():
        power[target] = v = np.mean([_square(part) for part in parts], axis=0)
        weight = EPSILON + v.sum(axis=0)
        covariance[target] = r = [[(a * b.conj()).sum(axis=0) / weight for b in parts] for a in parts]
        total = [[total[i][j] + v * (r[i][j].real if i == j else r[i][j]) for j in channels] for i in channels]
    for i in channels:
        total[i][i] = total[i][i] + np.sqrt(EPSILON)

    # whitened = total^-1 mix, in closed form
    if len(mix) == 1:
        whitened = [mix[0] / total[0][0]]
    else:
        (a, b), (_, d) = total
        scale = 1 / (a * d - _square(b))
        whitened = [(d * mix[0] - b * mix[1]) * scale, (a * mix[1] - b.conj() * mix[0]) * scale]
    return {
        target: [v * sum(covariance[target][i][j] * whitened[j] for j in channels) for i in channels]
        for target, v in power.items()
    }


def _channels(spectrum: np.ndarray, scale: float) -> list[np.ndarray]:
    return [spectrum[..., channel].astype(np.complex128) / scale for channel in range(spectrum.shape[-1])]


def _square(values: np.ndarray) -> np.ndarray:
    return values.real**2 + values.imag**2
