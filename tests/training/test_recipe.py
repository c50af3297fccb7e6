"""Recipes as JSON, the thesis' values, and what is refused."""

import json

import pytest

from kerasep.errors import KerasepError, UsageError
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training.recipe import RECIPES, Recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_json_both_ways(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_choices_are_plain_words_in_json():
    values = RECIPES["bands"].to_json()
    chosen = [values[name] for name in ("loss", "optimizer", "schedule", "precision")]
    assert chosen == ["level", "muon", "cosine", "float32"]
    assert {type(value) for value in chosen} == {str}


def test_the_thesis_settings_of_its_own_network():
    """Tables 5-6 and 5-7."""
    recipe = RECIPES["conv"]
    assert (recipe.batch, recipe.seconds, recipe.learning_rate, recipe.weight_decay) == (32, 6.0, 1e-3, 1e-5)
    assert recipe.epochs == {"vocals": 160, "drums": 75, "bass": 100, "other": 160}
    assert recipe.spectrogram == Spectrogram(44100, 2, 4096, 1024, "hann")
    assert (recipe.options, recipe.steps) == ({}, 172)


def test_the_thesis_settings_of_open_unmix():
    """Tables 5-4 and 5-5, figure 5-3."""
    recipe = RECIPES["openunmix"]
    assert (recipe.batch, recipe.seconds, recipe.learning_rate, recipe.weight_decay) == (16, 6.0, 1e-3, 1e-5)
    assert (recipe.schedule, recipe.factor, recipe.patience, recipe.cooldown, recipe.early_stop) == (
        "plateau",
        0.3,
        80,
        10,
        250,
    )
    assert (recipe.epochs["vocals"], recipe.optimizer, recipe.loss) == (1000, "adam", "mse")


def test_the_thesis_settings_of_deepconvsep():
    """Table 5-2; windows of 30 frames."""
    recipe = RECIPES["deepconvsep"]
    spectrogram = recipe.spectrogram
    assert spectrogram == Spectrogram(44100, 1, 1024, 512, "blackmanharris", "zeros")
    assert 1 + (recipe.samples - spectrogram.fft) // spectrogram.hop == 30
    assert (recipe.batch, recipe.epochs["vocals"], recipe.optimizer, recipe.learning_rate) == (32, 40, "adadelta", 1.0)
    assert recipe.loss_options == {"alpha": 0.001, "beta": 0.01, "beta_vocals": 0.03}


def test_overrides():
    settings = ["batch=4", "spectrogram.hop=512", "epochs.bass=3", "options.padding=same", "augment.gain=[0.5,1]"]
    recipe = RECIPES["conv"].override(settings)
    assert (recipe.batch, recipe.spectrogram.hop, recipe.epochs["bass"], recipe.augment.gain) == (4, 512, 3, (0.5, 1))
    assert recipe.options == {"padding": "same"}


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("bach=4", "no such key: choose from name, network"),
        ("batch", "no such key"),
        ("batch.x=1", "no such key: choose from name, network"),
        ("options.hidden.x=1", "no such key: choose from name, network"),
        ("epochs.piano=3", "choose from vocals, drums"),
        ("augment.colour=3", "choose from gain, swap"),
        ("spectrogram.hop=5", "hop 5 must divide"),
        ("batch=big", "batch must be a positive integer, not 'big'"),
        ("epochs.bass=0", "epochs.bass must be a positive integer"),
        ("learning_rate=-1", "learning_rate must be a positive number"),
        ("ema=1", "ema must be below 1"),
        ("weight_decay=none", "weight_decay must be a number from 0 on"),
        ("optimizer=sgd", "unknown optimizer 'sgd': choose from adam, adamw, muon, adadelta"),
        ("schedule=linear", "choose from constant, cosine, plateau"),
        ("loss=l2", "choose from mse, l1, sums, level, deepconvsep"),
        ("precision=int8", "choose from float32, mixed_bfloat16, mixed_float16"),
        ("augment.drop=2", "drop must be a share"),
        ("augment.gain=[2,1]", "the smaller first"),
        ("augment.speed=1", r"speed must be in \[0, 1\)"),
    ],
)
def test_wrong_overrides(setting, match):
    with pytest.raises(UsageError, match=match):
        RECIPES["conv"].override([setting])


@pytest.mark.parametrize("change", [{"colour": "red"}, {"augment": {"colour": 1}}, {"spectrogram": {"colour": 1}}])
def test_unknown_recipe_keys(change):
    with pytest.raises(KerasepError, match="unknown key 'colour': choose from "):
        Recipe.from_json(RECIPES["conv"].to_json() | change)
