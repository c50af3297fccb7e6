"""Validation SNR and input statistics against NumPy on whole songs."""

from dataclasses import replace

import numpy as np
import pytest

from kerasep.datasets.musdb import songs
from kerasep.signal.stft import Spectrogram, stft
from kerasep.training import engine
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.runs import load_run
from kerasep.training.validation import validation_snr

SPECTROGRAM = Spectrogram(fft=256, hop=64)


def test_validation_snr_by_hand(runs, hq_root):
    record, network = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    (song,) = songs(hq_root, "validation")
    mixture, reference = (np.abs(stft(song.read(stem), recipe.spectrogram)) for stem in ("mixture", "vocals"))
    error = reference - np.asarray(network(mixture[None], training=False)["vocals"])[0]
    expected = 10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / np.sum(error.astype(np.float64) ** 2))
    for jit in (False, True):
        snr = validation_snr(engine.forward(network, jit), [song], ("vocals",), recipe)
        assert snr["vocals"] == pytest.approx(expected, abs=1e-4)


def test_validation_snr_of_a_phase_sensitive_recipe(hq_root):
    """A mask of a half: of complex spectra, averaged over songs, as stems are scored."""
    recipe = replace(RECIPES["bands"], spectrogram=SPECTROGRAM)
    several = [*songs(hq_root, "validation"), *songs(hq_root, "train")]
    assert len(several) == 3
    found = validation_snr(lambda mixture: {"drums": mixture / 2}, several, ("drums",), recipe)
    levels = []
    for song in several:
        mixture, reference = (stft(song.read(stem), SPECTROGRAM).astype(np.complex128) for stem in ("mixture", "drums"))
        error = np.sum(np.abs(reference - mixture / 2) ** 2)
        levels.append(10 * np.log10(np.sum(np.abs(reference) ** 2) / error))
    assert found["drums"] == pytest.approx(np.mean(levels), abs=1e-4)


def test_statistics_are_those_of_the_mono_mixtures(runs, hq_root):
    _, network = load_run(runs["vocals"])
    mixtures = [song.read("mixture").mean(axis=1, keepdims=True) for song in songs(hq_root, "train")]
    frames = np.concatenate([np.abs(stft(mixture, SPECTROGRAM))[:, :, 0] for mixture in mixtures]).astype(np.float64)
    layer = network.get_layer("vocals").get_layer("standardise")
    assert np.allclose(layer.mean, frames.mean(axis=0), rtol=1e-4)
    deviation = np.maximum(frames.std(axis=0), 1e-4 * frames.std(axis=0).max())
    assert np.allclose(layer.scale, 1 / deviation, rtol=1e-4)
