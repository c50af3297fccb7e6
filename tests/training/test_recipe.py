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
        ("batch=big", "batch must be an integer from 1 to 1,000,000, not 'big'"),
        ("epochs.bass=0", "epochs.bass must be an integer from 1"),
        ("learning_rate=-1", "learning_rate must be a number from 1e-38"),
        ("ema=1", "ema must be a number from 0 to 0.99999"),
        ("weight_decay=none", "weight_decay must be a number from 0 to 1000"),
        ("optimizer=sgd", "unknown optimizer 'sgd': choose from adam, adamw, muon, adadelta"),
        ("schedule=linear", "choose from constant, cosine, plateau"),
        ("loss=l2", "choose from mse, l1, sums, level, deepconvsep"),
        ("precision=int8", "choose from float32, mixed_bfloat16, mixed_float16"),
        ("augment.drop=2", "augment.drop must be a number from 0 to 1"),
        ("augment.gain=[2,1]", "the smaller first"),
        ("augment.speed=1", "augment.speed must be a number from 0 to 0.9"),
    ],
)
def test_wrong_overrides(setting, match):
    with pytest.raises(UsageError, match=match):
        RECIPES["conv"].override([setting])


NUMBERS = ["batch", "seconds", "steps", "learning_rate", "weight_decay", "factor", "patience", "cooldown", "early_stop"]
NUMBERS += ["validate_every", "clip", "ema", "epochs.bass", "options.hidden", "options.dropout", "loss_options.alpha"]
NUMBERS += [f"augment.{name}" for name in ("swap", "speed", "tilt", "double", "drop", "coherent")]
NUMBERS += [f"spectrogram.{name}" for name in ("rate", "channels", "fft", "hop")]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_limits(name):
    for value in ("NaN", "Infinity", "-Infinity", "1e999", "-1", "9" * 40, "1e300"):
        with pytest.raises(UsageError, match=rf"--set: recipe: {name.replace('m.', 'm ')} must be a.* from ") as caught:
            RECIPES["conv"].override([f"{name}={value}"])
        assert len(str(caught.value)) < 200


OTHERS = ["9" * 5000, 100_000 * "[", "[1, NaN]", "{}", "null", "true", '"\\ud800"']
FITTING = {"jit": "true", "options": "{}", "epochs": "{}", "augment": "{}", "spectrogram": "{}"}


@pytest.mark.parametrize("name", ["batch", "seconds", "augment.gain", "augment", "spectrogram", "options", "epochs", "jit"])
def test_values_of_other_kinds(name):
    for value in OTHERS:
        if value != FITTING.get(name):
            with pytest.raises(UsageError, match=name) as caught:
                RECIPES["conv"].override([f"{name}={value}"])
            assert len(str(caught.value)) < 200


@pytest.mark.parametrize("change", [{"colour": "red"}, {"augment": {"colour": 1}}, {"spectrogram": {"colour": 1}}])
def test_unknown_recipe_keys(change):
    with pytest.raises(KerasepError, match="unknown key 'colour': choose from "):
        Recipe.from_json(RECIPES["conv"].to_json() | change)
