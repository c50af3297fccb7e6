"""Losses over all targets of a network, and the parts of them that a run reports.

Magnitudes are stacked: (batch, targets, frames, bins, channels). A loss is one number per example.
"""

from abc import abstractmethod
from itertools import combinations

import keras
from keras import ops

from kerasep.datasets.musdb import SOURCES
from kerasep.errors import KerasepError
from kerasep.training.choices import Loss


class StemsLoss(keras.losses.Loss):
    """A loss made of named parts.

    Attributes:
        phase_sensitive: whether references are phase-sensitive targets, |stem| cos(phase of stem - phase of mixture), and not
            magnitudes. A mask keeps the mixture's phase, so this is the best it can do in each bin; it may be negative.
            (H. Erdogan, J. Hershey, S. Watanabe, J. Le Roux, "Phase-sensitive and recognition-boosted speech separation using
            deep recurrent neural networks", ICASSP 2015.)

    Args:
        targets: the names along the second axis.
        names: of the parts, in order.
    """

    phase_sensitive = False

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
    """Mean squared error of the magnitudes, summed over targets, as Open-Unmix trains one of them."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        super().__init__(targets, targets)

    def parts(self, references, estimates) -> dict:
        errors = _mean(self.error(references - estimates))  # (batch, targets)
        return {target: errors[:, index] for index, target in enumerate(self.targets)}

    def error(self, difference):
        return ops.square(difference)


class AbsoluteError(MagnitudeError):
    """Mean absolute error of the magnitudes, summed over targets, as Spleeter trains."""

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

    The absolute value of the squared errors, summed over a spectrogram, of vocals, drums and bass, minus `alpha` times the
    squared distances between each of these estimates and the references of the two others, minus `beta` times those between
    drums and bass and the reference of "other", minus `beta_vocals` times that between the vocals and it. "other" itself has no
    term: the masks leave it over.
    """

    def __init__(self, targets: tuple[str, ...], alpha: float = 0.001, beta: float = 0.01, beta_vocals: float = 0.03) -> None:
        _check_all(Loss.DEEPCONVSEP, targets)
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


class ThresholdedSNR(StemsLoss):
    """Negative SNR of each target in dB, with a soft threshold, averaged over segments of about a second.

    10 log10(|error|^2 / |mixture|^2 + threshold) per segment. Like the signal-to-distortion ratio that separators are scored
    by, and unlike a mean of squares, it treats quiet music and loud music alike. The threshold clamps it softly where the error
    is small, as in S. Wisdom et al., "Unsupervised sound separation using mixture invariant training", NeurIPS 2020. Signal and
    threshold are relative to the mixture, as S. Wisdom et al., "What's all the FUSS about free universal sound separation
    data?", ICASSP 2021, do for silent sources, so that silent stems count, too.

    Args:
        segment: frames in a segment.
        floor: the threshold, a share of the mixture's energy; 0.01 limits the SNR to 20 dB.

    Raises:
        KerasepError: not all sources are targets.
    """

    phase_sensitive = True

    def __init__(self, targets: tuple[str, ...], segment: int = 43, floor: float = 0.01) -> None:
        _check_all(Loss.LEVEL, targets)  # only all of them add up to the mixture
        super().__init__(targets, targets)
        if segment < 1 or segment != int(segment):
            raise ValueError(f"segment must be a whole number of frames, not {segment}")
        self.segment = int(segment)
        self.floor = floor

    def parts(self, references, estimates) -> dict:
        frames = references.shape[2]
        if frames < self.segment:
            raise KerasepError(f"loss: an excerpt has {frames} frames, a segment {self.segment}: increase seconds")
        segments = frames // self.segment

        def energy(values):
            """(batch, targets, frames, bins, channels) -> (batch, targets, segments)."""
            cut = ops.reshape(values[:, :, : segments * self.segment], (*values.shape[:2], segments, -1))
            return ops.mean(ops.square(cut), axis=-1)

        mixture = energy(ops.sum(references, axis=1, keepdims=True)) + 1e-4  # phase-sensitive targets add up to it
        error = energy(references - estimates)
        levels = ops.mean(10 * ops.log10(error / mixture + self.floor), axis=-1)  # (batch, targets)
        return {target: levels[:, index] for index, target in enumerate(self.targets)}


LOSSES = {
    Loss.MSE: MagnitudeError,
    Loss.L1: AbsoluteError,
    Loss.SUMS: SumsError,
    Loss.LEVEL: ThresholdedSNR,
    Loss.DEEPCONVSEP: DeepConvSepError,
}


def _check_all(loss: Loss, targets: tuple[str, ...]) -> None:
    if missing := set(SOURCES) - set(targets):
        raise KerasepError(f"loss {loss}: needs all four targets, {', '.join(sorted(missing))} missing: name them")


def _mean(values):
    """(batch, ..., frames, bins, channels) -> (batch, ...)."""
    return ops.mean(values, axis=(-3, -2, -1))
