"""From estimates to stems: which mask, which filter, which targets."""

from dataclasses import replace
from typing import Any

import numpy as np

from kerasep.errors import UsageError
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Mask, Masking
from kerasep.inference.residual import RESIDUAL
from kerasep.signal import masks
from kerasep.signal.wiener import wiener as filtered


class Masker:
    """From estimates to stems: a mask and a filter, as chosen or as the manifest has them."""

    def __init__(
        self,
        manifest: Manifest,
        default: Masking,
        chosen: tuple[str, ...],
        mask: str | None,
        exponent: float | None,
        wiener: int | None,
        residual: bool,
    ) -> None:
        """
        Args:
            manifest: has all targets.
            default: what the manifest says.
            chosen: targets to make stems of.
            mask, exponent, wiener, residual: see `kerasep.load`.

        Raises:
            UsageError: an unknown mask, or a number out of range.
        """
        self.chosen = chosen
        self.residual = residual
        changes: dict[str, Any] = {"mask": mask, "exponent": exponent, "wiener": wiener}
        try:
            self.masking = replace(default, **{name: value for name, value in changes.items() if value is not None})
        except ValueError as error:
            raise UsageError(str(error)) from error
        alone = len(manifest.targets) == 1
        if alone and self.masking.mask is not Mask.NONE:
            raise UsageError(
                f"a {self.masking.mask} mask shares the mixture among targets and {manifest.name} has one: use mask none"
            )
        if alone and self.masking.wiener and not residual:
            raise UsageError(
                "a Wiener filter shares the mixture among two stems or more, and there is one: add residual, or no iterations"
            )

    def settings(self) -> dict[str, Any]:
        """All choices, as JSON values."""
        return {"mask": str(self.masking.mask), "exponent": self.masking.exponent, "wiener": self.masking.wiener}

    def parts(self, estimates: masks.Gains, mixture: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Each chosen stem as a spectrum and a gain on it, which the inverse transform applies in passing."""
        gains = self.gains(estimates, mixture)
        if self.masking.wiener:
            stems = filtered(gains, mixture, self.masking.wiener, self.masking.filter_frames)
            return {target: (stems[target], None) for target in self.chosen}
        return {target: (mixture, gains[target]) for target in self.chosen}

    def gains(self, estimates: masks.Gains, mixture: np.ndarray) -> masks.Gains:
        """What the masks make of the mixture, before any filter; all (frames, bins, channels)."""
        if self.masking.mask is Mask.RATIO:
            gains = masks.ratio_gains(estimates, self.masking.exponent, self.masking.unclaimed)
        elif self.masking.mask is Mask.BINARY:
            gains = masks.binary_gains(estimates)
        else:
            gains = masks.magnitude_gains(estimates, np.abs(mixture))
        # A filter shares the mixture among all targets, wanted or not, unless there is the residual to take the rest.
        if self.residual and self.masking.wiener:
            gains = {target: gains[target] for target in self.chosen}
            gains[RESIDUAL] = masks.residual_gain(gains)
        return gains
