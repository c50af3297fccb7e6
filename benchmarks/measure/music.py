"""The music that speed is measured on: the demo song, which every checkout can render."""

import numpy as np

from kerasep.datasets import demo


def song() -> np.ndarray:
    """The mixture of the demo song, float32 (samples, 2) at 44.1 kHz."""
    return np.sum(list(demo.render().values()), axis=0)


def music(seconds: float) -> np.ndarray:
    """The demo song repeated to this length, float32 (samples, 2)."""
    return np.resize(song(), (round(seconds * demo.RATE), 2))
