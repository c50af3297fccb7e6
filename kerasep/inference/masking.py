"""How estimates become stems by default, as a manifest says it."""

from dataclasses import dataclass
from enum import StrEnum

from kerasep.checks import MANY, choice, numbers, whole_numbers
from kerasep.signal.wiener import FILTER_FRAMES

EXPONENTS = (0.001, 100.0)
ITERATIONS = 20  # of the Wiener filter; two are as good as any number, and each takes as long as the first


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
        numbers(self, exponent=EXPONENTS)
        whole_numbers(self, wiener=(0, ITERATIONS), filter_frames=(1, MANY))
