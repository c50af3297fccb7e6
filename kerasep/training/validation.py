"""Measurements on whole songs: the validation SNR, and the input statistics of a network."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import keras
import numpy as np
from keras import ops

from kerasep.datasets.musdb import Song
from kerasep.models import receptive_field_of
from kerasep.models.layers import Standardise, all_layers
from kerasep.signal import masks
from kerasep.signal.stft import padded_blocks
from kerasep.training import engine
from kerasep.training.data import whole_song
from kerasep.training.learner import Learner, Transform, magnitude
from kerasep.training.losses import LOSSES
from kerasep.training.recipe import Recipe

SILENCE = 1e-5  # of the loudest song's energy: a stem with less counts as absent
BLOCK = 1292  # frames, 30 to 60 s: songs are processed in blocks, so that memory does not grow with their length


Errors = tuple[np.ndarray, np.ndarray]  # energy of the references, and of what estimates lack, by target, in a block


class Measure(Protocol):
    """How estimates are compared with references, block by block; on every backend and device the same numbers.

    Of magnitudes; if the recipe's loss is phase-sensitive, of complex spectra, estimates with the mixture's phase: closer to
    how stems are scored. A network that takes windows gets a batch of them. The network is called with a single shape, so that
    it compiles once: the last block of a song is padded with silence, which does not count.

    Attributes:
        targets: what is measured.
    """

    targets: tuple[str, ...]

    def errors(self, song: Song, frames: int) -> Iterator[Errors]:
        """Of each block of so many frames of a song."""


class OnHost:
    """With the transform and the sums in NumPy.

    Args:
        forward: from a mixture to targets, all (batch, frames, bins, channels).
        targets: to measure.
        recipe: the spectrogram, network and loss.
    """

    def __init__(
        self, forward: Callable[[np.ndarray], dict[str, np.ndarray]], targets: tuple[str, ...], recipe: Recipe
    ) -> None:
        self.forward, self.targets, self.recipe = forward, targets, recipe
        self.phase_sensitive = LOSSES[recipe.loss].phase_sensitive
        self.window = receptive_field_of(recipe.network, recipe.options).window

    def errors(self, song: Song, frames: int) -> Iterator[Errors]:
        for block in whole_song(song, ("mixture", *self.targets), self.recipe, frames):
            mixture = np.abs(block["mixture"])
            padded = np.pad(mixture, ((0, frames - len(mixture)), (0, 0), (0, 0)))
            outputs = self.forward(padded.reshape(-1, self.window or frames, *padded.shape[1:]))
            estimates = {target: outputs[target].reshape(padded.shape)[: len(mixture)] for target in self.targets}
            if self.phase_sensitive:
                estimates = masks.apply(masks.magnitude_gains(estimates, mixture), block["mixture"])
            energy, error = np.zeros(len(self.targets)), np.zeros(len(self.targets))
            for index, target in enumerate(self.targets):
                reference = block[target] if self.phase_sensitive else np.abs(block[target])
                energy[index] = np.sum(np.square(np.abs(reference)), dtype=np.float64)
                error[index] = np.sum(np.square(np.abs(reference - estimates[target])), dtype=np.float64)
            yield energy, error


class OnDevice:
    """With transform and sums beside the network, where the network is on a GPU: only samples go there."""

    def __init__(self, learner: Learner, recipe: Recipe) -> None:
        self.targets, self.spectrogram = learner.transform.targets, recipe.spectrogram
        window = receptive_field_of(recipe.network, recipe.options).window
        self.compare = engine.forward(Comparison(learner.network, learner.transform, window), recipe.jit)

    def errors(self, song: Song, frames: int) -> Iterator[Errors]:
        spectrogram = self.spectrogram
        samples = (frames - 1) * spectrogram.hop + spectrogram.fft
        stems = ("mixture", *self.targets)
        streams = [padded_blocks(song.blocks(stem, spectrogram.channels), spectrogram, frames) for stem in stems]
        for pieces in zip(*streams, strict=True):
            waves = np.zeros((len(stems), samples, spectrogram.channels), np.float32)
            waves[:, : len(pieces[0])] = pieces
            inside = np.int32(1 + (len(pieces[0]) - spectrogram.fft) // spectrogram.hop)
            found = self.compare({"waves": waves, "frames": inside})
            yield found["energy"].astype(np.float64), found["error"].astype(np.float64)


class Comparison(keras.Model):
    """The errors of a network on a block of a song: {"waves": (stems, samples, channels), "frames": those that count}."""

    def __init__(self, network: keras.Model, transform: Transform, window: int | None) -> None:
        super().__init__(dtype="float32", autocast=False)
        self.network, self.transform, self.window = network, transform, window
        self.built = True

    def call(self, block, training=False):
        real, imaginary = (
            ops.transpose(part, (0, 2, 3, 1)) for part in self.transform.stft(ops.transpose(block["waves"], (0, 2, 1)))
        )  # (stems, frames, bins, channels)
        frames, bins, channels = real.shape[1:]
        counted = ops.cast(ops.arange(frames) < block["frames"], "float32")[:, None, None]
        mixture = counted * magnitude(real[0], imaginary[0])  # behind them is silence, not a window that the end is still in
        outputs = self.network(ops.reshape(mixture, (-1, self.window or frames, bins, channels)), training=training)
        estimates = ops.stack(
            [ops.reshape(ops.cast(outputs[target], "float32"), mixture.shape) for target in self.transform.targets]
        )
        if self.transform.phase_sensitive:
            gains = estimates / ops.maximum(mixture, masks.TINY)
            energies = ops.square(real[1:]) + ops.square(imaginary[1:])
            errors = ops.square(real[1:] - gains * real[0]) + ops.square(imaginary[1:] - gains * imaginary[0])
        else:
            references = magnitude(real[1:], imaginary[1:])
            energies, errors = ops.square(references), ops.square(references - estimates)
        return {
            "energy": ops.sum(counted * energies, axis=(1, 2, 3)),
            "error": ops.sum(counted * errors, axis=(1, 2, 3)),
        }


def validation_snr(measure: Measure, songs: list[Song], recipe: Recipe) -> dict[str, float]:
    """SNR of the estimates in dB, 10 log10(sum |ref|^2 / sum |ref - est|^2), for each target.

    Summed over all songs. If the recipe's loss is phase-sensitive: per song, averaged over the songs that have the target.

    Args:
        measure: how estimates are compared with references.
        songs: to validate on.
        recipe: the spectrogram, network and loss.
    """
    window = receptive_field_of(recipe.network, recipe.options).window
    frames = min(BLOCK, max(recipe.spectrogram.frames(song.frames) for song in songs))
    if window:
        frames = window * -(-frames // window)
    energy, error = (np.zeros((len(measure.targets), len(songs))) for _ in range(2))
    for number, song in enumerate(songs):
        for energies, errors in measure.errors(song, frames):
            energy[:, number] += energies
            error[:, number] += errors
    if not LOSSES[recipe.loss].phase_sensitive:
        energy, error = energy.sum(axis=1, keepdims=True), error.sum(axis=1, keepdims=True)
    levels = 10 * np.log10(np.maximum(energy, 1e-12) / np.maximum(error, 1e-12))
    present = energy >= SILENCE * energy.max(axis=1, keepdims=True)
    return {target: float(np.mean(levels[index][present[index]])) for index, target in enumerate(measure.targets)}


def set_statistics(network: keras.Model, songs: list[Song], recipe: Recipe) -> None:
    """Set mean and scale of every `Standardise` layer, per bin over the frames of the mono mixtures, as Open-Unmix's scaler."""
    found = [layer for layer in all_layers(network) if isinstance(layer, Standardise)]
    for power in {layer.power for layer in found}:
        mean, deviation = _statistics(songs, recipe, power)
        for layer in found:
            if layer.power == power:
                bins = layer.mean.shape[0]
                layer.mean.assign(mean[:bins])
                layer.scale.assign(1 / deviation[:bins])


def _statistics(songs: list[Song], recipe: Recipe, power: float) -> tuple[np.ndarray, np.ndarray]:
    mono = replace(recipe, spectrogram=replace(recipe.spectrogram, channels=1))
    count, total, squares = 0, np.zeros(recipe.spectrogram.bins), np.zeros(recipe.spectrogram.bins)
    for song in songs:
        for block in whole_song(song, ("mixture",), mono, BLOCK):
            values = np.abs(block["mixture"][:, :, 0]).astype(np.float64) ** power
            count += len(values)
            total += values.sum(axis=0)
            squares += np.square(values).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return mean, np.maximum(deviation, 1e-4 * deviation.max())
