"""Examples, the optimizer, the record, and recipes as JSON."""

import json

import keras
import numpy as np
import pytest
from conftest import write_song

from kerasep.dataset import songs
from kerasep.errors import KerasepError, UsageError
from kerasep.spectral import Spectrogram, stft
from kerasep.training.data import Mixer, whole_songs
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.trainer import L2Adam, energy_explained, load_run, train

SMALL = Spectrogram(fft=256, hop=64)


@pytest.fixture
def mixer(hq_root) -> Mixer:
    return Mixer(songs(hq_root, "train"), "drums", SMALL, seconds=0.5, seed=3)


def test_examples_are_reproducible_in_any_order(mixer, hq_root):
    again = Mixer(songs(hq_root, "train"), "drums", SMALL, seconds=0.5, seed=3)
    later, first = again(7), again(0)
    assert np.array_equal(mixer(0)[0], first[0]) and np.array_equal(mixer(7)[1], later[1])
    assert not np.array_equal(first[0], later[0])
    other = Mixer(songs(hq_root, "train"), "drums", SMALL, seconds=0.5, seed=4)
    assert not np.array_equal(other(0)[0], first[0])


def test_an_example_is_made_as_promised(mixer, monkeypatch):
    """A source at a time: known offsets in the file, a gain in the interval, channels swapped half the time."""
    gains, swaps = [], 0
    for number in range(40):
        excerpt = mixer._excerpt("bass", np.random.default_rng(number))
        random = np.random.default_rng(number)
        song = mixer.songs[random.integers(len(mixer.songs))]
        random.uniform()  # the speed, not changed here
        start = random.integers(song.frames - mixer.samples + 1)
        original = song.read("bass", int(start), mixer.samples)
        ratio = np.linalg.norm(excerpt) / np.linalg.norm(original)
        gains.append(ratio)
        swapped = not np.allclose(excerpt, original * ratio, atol=1e-6)
        assert np.allclose(excerpt, (original[:, ::-1] if swapped else original) * ratio, atol=1e-6)
        swaps += swapped
    assert 0.25 <= min(gains) < 0.5 and 1.0 < max(gains) <= 1.25
    # The demo's bass is in the middle: swapping it shows nowhere, so the drums, a little to the right, are counted.
    drums = [mixer._excerpt("drums", np.random.default_rng(n)) for n in range(60)]
    left = sum(np.linalg.norm(d[:, 0]) > np.linalg.norm(d[:, 1]) for d in drums)
    assert 15 < left < 45


def test_speed_moves_pitch_and_keeps_length(tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)[:, None].repeat(2, axis=1)
    write_song(tmp_path / "train" / "Tone", dict.fromkeys(("drums", "bass", "other", "vocals"), tone))
    mixer = Mixer(songs(tmp_path, "train"), "drums", SMALL, seconds=0.5, seed=0, speed=0.12)
    heard = []
    for number in range(30):
        excerpt = mixer._excerpt("drums", np.random.default_rng(number))[:, 0]
        assert len(excerpt) == mixer.samples
        heard.append(np.abs(np.fft.rfft(excerpt * np.hanning(len(excerpt)))).argmax() * 2)
    assert 880 <= min(heard) < 940 and 1060 < max(heard) <= 1120


def test_the_mixture_is_the_sum_of_its_sources(mixer):
    parts = {}
    for target in ("drums", "bass", "other", "vocals"):
        alone = Mixer(mixer.songs, target, SMALL, seconds=0.5, seed=3)
        random = np.random.default_rng((3, 5))
        parts = {source: alone._excerpt(source, random) for source in ("drums", "bass", "other", "vocals")}
        mixture, reference = alone(5)
        assert mixture.shape == reference.shape == alone.shape
        assert np.allclose(reference, np.abs(stft(parts[target], SMALL, centred=False)), atol=1e-5)
    assert np.allclose(mixture, np.abs(stft(sum(parts.values()), SMALL, centred=False)), atol=1e-5)


def test_excerpts_longer_than_a_song(hq_root):
    with pytest.raises(KerasepError, match=r"shorter than the 6.0 s"):
        Mixer(songs(hq_root, "train"), "drums", SMALL, seconds=6.0, seed=0)


def test_songs_of_another_rate(hq_root):
    with pytest.raises(KerasepError, match="has 44100 Hz, the recipe 48000"):
        Mixer(songs(hq_root, "train"), "drums", Spectrogram(rate=48000), seconds=0.5, seed=0)


