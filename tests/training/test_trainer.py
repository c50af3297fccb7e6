"""Losses, optimizers, runs, and what goes wrong with them. Examples and recipes have files of their own."""

import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import SHORT, SMALL, write_song
from keras import ops

from kerasep import files
from kerasep.cli import main
from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError
from kerasep.signal.stft import Spectrogram, stft
from kerasep.training import checkpoint, engine, trainer
from kerasep.training.data import Mixer
from kerasep.training.losses import DeepConvSepError, LevelError, MagnitudeError, SumsError
from kerasep.training.optimizers import L2Adam, Muon, optimizer, schedule
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.trainer import load_run, train
from kerasep.training.validation import energy_explained

PAIR = ("vocals", "bass")
SPECTROGRAM = Spectrogram(fft=256, hop=64)
RECIPE = Recipe("test", "conv", spectrogram=SPECTROGRAM, batch=4, seconds=0.5)


def small(*settings: str, recipe: str = "conv-norm") -> Recipe:
    return RECIPES[recipe].override([*SMALL, *SHORT, *(f"epochs.{source}=2" for source in SOURCES), *settings])


def test_losses_by_hand():
    random = np.random.default_rng(0)
    references, estimates = random.random((2, 3, 4, 5, 6, 2), np.float32)
    v, d, b, o = (estimates[:, index].astype(np.float64) for index in range(4))
    rv, rd, rb, ro = (references[:, index].astype(np.float64) for index in range(4))

    def sse(a, b):
        return np.sum((a - b) ** 2, axis=(1, 2, 3))

    targets = ("vocals", "drums", "bass", "other")
    mean = (sse(v, rv) + sse(d, rd) + sse(b, rb) + sse(o, ro)) / 60
    assert np.allclose(MagnitudeError(targets)(references, estimates), mean.mean(), rtol=1e-5)
    alpha = sse(v, rd) + sse(v, rb) + sse(d, rv) + sse(d, rb) + sse(b, rv) + sse(b, rd)
    beta, voice = sse(b, ro) + sse(d, ro), sse(v, ro)
    expected = np.abs(sse(v, rv) + sse(b, rb) + sse(d, rd) - 0.1 * alpha - 0.2 * beta - 0.3 * voice)
    loss = DeepConvSepError(targets, alpha=0.1, beta=0.2, beta_vocals=0.3)
    assert np.allclose(loss(references, estimates), expected.mean(), rtol=1e-5)
    parts = {name: np.asarray(part) for name, part in loss.parts(references, estimates).items()}
    assert tuple(parts) == loss.names
    assert np.allclose(parts["alpha"], alpha, rtol=1e-5) and np.allclose(parts["beta"], beta, rtol=1e-5)
    sums = SumsError(("vocals", "drums", "bass"))
    three = [sse(v, rv), sse(d, rd), sse(b, rb), sse(v + d, rv + rd), sse(v + b, rv + rb), sse(d + b, rd + rb)]
    assert np.allclose(sums(references[:, :3], estimates[:, :3]), np.mean(three) / 60, rtol=1e-5)


def test_level_of_the_error_below_the_mixture():
    """Stems that are alone in a stretch each: a tenth of one is 20 dB below the mixture there, all of it as loud."""
    references = np.zeros((1, 4, 91, 3, 2), np.float32)
    references[:, 1, :43], references[:, 2, 43:86], references[:, 3, 86:] = 20.0, 5.0, 90.0  # the rest is no whole stretch
    estimates = references * np.array([1, 0.9, 0, 0], np.float32)[:, None, None, None]
    estimates[:, 0, :43] = 10.0
    found = LevelError(("vocals", "drums", "bass", "other"), floor=1e-3).parts(references, estimates)
    expected = {"vocals": (0.25, 0), "drums": (0.01, 0), "bass": (0, 1), "other": (0, 0)}  # errors, of the mixture's energy
    for name, shares in expected.items():
        assert np.allclose(found[name], np.mean(10 * np.log10(np.array(shares) + 1e-3)), atol=1e-3)


def test_losses_that_need_all_four_targets():
    with pytest.raises(KerasepError, match="bass, other missing"):
        DeepConvSepError(("vocals", "drums"))
    with pytest.raises(KerasepError, match="bass, other missing"):
        LevelError(("vocals", "drums"))


