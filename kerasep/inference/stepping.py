"""A step graph run frame by frame: estimates come out as many frames later as it looks ahead.

The network keeps what it needs of earlier frames in its states. One that looks ahead learns of a song's end from `PRESENT`: the
frames after it say 0 there, and let out what is still to come.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from kerasep.inference.graphs import INPUT, NEXT, PRESENT, StepGraph

Arrays = dict[str, np.ndarray]


class Stepper:
    """A network on its way through one song."""

    def __init__(self, run: Callable[[Arrays], Arrays], graph: StepGraph, targets: Iterable[str]) -> None:
        """
        Args:
            run: from all inputs of the graph to all outputs.
            graph: what it takes.
            targets: which it estimates.
        """
        self.run = run
        self.graph = graph
        self.targets = tuple(targets)
        self.feeds = {name: np.zeros(shape, np.float32) for name, shape in graph.inputs().items()}
        self.given = 0  # frames of the song so far
        self.due = graph.look_ahead  # frames to go until estimates come out
        self.waiting: deque[np.ndarray] = deque()  # frames whose masks are still to come, where the graph gives masks

    def push(self, frame: np.ndarray) -> Arrays | None:
        """The song's next frame, float32 magnitudes (bins, channels), for estimates of the frame `look_ahead` before it.

        Returns:
            Each target's magnitudes (bins, channels), or None as long as there is no such frame.
        """
        self.given += 1
        return self._step(frame, present=1)

    def finish(self) -> list[Arrays]:
        """The estimates that are still to come after the song's last frame."""
        ahead = self.graph.look_ahead
        silence = np.zeros(self.graph.shape[2:], np.float32)
        # A network that takes a minimum of frames gets them; what it says of those that there are not is dropped.
        estimates = [self._step(silence, present=1) for _ in range(self.given, self.graph.minimum)]
        estimates += [self._step(silence, present=0) for _ in range(ahead)]
        return [found for found in estimates if found is not None][: min(ahead, self.given)]

    def whole(self, magnitudes: np.ndarray) -> Arrays:
        """Estimates for all of a song, (frames, bins, channels) as its magnitudes."""
        found = [estimates for frame in magnitudes if (estimates := self.push(frame)) is not None] + self.finish()
        return {target: np.stack([estimates[target] for estimates in found]) for target in self.targets}

    def _step(self, frame: np.ndarray, present: int) -> Arrays | None:
        self.feeds[INPUT] = frame[None, None]
        if PRESENT in self.feeds:
            self.feeds[PRESENT][:] = present
        outputs = self.run(self.feeds)
        for name in self.graph.states:
            self.feeds[name] = outputs[f"{name}{NEXT}"]
        if self.graph.masks:
            self.waiting.append(frame)
        self.due -= 1
        if self.due >= 0:
            return None
        estimates = {target: outputs[target][0, 0] for target in self.targets}
        if self.graph.masks:
            mixture = self.waiting.popleft()
            estimates = {target: mask * mixture for target, mask in estimates.items()}
        return estimates
