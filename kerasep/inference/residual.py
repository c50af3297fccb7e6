"""What stems leave of their mixture."""

from collections import deque
from collections.abc import Iterable
from functools import reduce

import numpy as np

RESIDUAL = "residual"  # the stem's name


class Residual:
    """The mixture less its stems, sample by sample, at the mixture's own rate and channels.

    The mixture arrives in pieces, and its stems after it in pieces of other lengths: what they still lack of it is held.
    """

    def __init__(self) -> None:
        self.held: deque[np.ndarray] = deque()

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """The next samples of the mixture, (samples, channels), which are given back."""
        self.held.append(samples)
        return samples

    def of(self, stems: Iterable[np.ndarray]) -> np.ndarray:
        """What the next samples of all stems leave of as many of the mixture, float32 (samples, channels)."""
        left: np.ndarray = -reduce(np.add, stems)
        done = 0
        while done < len(left):
            piece = self.held.popleft()
            part = piece[: len(left) - done]
            left[done : done + len(part)] += part
            done += len(part)
            if len(part) < len(piece):
                self.held.appendleft(piece[len(part) :])
        return left
