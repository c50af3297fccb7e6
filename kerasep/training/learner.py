"""The model that `fit` trains: excerpts in, transform, network, loss."""

import math

import keras
import numpy as np
from keras import ops

from kerasep.datasets.musdb import SOURCES
from kerasep.models.lstm import on_gpu
from kerasep.signal.spectrogram import Spectrogram, window
from kerasep.training.losses import StemsLoss
from kerasep.training.speed import played
from kerasep.training.stems import Stems

GROUP = 4  # examples transformed at a time: as fast as all at once, in a gigabyte less for a batch of `conv`


class Transform(keras.layers.Layer):
    """A batch of excerpts (`kerasep.training.data.Mixer`) to magnitudes, inside the training step.

    Inside the step, because the data threads would need as much time and more memory, and a GPU has time to spare
    (docs/training.md has the measurement). Frames are not centred, because excerpts do not begin where songs do; Open-Unmix
    trains like this, too.

    Args:
        spectrogram: of mixture and targets.
        targets: sources to return.
        samples: of an example, whose excerpts may be longer to be played faster.
        tilted: whether to apply the batch's spectral tilts.
        phase_sensitive: return phase-sensitive targets (`StemsLoss.phase_sensitive`) instead of magnitudes.
        stems: where excerpts are, if batches have only their places.
    """

    def __init__(
        self,
        spectrogram: Spectrogram,
        targets: tuple[str, ...],
        samples: int,
        tilted: bool,
        phase_sensitive: bool,
        stems: Stems | None = None,
    ) -> None:
        super().__init__(dtype="float32", autocast=False, trainable=False, name="transform")
        self.samples = samples
        self.spectrogram = spectrogram
        self.targets = targets
        self.tilted = tilted
        self.phase_sensitive = phase_sensitive
        self.stems = stems
        self.window = window(spectrogram.window, spectrogram.fft)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(spectrogram.fft, 1 / spectrogram.rate), 20) / 1000)
        self.octaves = octaves.astype(np.float32)

    def call(self, batch):
        """To the mixture (batch, frames, bins, channels) and the targets (batch, targets, frames, bins, channels)."""
        size = math.gcd(batch["gains"].shape[0], GROUP)
        if on_gpu():  # which has the memory; and there TensorFlow's loop takes no integers of 16 bits
            return self._magnitudes(batch)
        groups = {name: ops.reshape(part, (-1, size, *part.shape[1:])) for name, part in batch.items()}
        mixture, references = ops.map(self._magnitudes, groups)
        return ops.reshape(mixture, (-1, *mixture.shape[2:])), ops.reshape(references, (-1, *references.shape[2:]))

    def _magnitudes(self, batch):
        # (batch, sources, samples, 2) x (batch, sources, 2, channels); two terms are cheaper than a product of matrices
        excerpts = self.stems(batch["starts"], batch["shares"]) if self.stems else ops.cast(batch["excerpts"], "float32")
        if "steps" in batch:
            excerpts = played(excerpts, batch["steps"], self.samples)
        left, right = excerpts[..., :1] / 32768, excerpts[..., 1:] / 32768
        gains = batch["gains"]
        waves = left * gains[:, :, None, 0] + right * gains[:, :, None, 1]  # (batch, sources, samples, channels)
        wanted = [SOURCES.index(target) for target in self.targets]
        rest = [index for index in range(len(SOURCES)) if index not in wanted]
        parts = [waves[:, index] for index in wanted]
        tilts = [batch["tilts"][:, index] for index in wanted]
        if self.tilted:
            parts += [waves[:, index] for index in rest]
            tilts += [batch["tilts"][:, index] for index in rest]
        elif rest:  # the other sources only count in the mixture: one transform of their sum
            parts.append(sum(waves[:, index] for index in rest))
        real, imaginary = self.stft(ops.transpose(ops.stack(parts, axis=1), (0, 1, 3, 2)))
        if self.tilted:
            slopes = ops.exp(np.log(10) / 20 * self.octaves * ops.stack(tilts, axis=1)[..., None, None, None])
            real, imaginary = real * slopes, imaginary * slopes
        together = ops.sum(real, axis=1), ops.sum(imaginary, axis=1)
        mixture = magnitude(*together)
        real, imaginary = real[:, : len(wanted)], imaginary[:, : len(wanted)]
        if self.phase_sensitive:  # the mixture's phase as a unit vector; the stem's projection on it
            across, along = (part[:, None] / ops.maximum(mixture, 1e-6)[:, None] for part in together)
            references = real * across + imaginary * along
        else:
            references = magnitude(real, imaginary)
        return ops.transpose(mixture, (0, 2, 3, 1)), ops.transpose(references, (0, 1, 3, 4, 2))

    def stft(self, waves):
        """(..., samples) -> real and imaginary parts (..., frames, bins)."""
        fft, hop = self.spectrogram.fft, self.spectrogram.hop
        pieces = fft // hop  # hops in a frame
        frames = 1 + (waves.shape[-1] - fft) // hop
        hops = ops.reshape(waves[..., : (frames + pieces - 1) * hop], (*waves.shape[:-1], frames + pieces - 1, hop))
        framed = ops.concatenate([hops[..., piece : piece + frames, :] for piece in range(pieces)], axis=-1)
        return ops.rfft(framed * self.window)


class Learner(keras.Model):
    """What a training step computes: transform, network, loss.

    Args:
        network: from mixture to a dict of target magnitudes, (batch, frames, bins, channels).
        transform: from a batch to magnitudes.
        loss: over all targets.
    """

    def __init__(self, network: keras.Model, transform: Transform, loss: StemsLoss) -> None:
        super().__init__(name="learner", dtype="float32", autocast=False)
        self.network = network
        self.transform = transform
        self.stems_loss = loss
        names = loss.names if len(loss.names) > 1 else ()  # a single part equals the loss
        self.parts = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def state(self) -> list[keras.Variable]:
        """All variables that training changes: without stems on the device."""
        stems = {id(variable) for variable in (self.transform.stems.variables if self.transform.stems else ())}
        return [variable for variable in self.variables if id(variable) not in stems]

    def call(self, batch, training=False):
        mixture, references = self.transform(batch)
        outputs = self.network(mixture, training=training)
        return references, ops.stack([ops.cast(outputs[t], "float32") for t in self.transform.targets], axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        references, estimates = y_pred
        for name, value in self.stems_loss.parts(references, estimates).items() if self.parts else ():
            self.parts[name].update_state(value)
        return super().compute_loss(x, references, estimates, training=training)


def magnitude(real, imaginary):
    """Of complex numbers, given by their parts."""
    return ops.sqrt(ops.square(real) + ops.square(imaginary))