def test_l2_adam_is_adam_with_l2_in_the_gradient():
    """Five steps written out (PyTorch's Adam with weight_decay; D. Kingma and J. Ba, ICLR 2015, algorithm 1)."""
    weight = start = np.array([1.0, -2.0, 3.0])
    variable = keras.Variable(start, dtype="float32")
    adam = L2Adam(0.1, l2=0.5)
    m = v = np.zeros(3)
    for step in range(1, 6):
        gradient = np.array([0.1, 0.2, -0.3]) * step
        adam.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        g = gradient + 0.5 * weight
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        weight = weight - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    assert np.allclose(np.asarray(variable), weight, atol=1e-5)


def test_clipping_comes_before_decay():
    variable = keras.Variable([3.0], dtype="float32")
    adam = L2Adam(0.1, l2=0.5, global_clipnorm=1.0)
    adam.apply([keras.ops.convert_to_tensor([1000.0])], [variable])
    assert float(adam._momentums[0][0]) == pytest.approx(0.1 * (1.0 + 0.5 * 3.0))


def test_muon_takes_a_stack_matrix_by_matrix():
    random = np.random.default_rng(0)
    stack, gradients = (random.normal(size=(3, 4, 5)).astype(np.float32) for _ in range(2))
    together = keras.Variable(stack)
    alone = [keras.Variable(matrix) for matrix in stack]
    ours, theirs = Muon(0.1, weight_decay=0.1), keras.optimizers.Muon(0.1, weight_decay=0.1)
    ours.apply([ops.convert_to_tensor(gradients)], [together])
    theirs.apply([ops.convert_to_tensor(gradient) for gradient in gradients], alone)
    assert np.allclose(together, np.stack([np.asarray(matrix) for matrix in alone]), atol=1e-6)


def test_optimizers_and_schedules_by_name():
    cosine = optimizer(small("schedule=cosine", "optimizer=adamw", "clip=1"), epochs=5)
    assert isinstance(cosine, keras.optimizers.AdamW) and cosine.global_clipnorm == 1
    cosine.build([keras.Variable([1.0])])
    for step, expected in ((0, 1e-3), (5, 5e-4), (10, 0.0)):
        cosine.iterations.assign(step)
        assert float(cosine.learning_rate) == pytest.approx(expected, abs=1e-9)
    muon = optimizer(small("optimizer=muon", "weight_decay=0.1"), epochs=5)
    assert isinstance(muon, keras.optimizers.Muon) and muon.weight_decay == muon.adam_weight_decay == 0.1
    adadelta = optimizer(small("optimizer=adadelta", "schedule=constant", "learning_rate=1", "ema=0.99"), epochs=5)
    assert (adadelta.rho, adadelta.use_ema, float(adadelta.learning_rate)) == (0.95, True, 1)
    assert isinstance(optimizer(small("precision=mixed_float16"), 1), keras.optimizers.LossScaleOptimizer)
    plateau, stop = schedule(small("schedule=plateau", "early_stop=7"))
    assert (plateau.factor, plateau.patience, plateau.cooldown, stop.patience) == (0.3, 80, 10, 7)
    assert schedule(small()) == []


def test_a_run_is_on_record(runs, hq_root):
    record, network = load_run(runs["drums"])
    assert [len(epoch) for epoch in record["epochs"]] == [6, 6]
    assert record["best"]["validation_db"] == max(epoch["validation_db"] for epoch in record["epochs"])
    assert record["songs"] == {"train": ["One", "Two"], "validation": ["ANiMAL - Rockshow"]}
    assert record["finished"] and record["targets"] == ["drums"] and record["versions"]["tensorflow"]
    recipe = Recipe.from_json(record["recipe"])
    explained = energy_explained(engine.forward(network, False), songs(hq_root, "validation"), ("drums",), recipe)
    assert explained["drums"] == pytest.approx(record["best"]["validation_db"], abs=1e-4)  # the weights are that epoch's


def test_energy_explained_by_hand(runs, hq_root, monkeypatch):
    record, network = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    (song,) = songs(hq_root, "validation")
    mixture, reference = (np.abs(stft(song.read(stem), recipe.spectrogram)) for stem in ("mixture", "vocals"))
    error = reference - np.asarray(network(mixture[None], training=False)["vocals"])[0]
    expected = 10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / np.sum(error.astype(np.float64) ** 2))
    for jit in (False, True):
        explained = energy_explained(engine.forward(network, jit), [song], ("vocals",), recipe)
        assert explained["vocals"] == pytest.approx(expected, abs=1e-4)


