"""Losses over all targets of a network at once, and the parts of them that a run reports.

Magnitudes are stacked: (batch, targets, frames, bins, channels). A loss is one number per example.
"""

from abc import abstractmethod
from itertools import combinations

import keras
from keras import ops

from kerasep.datasets.musdb import SOURCES
from kerasep.errors import KerasepError


class StemsLoss(keras.losses.Loss):
    """A loss made of named parts.

    Attributes:
        in_phase: whether references are what of a stem is in phase with the mixture, which may be negative, and not its
            magnitudes. What a mask makes of the mixture comes closest to a stem where it comes closest to that part of it.

    Args:
        targets: the names along the second axis.
        names: of the parts, in order.
    """

    in_phase = False

    def __init__(self, targets: tuple[str, ...], names: tuple[str, ...]) -> None:
        super().__init__(name="loss", dtype="float32")
        self.targets = targets
        self.names = names

    def call(self, y_true, y_pred):
        return sum(self.weight(name) * value for name, value in self.parts(y_true, y_pred).items())

    @abstractmethod
    def parts(self, references, estimates) -> dict:
        """Named parts, each of shape (batch,)."""

    def weight(self, name: str) -> float:
        """The factor of a part in the loss."""
        return 1.0


class MagnitudeError(StemsLoss):
    """Mean squared error of the magnitudes, added up over targets, as Open-Unmix trains one of them."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        super().__init__(targets, targets)

    def parts(self, references, estimates) -> dict:
        errors = _mean(self.error(references - estimates))  # (batch, targets)
        return {target: errors[:, index] for index, target in enumerate(self.targets)}

    def error(self, difference):
        return ops.square(difference)


class AbsoluteError(MagnitudeError):
    """Mean absolute error of the magnitudes, added up over targets, as Spleeter trains."""

    def error(self, difference):
        return ops.abs(difference)


class SumsError(StemsLoss):
    """Mean squared error of the magnitudes of every sum of one to all but one targets, averaged over the sums.

    After R. Sawata et al., "All for One and One for All", ICASSP 2021, section 3.2, there for masks that share a mixture.
    """

    def __init__(self, targets: tuple[str, ...]) -> None:
        super().__init__(targets, (*targets, "sums"))

    def parts(self, references, estimates) -> dict:
        differences = references - estimates
        sizes = range(1, max(2, len(self.targets)))
        groups = [group for size in sizes for group in combinations(range(len(self.targets)), size)]
        errors = [_mean(ops.square(sum(differences[:, index] for index in group))) for group in groups]
        alone = {target: errors[index] for index, target in enumerate(self.targets)}
        return alone | {"sums": sum(errors) / len(errors)}

    def weight(self, name: str) -> float:
        return 1.0 if name == "sums" else 0.0


class DeepConvSepError(StemsLoss):
    """The joint loss of P. Chandna et al., "Monoaural audio source separation using deep convolutional neural networks", 2017.

    Squared errors, summed over a spectrogram, of vocals, drums and bass; less `alpha` times the squared distances of each of
    these estimates from the references of the two others, less `beta` times those of drums and bass from the reference
    of "other", less `beta_vocals` times that of the vocals from it; of all this the absolute value. "other" itself has no
    term: it is what the masks leave.
    """

    def __init__(self, targets: tuple[str, ...], alpha: float = 0.001, beta: float = 0.01, beta_vocals: float = 0.03) -> None:
        _check_all("deepconvsep", targets)
        super().__init__(targets, ("vocals", "bass", "drums", "beta", "beta_vocals", "alpha"))
        self.weights = {"alpha": -alpha, "beta": -beta, "beta_vocals": -beta_vocals}

    def call(self, y_true, y_pred):
        return ops.abs(super().call(y_true, y_pred))

    def parts(self, references, estimates) -> dict:
        def distance(estimate: str, reference: str):
            difference = estimates[:, self.targets.index(estimate)] - references[:, self.targets.index(reference)]
            return ops.sum(ops.square(difference), axis=(1, 2, 3))

        main = ("vocals", "bass", "drums")
        return {
            **{target: distance(target, target) for target in main},
            "beta": distance("bass", "other") + distance("drums", "other"),
            "beta_vocals": distance("vocals", "other"),
            "alpha": sum(distance(a, b) for a in main for b in main if a != b),
        }

    def weight(self, name: str) -> float:
        return self.weights.get(name, 1.0)


class LevelError(StemsLoss):
    """Level of each target's error below the mixture, in dB, averaged over stretches of a second or so.

    As the signal-to-distortion ratio that separators are judged by, it asks the same of quiet music as of loud, which a mean of
    squares does not. Against the mixture's level, not the stem's, so that a stem that is silent counts too.

    Args:
        segment: frames in a stretch.
        floor: share of the mixture's energy below which an error no longer counts for much.

    Raises:
        KerasepError: not all sources are targets.
    """

    in_phase = True

    def __init__(self, targets: tuple[str, ...], segment: int = 43, floor: float = 0.01) -> None:
        _check_all("level", targets)  # which add up to the mixture
        super().__init__(targets, targets)
        self.segment = segment
        self.floor = floor

    def parts(self, references, estimates) -> dict:
        frames = references.shape[2]
        if frames < self.segment:
            raise KerasepError(f"loss: an excerpt has {frames} frames, a stretch {self.segment}: set seconds to more")
        segments = frames // self.segment

        def energy(values):
            """(batch, targets, frames, bins, channels) -> (batch, targets, segments)."""
            cut = ops.reshape(values[:, :, : segments * self.segment], (*values.shape[:2], segments, -1))
            return ops.mean(ops.square(cut), axis=-1)

        mixture = energy(ops.sum(references, axis=1, keepdims=True)) + 1e-4  # of what is in phase with it, the sum is it
        error = energy(references - estimates)
        levels = ops.mean(10 * ops.log10(error / mixture + self.floor), axis=-1)  # (batch, targets)
        return {target: levels[:, index] for index, target in enumerate(self.targets)}


LOSSES = {
    "mse": MagnitudeError,
    "l1": AbsoluteError,
    "sums": SumsError,
    "level": LevelError,
    "deepconvsep": DeepConvSepError,
}


def _check_all(loss: str, targets: tuple[str, ...]) -> None:
    if missing := set(SOURCES) - set(targets):
        raise KerasepError(f"loss {loss}: needs all four targets, {', '.join(sorted(missing))} missing: name them")


def _mean(values):
    """(batch, ..., frames, bins, channels) -> (batch, ...)."""
    return ops.mean(values, axis=(-3, -2, -1))
