"""A step graph run frame by frame: masks come out as many frames later as it looks ahead.

The network keeps what it needs of earlier frames in its states. One that looks ahead learns of a song's end from `PRESENT`: the
frames after it say 0 there, and let out what is still to come.
"""

from collections.abc import Callable

import numpy as np

from kerasep.inference.manifest import INPUT, NEXT, PRESENT, Manifest

Arrays = dict[str, np.ndarray]


class Steps:
    """A network on its way through one song."""

    def __init__(self, run: Callable[[Arrays], Arrays], manifest: Manifest) -> None:
        """
        Args:
            run: from all inputs of the graph to all outputs.
            manifest: of the graph.
        """
        self.run = run
        self.manifest = manifest
        self.feeds = {name: np.zeros(shape, np.float32) for name, shape in manifest.inputs().items()}
        self.given = 0  # frames of the song so far
        self.due = manifest.look_ahead_frames  # frames more, until masks come out

    def push(self, frame: np.ndarray) -> Arrays | None:
        """The song's next frame, float32 magnitudes (bins, channels), for masks of the frame `look_ahead_frames` before it.

        Returns:
            Each target's mask (bins, channels), or None for as long as there is no such frame.
        """
        self.given += 1
        return self._step(frame, present=1)

    def finish(self) -> list[Arrays]:
        """The masks that are still to come after the song's last frame."""
        ahead = self.manifest.look_ahead_frames
        silence = np.zeros(self.manifest.shape[2:], np.float32)
        # A network that takes so many frames at least gets them, and what it says of those that there are not is dropped.
        masks = [self._step(silence, present=1) for _ in range(self.given, self.manifest.minimum_frames)]
        masks += [self._step(silence, present=0) for _ in range(ahead)]
        return [mask for mask in masks if mask is not None][: min(ahead, self.given)]

    def whole(self, magnitudes: np.ndarray) -> Arrays:
        """Masks for all of a song, (frames, bins, channels) as its magnitudes."""
        masks = [mask for frame in magnitudes if (mask := self.push(frame)) is not None] + self.finish()
        return {target: np.stack([mask[target] for mask in masks]) for target in self.manifest.targets}

    def _step(self, frame: np.ndarray, present: int) -> Arrays | None:
        self.feeds[INPUT] = frame[None, None]
        if PRESENT in self.feeds:
            self.feeds[PRESENT][:] = present
        outputs = self.run(self.feeds)
        for name in self.manifest.states:
            self.feeds[name] = outputs[f"{name}{NEXT}"]
        self.due -= 1
        if self.due >= 0:
            return None
        return {target: outputs[target][0, 0] for target in self.manifest.targets}
