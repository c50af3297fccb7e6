"""Measurements on whole songs: the validation SNR, and the input statistics of a network."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from kerasep.datasets.musdb import Song
from kerasep.models import receptive_field_of
from kerasep.models.layers import Standardise, all_layers
from kerasep.signal import masks
from kerasep.training.data import whole_song
from kerasep.training.losses import LOSSES
from kerasep.training.recipe import Recipe

SILENCE = 1e-5  # of the loudest song's energy: a stem with less counts as absent
BLOCK = 1292  # frames, 30 to 60 s: songs are processed in blocks, so that memory does not grow with their length


def validation_snr(
    forward: Callable[[np.ndarray], dict[str, np.ndarray]], songs: list[Song], targets: tuple[str, ...], recipe: Recipe
) -> dict[str, float]:
    """SNR of the estimates in dB, 10 log10(sum |ref|^2 / sum |ref - est|^2), for each target.

    Of magnitudes, summed over all songs. If the recipe's loss is phase-sensitive: of complex spectra, estimates with the
    mixture's phase, per song, averaged over the songs that have the target; closer to how stems are scored.

    Args:
        forward: from a mixture to targets, all (batch, frames, bins, channels). It is called with a single shape, so that it
            compiles once: the last block of a song is padded with silence. A network that takes windows gets a batch of them.
        songs: to validate on.
        targets: to measure.
        recipe: the spectrogram, network and loss.
    """
    phase_sensitive = LOSSES[recipe.loss].phase_sensitive
    window = receptive_field_of(recipe.network, recipe.options).window
    frames = min(BLOCK, max(recipe.spectrogram.frames(song.frames) for song in songs))
    if window:
        frames = window * -(-frames // window)
    energy, error = (np.zeros((len(targets), len(songs))) for _ in range(2))
    for number, song in enumerate(songs):
        for block in whole_song(song, ("mixture", *targets), recipe, frames):
            mixture = np.abs(block["mixture"])
            padded = np.pad(mixture, ((0, frames - len(mixture)), (0, 0), (0, 0)))
            outputs = forward(padded.reshape(-1, window or frames, *padded.shape[1:]))
            estimates = {target: outputs[target].reshape(padded.shape)[: len(mixture)] for target in targets}
            if phase_sensitive:
                estimates = masks.apply(masks.magnitude_gains(estimates, mixture), block["mixture"])
            for index, target in enumerate(targets):
                reference = block[target] if phase_sensitive else np.abs(block[target])
                energy[index, number] += np.sum(np.square(np.abs(reference)), dtype=np.float64)
                error[index, number] += np.sum(np.square(np.abs(reference - estimates[target])), dtype=np.float64)
    if not phase_sensitive:
        energy, error = energy.sum(axis=1, keepdims=True), error.sum(axis=1, keepdims=True)
    levels = 10 * np.log10(np.maximum(energy, 1e-12) / np.maximum(error, 1e-12))
    present = energy >= SILENCE * energy.max(axis=1, keepdims=True)
    return {target: float(np.mean(levels[index][present[index]])) for index, target in enumerate(targets)}


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
