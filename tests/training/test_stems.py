"""Stems in the device's memory: the same examples as from the host, and nothing of them in what a run keeps."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from conftest import SHORT, SMALL

from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training import checkpoint
from kerasep.training.data import Mixer
from kerasep.training.learner import Transform
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.stems import Places, Stems
from kerasep.training.trainer import prepare, train

RECIPE = Recipe("test", "conv", spectrogram=Spectrogram(fft=256, hop=64), batch=4, seconds=0.5)


@pytest.mark.parametrize(
    ("augment", "tolerance"),
    [
        ({}, 1e-6),
        ({"speed": 0.15, "tilt": 2.0, "drop": 0.2, "coherent": 0.5}, 1e-6),
        ({"speed": 0.15, "double": 1.0}, 1e-3),  # which the host rounds to 16 bits
    ],
)
def test_the_same_examples_as_from_the_host(hq_root, augment, tolerance):
    recipe, found = replace(RECIPE, augment=replace(RECIPE.augment, **augment)), songs(hq_root, "train")
    host, places = Mixer(found, recipe, 3, in_step=True), Places(found, recipe, 3)
    phase_sensitive = not recipe.augment.double  # rounding turns the phase of what is next to silence
    arguments = (recipe.spectrogram, SOURCES, recipe.samples, recipe.augment.tilt > 0, phase_sensitive)
    expected, on_device = Transform(*arguments), Transform(*arguments, Stems(found, places.longest))
    for number in (0, 7):
        batch = places(number)
        assert {name: (part.shape, str(part.dtype)) for name, part in batch.items()} == places.shapes
        assert sum(part.nbytes for part in batch.values()) < 1000
        for ours, theirs in zip(on_device(batch), expected(host(number)), strict=True):
            assert np.abs(theirs).max() > 0.1
            assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def recipe(*settings: str) -> Recipe:
    return RECIPES["conv-norm"].override([*SMALL, *SHORT, "augment.speed=0", "epochs.bass=2", *settings])


@pytest.mark.slow
def test_a_run_learns_the_same_and_keeps_no_stems(hq_root, tmp_path):
    """And goes on from a checkpoint."""
    host = train(recipe(), ("bass",), [hq_root], tmp_path / "host")
    one = train(recipe("epochs.bass=1"), ("bass",), [hq_root], tmp_path / "device", stems_on_device=True)
    assert one["epochs"][0]["loss"] == pytest.approx(host["epochs"][0]["loss"], rel=1e-5)
    (file,) = (tmp_path / "device" / checkpoint.FOLDER).iterdir()
    assert file.stat().st_size < 88200 * 4  # of one stem
    learner, *_ = prepare(recipe(), ("bass",), songs(hq_root, "train"), 1, 1, stems_on_device=True)
    before = learner.transform.stems.weights[2].numpy()
    assert before.any() and checkpoint.restore(file.parent, learner)["epochs"] == one["epochs"]
    assert np.array_equal(learner.transform.stems.weights[2].numpy(), before)


def test_samples_stay_where_they_are(hq_root):
    """No copy of a variable with stems in a step: rows are taken from it, by an operator that has a kernel for GPUs."""
    found = songs(hq_root, "train")
    layer, batch = Stems(found, 100), Places(found, RECIPE, 0)(0)
    nodes = tf.function(layer).get_concrete_function(batch["starts"], batch["shares"]).graph.as_graph_def().node
    assert [node.op for node in nodes].count("ResourceGather") == len(SOURCES)
    assert not [node for node in nodes if node.op == "ReadVariableOp"]


def test_too_little_memory_and_too_much_music(hq_root, monkeypatch):
    found = songs(hq_root, "train")
    monkeypatch.setattr(Stems, "add_weight", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(KerasepError, match=r"^--stems-on-device: stems of \d+ MB do not fit into the device's memory"):
        Stems(found, 100)
    with pytest.raises(KerasepError, match="13 hours of music at most"):
        Places([replace(song, frames=2**30) for song in found], RECIPE, 0)


def test_a_damaged_stem_is_named(damaged_root):
    _, found, bad = damaged_root
    with pytest.raises(KerasepError, match=rf"^{bad}: cannot be read \(ends \d+ samples early\): repair or remove the song$"):
        Stems(found, 100)
