"""From estimated magnitudes to complex stems: ratio and binary masks, in NumPy.

Every mask is a real gain on the mixture. So are magnitudes with the mixture's phase: the mixture times estimate / magnitude.
And so is what they leave of it: the mixture times 1 less the sum of the gains.

Estimates, magnitudes and gains are float32 (frames, bins, channels), the mixture and all stems complex64 of the same shape.
"""

from functools import reduce

import numpy as np

TINY = np.float32(1e-20)  # keeps quotients finite in silence, far below any magnitude of 24-bit audio

Gains = dict[str, np.ndarray]
Spectra = dict[str, np.ndarray]


def magnitude_gains(estimates: Gains, magnitudes: np.ndarray) -> Gains:
    """Gains that bring a mixture, given by its magnitudes, to each estimate's; finite in silence."""
    magnitudes = np.maximum(magnitudes, TINY)
    return {target: estimate / magnitudes for target, estimate in estimates.items()}


def ratio_gains(estimates: Gains, exponent: float = 1.0, unclaimed: str = "shared") -> Gains:
    """Soft masks est_j^p / sum_k est_k^p (thesis 2.3).

    Args:
        estimates: magnitudes per target.
        exponent: p, above 0.
        unclaimed: what becomes of a bin in which no target has any magnitude: it is "shared" out evenly, or "dropped".

    Returns:
        Gains that add up to 1, or to 0 where a bin is dropped.
    """
    if exponent != 1.0:  # relative to the strongest: no power can overflow, nor can all of them vanish
        strongest = np.maximum(reduce(np.maximum, estimates.values()), TINY)
        estimates = {target: (estimate / strongest) ** exponent for target, estimate in estimates.items()}
    least = TINY if unclaimed == "shared" else np.float32(0)
    total = reduce(np.add, estimates.values()) + TINY * len(estimates)
    return {target: (estimate + least) / total for target, estimate in estimates.items()}


def binary_gains(estimates: Gains) -> Gains:
    """Every bin to its strongest target alone, to the first of equals (thesis 2.3); the gains add up to 1."""
    strongest = reduce(np.maximum, estimates.values())
    free = np.ones(strongest.shape, bool)
    gains = {}
    for target, estimate in estimates.items():
        won = free & (estimate == strongest)
        free ^= won
        gains[target] = won.astype(np.float32)
    return gains


def residual_gain(gains: Gains) -> np.ndarray:
    """What `gains` leave of the mixture: negative where they take more than there is."""
    return np.float32(1) - reduce(np.add, gains.values())


def apply(gains: Gains, mixture: np.ndarray) -> Spectra:
    """The mixture times each gain."""
    return {target: mixture * gain for target, gain in gains.items()}
