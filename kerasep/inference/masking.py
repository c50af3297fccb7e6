"""How estimates become stems by default, as a manifest says it."""

from dataclasses import dataclass
from enum import StrEnum

from kerasep.inference.checks import choice, whole_numbers
from kerasep.signal.wiener import FILTER_FRAMES


class Mask(StrEnum):
    """How estimates become stems."""

    NONE = "none"  # estimated magnitudes with the mixture's phase
    RATIO = "ratio"
    BINARY = "binary"


class Unclaimed(StrEnum):
    """What ratio masks do with a bin in which no target has any magnitude."""

    SHARED = "shared"  # out evenly
    DROPPED = "dropped"


@dataclass(frozen=True)
class Masking:
    """From estimates to stems, by default.

    Attributes:
        mask: the mask.
        exponent: of the ratio mask.
        unclaimed: see `Unclaimed`.
        wiener: iterations of the Wiener filter after masking.
        filter_frames: frames that share the filter's covariances (`kerasep.signal.wiener`).

    Raises:
        ValueError: a value is out of range.
    """

    mask: Mask = Mask.RATIO
    exponent: float = 1.0
    unclaimed: Unclaimed = Unclaimed.SHARED
    wiener: int = 0
    filter_frames: int = FILTER_FRAMES

    def __post_init__(self) -> None:
        choice(self, "mask", Mask)
        choice(self, "unclaimed", Unclaimed)
        if isinstance(self.exponent, bool) or not isinstance(self.exponent, int | float) or not 0 < self.exponent < 100:
            raise ValueError(f"exponent must be a positive number below 100, not {self.exponent!r}")
        if type(self.wiener) is not int or self.wiener < 0:
            raise ValueError(f"the Wiener filter's iterations must be 0 or more, not {self.wiener!r}")
        whole_numbers(self, filter_frames=1)
