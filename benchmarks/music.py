"""What is separated where speed is measured, the demo's song, which every checkout can make; and how far stems of it agree."""

import numpy as np

from kerasep.datasets import demo


def song() -> np.ndarray:
    """The demo's song, float32 (samples, 2)."""
    return np.sum(list(demo.render().values()), axis=0)


def music(seconds: float) -> np.ndarray:
    """That song over and over, float32 (samples, 2)."""
    return np.resize(song(), (round(seconds * demo.RATE), 2))


def agreement(expected: np.ndarray, found: np.ndarray) -> float:
    """10 log10(sum expected^2 / sum (expected - found)^2), in dB."""
    error = np.subtract(expected, found, dtype=np.float64)
    return float(10 * np.log10(np.sum(np.square(expected, dtype=np.float64)) / np.sum(np.square(error))))
