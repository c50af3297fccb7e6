"""Validation SNR and input statistics against NumPy on whole songs."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, disturb

from kerasep.datasets.musdb import SOURCES, songs
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import stft
from kerasep.training import engine
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.runs import load_run
from kerasep.training.trainer import prepare
from kerasep.training.validation import OnDevice, OnHost, validation_snr

SPECTROGRAM = Spectrogram(fft=256, hop=64)


def test_validation_snr_by_hand(runs, hq_root):
    record, network = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    (song,) = songs(hq_root, "validation")
    mixture, reference = (np.abs(stft(song.read(stem), recipe.spectrogram)) for stem in ("mixture", "vocals"))
    error = reference - np.asarray(network(mixture[None], training=False)["vocals"])[0]
    expected = 10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / np.sum(error.astype(np.float64) ** 2))
    for jit in (False, True):
        snr = validation_snr(OnHost(engine.forward(network, jit), ("vocals",), recipe), [song], recipe)
        assert snr["vocals"] == pytest.approx(expected, abs=1e-4)


def test_validation_snr_of_a_phase_sensitive_recipe(hq_root):
    """A mask of a half: of complex spectra, averaged over songs, as stems are scored."""
    recipe = replace(RECIPES["bands"], spectrogram=SPECTROGRAM)
    several = [*songs(hq_root, "validation"), *songs(hq_root, "train")]
    assert len(several) == 3
    found = validation_snr(OnHost(lambda mixture: {"drums": mixture / 2}, ("drums",), recipe), several, recipe)
    levels = []
    for song in several:
        mixture, reference = (stft(song.read(stem), SPECTROGRAM).astype(np.complex128) for stem in ("mixture", "drums"))
        error = np.sum(np.abs(reference - mixture / 2) ** 2)
        levels.append(10 * np.log10(np.sum(np.abs(reference) ** 2) / error))
    assert found["drums"] == pytest.approx(np.mean(levels), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "tolerance"),
    [
        ("conv-norm", SMALL, 1e-4),
        pytest.param(
            "bands",
            ["spectrogram.fft=256", "spectrogram.hop=64", "options.layout=[[1,1],[1,2],[1,4]]", "options.size=12"],
            1e-4,
            marks=pytest.mark.slow,
        ),
        ("deepconvsep", ["spectrogram.fft=256", "spectrogram.hop=128", 'options={"filters": 5, "hidden": 7}'], 1e-5),
    ],
)
def test_the_same_on_the_device(name, settings, tolerance, hq_root):
    """Magnitudes, complex spectra, and windows of one channel; songs of several blocks, and a last one that is not full."""
    recipe = RECIPES[name].override([*settings, "batch=2", "seconds=0.36", "jit=false"])
    recipe = replace(recipe, seconds=(29 * 128 + 256) / 44100) if name == "deepconvsep" else recipe
    several = [*songs(hq_root, "validation"), *songs(hq_root, "train")]
    learner, *_ = prepare(recipe, SOURCES, several, seed=0, devices=1)
    disturb(learner.network)
    host, device = OnHost(engine.forward(learner.network, False), SOURCES, recipe), OnDevice(learner, recipe)
    expected = validation_snr(host, several, recipe)
    assert validation_snr(device, several, recipe) == pytest.approx(expected, abs=tolerance)
    for ours, theirs in zip(device.errors(several[0], 300), host.errors(several[0], 300), strict=True):
        assert all(np.allclose(one, other, rtol=tolerance) for one, other in zip(ours, theirs, strict=True))


def test_statistics_are_those_of_the_mono_mixtures(runs, hq_root):
    _, network = load_run(runs["vocals"])
    mixtures = [song.read("mixture").mean(axis=1, keepdims=True) for song in songs(hq_root, "train")]
    frames = np.concatenate([np.abs(stft(mixture, SPECTROGRAM))[:, :, 0] for mixture in mixtures]).astype(np.float64)
    layer = network.get_layer("vocals").get_layer("standardise")
    assert np.allclose(layer.mean, frames.mean(axis=0), rtol=1e-4)
    deviation = np.maximum(frames.std(axis=0), 1e-4 * frames.std(axis=0).max())
    assert np.allclose(layer.scale, 1 / deviation, rtol=1e-4)
