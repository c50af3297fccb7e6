"""What a network needs around the frames it is asked for."""

from typing import NamedTuple


class ReceptiveField(NamedTuple):
    """Frames around those asked for, and how many a network takes.

    Attributes:
        frames: either side, that one output frame depends on, or that are worth giving it.
        minimum: fewest frames it takes.
        exact: whether more of them would change nothing.
        window: frames it takes, where it takes no other number; 0 where it does.
        step: frames from one such window to the next.
        stretch: fewest frames that are worth asking for at a time, because what surrounds them costs as much as they do.
        ahead: later frames that a frame's estimate depends on, of a network that can run frame by frame.
    """

    frames: int
    minimum: int = 1
    exact: bool = True
    window: int = 0
    step: int = 0
    stretch: int = 1
    ahead: int = 0
