"""What a network needs around the frames it is asked for."""

from typing import NamedTuple


class ReceptiveField(NamedTuple):
    """How a network sees a song: what a frame's estimate depends on, and how many frames the network takes. All in frames.

    Attributes:
        context: frames on either side that one output frame depends on, or that are worth giving it.
        minimum: fewest frames the network takes.
        exact: whether more context would change nothing.
        window: the number of frames the network takes, if it takes no other; 0 if it takes any.
        stride: from the start of one such window to the start of the next.
        block: fewest frames worth running at a time: with fewer, most of the work goes into their context.
        look_ahead: later frames that a frame's estimate depends on, for a network that can run frame by frame.

    Example:
        >>> ReceptiveField(context=14, look_ahead=14).exact
        True
    """

    context: int
    minimum: int = 1
    exact: bool = True
    window: int = 0
    stride: int = 0
    block: int = 1
    look_ahead: int = 0