def test_l2_adam_is_adam_with_l2_in_the_gradient():
    """Five steps written out (PyTorch's Adam with weight_decay; D. Kingma and J. Ba, ICLR 2015, algorithm 1)."""
    weight = start = np.array([1.0, -2.0, 3.0])
    variable = keras.Variable(start, dtype="float32")
    optimizer = L2Adam(0.1, l2=0.5)
    m = v = np.zeros(3)
    for step in range(1, 6):
        gradient = np.array([0.1, 0.2, -0.3]) * step
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        g = gradient + 0.5 * weight
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        weight = weight - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    assert np.allclose(np.asarray(variable), weight, atol=1e-5)


def test_a_run_is_on_record(runs, hq_root):
    record, model = load_run(runs["drums"])
    assert [len(epoch) for epoch in record["epochs"]] == [3, 3]
    assert record["best"]["validation_db"] == max(epoch["validation_db"] for epoch in record["epochs"])
    assert record["songs"] == {"train": ["One", "Two"], "validation": ["ANiMAL - Rockshow"]}
    recipe = Recipe.from_json(record["recipe"])
    explained = energy_explained(model, songs(hq_root, "validation"), "drums", recipe)
    assert explained == pytest.approx(record["best"]["validation_db"], abs=1e-4)  # the weights are those of that epoch


def test_energy_explained_by_hand(runs, hq_root):
    record, model = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    ((mixture, reference),) = whole_songs(songs(hq_root, "validation"), "vocals", recipe.spectrogram)
    error = reference - np.asarray(model(mixture[None], training=False))[0]
    expected = 10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / np.sum(error.astype(np.float64) ** 2))
    assert energy_explained(model, songs(hq_root, "validation"), "vocals", recipe) == pytest.approx(expected, abs=1e-6)


def test_statistics_are_those_of_the_mono_mixtures(runs, hq_root):
    _, model = load_run(runs["vocals"])
    mixtures = [song.read("mixture").mean(axis=1, keepdims=True) for song in songs(hq_root, "train")]
    frames = np.concatenate([np.abs(stft(mixture, SMALL))[:, :, 0] for mixture in mixtures]).astype(np.float64)
    layer = model.get_layer("standardise")
    assert np.allclose(layer.mean, frames.mean(axis=0), rtol=1e-4)
    deviation = np.maximum(frames.std(axis=0), 1e-4 * frames.std(axis=0).max())
    assert np.allclose(layer.scale, 1 / deviation, rtol=1e-4)


def test_the_same_seed_gives_the_same_losses(runs, hq_root, tmp_path):
    record, _ = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    again = train(recipe, "vocals", [hq_root], tmp_path / "again")
    assert [epoch["loss"] for epoch in again["epochs"]] == [epoch["loss"] for epoch in record["epochs"]]


def test_a_run_is_not_overwritten(runs, hq_root):
    with pytest.raises(KerasepError, match="holds a run already"):
        train(RECIPES["conv-norm"], "vocals", [hq_root], runs["vocals"])


def test_no_validation_songs(tmp_path, song):
    write_song(tmp_path / "train" / "One", song)
    with pytest.raises(KerasepError, match="none of MUSDB's validation songs"):
        train(RECIPES["conv"], "vocals", [tmp_path], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_json_both_ways(name):
    recipe = RECIPES[name]
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_thesis_settings():
    recipe = RECIPES["conv"]
    assert (recipe.batch, recipe.seconds, recipe.learning_rate, recipe.weight_decay) == (32, 6.0, 1e-3, 1e-5)
    assert recipe.epochs == {"vocals": 160, "drums": 75, "bass": 100, "other": 160}
    assert recipe.spectrogram == Spectrogram(44100, 2, 4096, 1024, "hann")
    assert recipe.options == {}


def test_overrides():
    recipe = RECIPES["conv"].override(["batch=4", "spectrogram.hop=512", "epochs.bass=3", "options.padding=same"])
    assert (recipe.batch, recipe.spectrogram.hop, recipe.epochs["bass"]) == (4, 512, 3)
    assert recipe.options == {"padding": "same"}


@pytest.mark.parametrize(
    ("setting", "error"),
    [("bach=4", UsageError), ("batch", UsageError), ("epochs.piano=3", UsageError), ("spectrogram.hop=5", KerasepError)],
)
def test_wrong_overrides(setting, error):
    with pytest.raises(error, match=setting.split("=")[0].split(".")[-1]):
        RECIPES["conv"].override([setting])


def test_unknown_recipe_keys():
    with pytest.raises(KerasepError, match="unknown key 'colour': choose from name, network"):
        Recipe.from_json(RECIPES["conv"].to_json() | {"colour": "red"})