def test_energy_explained_of_spectra_song_by_song(hq_root):
    """A mask of a half: a loss about what is in phase with the mixture is validated as stems are scored, each song alike."""
    recipe = replace(RECIPES["bands"], spectrogram=SPECTROGRAM)
    several = [*songs(hq_root, "validation"), *songs(hq_root, "train")]
    assert len(several) == 3
    found = energy_explained(lambda mixture: {"drums": mixture / 2}, several, ("drums",), recipe)
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


def losses(record) -> list[float]:
    return [epoch["loss"] for epoch in record["epochs"]]


def test_the_same_seed_gives_the_same_losses(runs, hq_root, tmp_path):
    record, _ = load_run(runs["vocals"])
    again = train(Recipe.from_json(record["recipe"]), ("vocals",), [hq_root], tmp_path / "again")
    assert losses(again) == losses(record)


def test_a_run_is_not_overwritten(runs, hq_root):
    with pytest.raises(KerasepError, match="holds a run already: add --resume"):
        train(RECIPES["conv-norm"], ("vocals",), [hq_root], runs["vocals"])


def test_only_the_same_run_is_resumed(runs, hq_root):
    record, _ = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    assert train(recipe, ("vocals",), [hq_root], runs["vocals"], resume=True) == record  # it is finished
    with pytest.raises(KerasepError, match="another seed"):
        train(recipe, ("vocals",), [hq_root], runs["vocals"], seed=1, resume=True)
    with pytest.raises(KerasepError, match="another recipe"):
        train(replace(recipe, batch=3), ("vocals",), [hq_root], runs["vocals"], resume=True)


@pytest.fixture(scope="module")
def joint(tmp_path_factory, hq_root):
    """Everything that has a state, in one run of four epochs: two targets, plateau, moving average, dropout, loss scaling."""
    settings = [f"epochs.{source}=4" for source in PAIR]
    recipe = small(*settings, "schedule=plateau", "patience=1", "cooldown=0", "ema=0.9", "loss=sums", "precision=mixed_float16")
    output = tmp_path_factory.mktemp("joint") / "run"
    return recipe, output, train(recipe, PAIR, [hq_root], output)


def test_targets_trained_together(joint):
    _, output, record = joint
    assert set(record["epochs"][0]["validation"]) == set(PAIR)
    assert {"loss", "sums", *PAIR} < set(record["epochs"][0])
    assert record["epochs"][0]["loss"] == pytest.approx(record["epochs"][0]["sums"], rel=1e-5)
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["epoch-00003.npz", "epoch-00004.npz"]


@pytest.mark.parametrize("damage", [None, "cut", "flipped"])
def test_a_stopped_run_ends_as_if_it_had_not_been(joint, hq_root, tmp_path, monkeypatch, damage, recwarn):
    recipe, _, expected = joint
    after = 2

    class Stop(trainer.Keep):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch + 1 == after:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Keep", Stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, PAIR, [hq_root], tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "epoch-00002.npz"
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    resumed = train(recipe, PAIR, [hq_root], tmp_path / "run", resume=True)
    warned = [str(warning.message) for warning in recwarn if "going on from the one before" in str(warning.message)]
    assert len(warned) == (damage is not None)
    assert losses(resumed) == losses(expected)
    for name in ("validation_db", "learning_rate"):
        assert [epoch[name] for epoch in resumed["epochs"]] == [epoch[name] for epoch in expected["epochs"]], name
    assert resumed["best"] == expected["best"]


def test_averages_are_validated_and_the_weights_trained_on(joint, hq_root):
    """The best weights are moving averages; the checkpoint holds both."""
    recipe, output, record = joint
    _, network = load_run(output)
    found = energy_explained(engine.forward(network, True), songs(hq_root, "validation"), PAIR, recipe)
    for source in PAIR:  # the run computed in half precision
        assert found[source] == pytest.approx(record["best"]["targets"][source], abs=0.05)


