"""How far two signals agree."""

from collections.abc import Iterable

import numpy as np

LEAST = 1e-30  # of an energy: equal signals agree to a large number of dB, not to an infinite one


def agreement_db(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """10 log10(sum |b|^2 / sum |a - b|^2) in dB, over all pairs (a, b) of an array and its reference, in float64.

    Example:
        >>> round(agreement_db([(np.array([0.99, 2.0]), np.array([1.0, 2.0]))]), 2)
        46.99
    """
    energy = error = 0.0
    for output, reference in pairs:
        energy += float(np.sum(np.square(np.abs(reference), dtype=np.float64)))
        error += float(np.sum(np.square(np.abs(output - reference), dtype=np.float64)))
    return float(10 * np.log10(max(energy, LEAST) / max(error, LEAST)))


def relative_error(output: np.ndarray, reference: np.ndarray) -> float:
    """max |a - b| / max |b|; NaN where there is a NaN.

    Example:
        >>> relative_error(np.array([0.0, 1.5]), np.array([1.0, 2.0]))
        0.5
    """
    return float(np.abs(output - reference).max() / max(float(np.abs(reference).max()), 1e-12))