def test_no_validation_songs(tmp_path, song):
    write_song(tmp_path / "train" / "One", song)
    with pytest.raises(KerasepError, match="none of MUSDB's validation songs"):
        train(RECIPES["conv"], ("vocals",), [tmp_path], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_many_damaged_excerpts_end_the_run(damaged_root, tmp_path, capsys, monkeypatch):
    root, found, bad = damaged_root
    monkeypatch.setattr(trainer, "songs", lambda root, subset, progress: found if subset == "train" else songs(root, subset))
    overrides = [f"--set={setting}" for setting in (*SMALL, *SHORT, "epochs.bass=1")]
    assert main(["train", "--target", "bass", "--root", str(root), "-o", str(tmp_path / "run"), *overrides]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"kerasep: {bad}: cannot be read") and "more than 1 % of an epoch's" in error


def test_a_loss_that_is_no_number(hq_root, tmp_path, monkeypatch):
    """The run ends in one line; the epoch before it is there to go on from."""
    output = tmp_path / "run"
    honest = Mixer.__call__

    def poisoned(self, number):
        batch = honest(self, number)
        batch["gains"][:] = math.nan if number == 3 else batch["gains"]
        return batch

    monkeypatch.setattr(Mixer, "__call__", poisoned)
    with pytest.raises(KerasepError, match="loss became nan in step 2 of epoch 2: earlier epochs are kept"):
        train(small(), ("bass",), [hq_root], output)
    record = json.loads((output / "run.json").read_text())
    assert len(record["epochs"]) == 1 and not record["finished"]
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["epoch-00001.npz"]
    load_run(output)


def test_a_full_disk_at_a_checkpoint(hq_root, tmp_path, monkeypatch):
    output = tmp_path / "run"
    honest = np.savez

    def full(file, **arrays):
        if "epoch-00002" in str(file):
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        honest(file, **arrays)

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.raises(KerasepError, match=r"epoch-00002.npz: cannot be written \(No space left on device\)"):
        train(small(), ("bass",), [hq_root], output)
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["epoch-00001.npz"]
    monkeypatch.setattr(checkpoint.np, "savez", honest)
    assert len(train(small(), ("bass",), [hq_root], output, resume=True)["epochs"]) == 2


def test_a_run_that_stops_early_is_resumed_under_a_schedule(hq_root, tmp_path, monkeypatch):
    recipe = small("early_stop=5", "schedule=cosine")
    expected = train(recipe, ("bass",), [hq_root], tmp_path / "expected")

    class Stop(trainer.Keep):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Keep", Stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, ("bass",), [hq_root], tmp_path / "run")
    assert losses(train(recipe, ("bass",), [hq_root], tmp_path / "run", resume=True)) == losses(expected)


def test_the_level_needs_a_stretch():
    stems = np.zeros((1, 4, 5, 3, 2), np.float32)
    with pytest.raises(KerasepError, match="an excerpt has 5 frames, a stretch 6: set seconds to more"):
        LevelError(SOURCES, segment=6)(stems, stems)


def test_a_full_disk_at_the_best_weights(hq_root, tmp_path, monkeypatch):
    def full(self, path, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", full)
    with pytest.raises(KerasepError, match=r"best\.weights\.h5: cannot be written"):
        train(small(), ("bass",), [hq_root], tmp_path / "run")
    assert not list((tmp_path / "run").glob("*weights*"))


def test_early_stop(hq_root, tmp_path):
    """The first epoch is the best of a network that does not learn."""
    settings = ["options={}", "options.hidden=8", "epochs.bass=9", "early_stop=2", "learning_rate=1e-30"]
    record = train(small(*settings), ("bass",), [hq_root], tmp_path / "run")
    assert (len(record["epochs"]), record["finished"], record["best"]["epoch"]) == (3, True, 1)


def test_dry_run(hq_root, tmp_path, capsys):
    overrides = [f"--set={setting}" for setting in (*SMALL, *SHORT, "epochs.bass=2")]
    assert main(["train", "--target", "bass", "--root", str(hq_root), "--dry-run", *overrides]) == 0
    text = capsys.readouterr().out
    for expected in ("2 to train on, 1 to validate on", "4 examples of 0.5 s, 2 steps of 2", "MB at most", "s a step"):
        assert expected in text


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["options.colour=1"], "unexpected keyword argument 'colour'"),
        (["network=konv"], "unknown network 'konv': choose from bands, conv"),
        (["loss_options.gamma=1"], "unexpected keyword argument 'gamma'"),
    ],
)
def test_recipes_that_cannot_be_built(hq_root, tmp_path, settings, match):
    with pytest.raises(KerasepError, match=match):
        train(small(*settings), ("bass",), [hq_root], tmp_path / "run")


def test_tensorboard(hq_root, tmp_path):
    train(small(), ("bass",), [hq_root], tmp_path / "run", tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out.*"))


def test_writing_beside_keeps_every_suffix(tmp_path):
    with files.replacing(tmp_path / "best.weights.h5") as partial:
        assert partial.name.endswith(".weights.h5")
        partial.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]
