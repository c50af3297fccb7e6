"""Runs: what they record, how they stop and resume, and what goes wrong with them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import SHORT, SMALL, write_song

from kerasep import files
from kerasep.cli import main
from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError
from kerasep.training import callbacks, checkpoint, engine, trainer
from kerasep.training.data import Mixer
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.runs import check_same, load_run
from kerasep.training.trainer import prepare, train
from kerasep.training.validation import OnHost, validation_snr

PAIR = ("vocals", "bass")


def small(*settings: str, recipe: str = "conv-norm") -> Recipe:
    return RECIPES[recipe].override([*SMALL, *SHORT, *(f"epochs.{source}=2" for source in SOURCES), *settings])


def test_a_run_is_on_record(runs, hq_root):
    record, network = load_run(runs["drums"])
    assert [len(epoch) for epoch in record["epochs"]] == [6, 6]
    assert record["best"]["validation_db"] == max(epoch["validation_db"] for epoch in record["epochs"])
    assert record["songs"] == {"train": ["One", "Two"], "validation": ["ANiMAL - Rockshow"]}
    assert record["finished"] and record["targets"] == ["drums"] and record["versions"]["tensorflow"]
    recipe = Recipe.from_json(record["recipe"])
    snr = validation_snr(OnHost(engine.forward(network, False), ("drums",), recipe), songs(hq_root, "validation"), recipe)
    assert snr["drums"] == pytest.approx(record["best"]["validation_db"], abs=1e-4)  # the weights are that epoch's


def losses(record) -> list[float]:
    return [epoch["loss"] for epoch in record["epochs"]]


def stop_after(epochs: int, *arguments) -> None:
    """Train, and stop as Ctrl-C does once so many epochs are on disk."""

    class Stop(callbacks.Checkpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch + 1 == epochs:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "Checkpoint", Stop)
        train(*arguments)


def test_the_same_seed_gives_the_same_losses_stopped_or_not(runs, hq_root, tmp_path):
    record, _ = load_run(runs["vocals"])
    recipe = Recipe.from_json(record["recipe"])
    stop_after(1, recipe, ("vocals",), [hq_root], tmp_path / "again")
    again = train(recipe, ("vocals",), [hq_root], tmp_path / "again", resume=True)
    assert losses(again) == losses(record) and again["best"] == record["best"]


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


@pytest.fixture(scope="module")
def stopped(joint, hq_root, tmp_path_factory) -> Path:
    """The same run, stopped after its second epoch."""

    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_after(2, joint[0], PAIR, [hq_root], folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, "cut", "flipped"])
def test_a_stopped_run_ends_as_if_it_had_not_been(joint, stopped, hq_root, tmp_path, damage, capsys):
    recipe, _, expected = joint
    shutil.copytree(stopped, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "epoch-00002.npz"
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    resumed = train(recipe, PAIR, [hq_root], tmp_path / "run", resume=True)
    assert capsys.readouterr().err.count("going on from the one before") == (damage is not None)
    assert losses(resumed) == losses(expected)
    for name in ("validation_db", "learning_rate"):
        assert [epoch[name] for epoch in resumed["epochs"]] == [epoch[name] for epoch in expected["epochs"]], name
    assert resumed["best"] == expected["best"]


def test_averages_are_validated_and_the_weights_trained_on(joint, hq_root):
    """The best weights are moving averages; the checkpoint holds both."""
    recipe, output, record = joint
    _, network = load_run(output)
    found = validation_snr(OnHost(engine.forward(network, True), PAIR, recipe), songs(hq_root, "validation"), recipe)
    for source in PAIR:  # the run computed in half precision
        assert found[source] == pytest.approx(record["best"]["targets"][source], abs=0.05)


def test_a_validation_that_fails_leaves_the_weights_as_they_were(hq_root, tmp_path):
    found = {subset: songs(hq_root, subset) for subset in ("train", "validation")}
    recipe = small("ema=0.9")
    learner, _, _ = prepare(recipe, PAIR, found["train"], seed=0, devices=0)
    before = learner.network.get_weights()  # which differ from their averages as long as nothing was averaged

    def same() -> bool:
        return all(np.array_equal(now, then) for now, then in zip(learner.network.get_weights(), before, strict=True))

    record = {"targets": PAIR, "best": {"validation_db": -math.inf}, "epochs": []}
    validate = callbacks.Validate(learner, found["validation"], recipe, record, tmp_path)
    validate.set_model(learner)

    def failing(song, frames):
        assert not same()
        raise OSError("the song is gone")

    validate.measure.errors = failing
    with pytest.raises(OSError, match="the song is gone"):
        validate.on_epoch_end(0)
    assert same()


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_stops_early_is_resumed_under_a_schedule(hq_root, tmp_path, monkeypatch):
    recipe = small("early_stop=5", "schedule=cosine")
    expected = train(recipe, ("bass",), [hq_root], tmp_path / "expected")

    class Stop(callbacks.Checkpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Checkpoint", Stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, ("bass",), [hq_root], tmp_path / "run")
    assert losses(train(recipe, ("bass",), [hq_root], tmp_path / "run", resume=True)) == losses(expected)


@pytest.mark.slow
def test_a_full_disk_at_the_best_weights(hq_root, tmp_path, monkeypatch):
    def full(self, path, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", full)
    with pytest.raises(KerasepError, match=r"best\.weights\.h5: cannot be written"):
        train(small(), ("bass",), [hq_root], tmp_path / "run")
    assert not list((tmp_path / "run").glob("*weights*"))


@pytest.mark.slow
def test_validation_every_third_epoch(hq_root, tmp_path):
    """And after the first and the last; early stopping counts epochs all the same. A run of before goes on."""
    settings = ["options={}", "options.hidden=8", "epochs.bass=8", "validate_every=3"]
    record = train(small(*settings), ("bass",), [hq_root], tmp_path / "run")
    assert [number for number, epoch in enumerate(record["epochs"], 1) if "validation" in epoch] == [1, 3, 6, 8]
    levels = [epoch["validation_db"] for epoch in record["epochs"]]
    assert levels[0] == levels[1] != levels[2] == levels[3] == levels[4] != levels[5] == levels[6] != levels[7]
    record = train(small(*settings, "early_stop=3", "learning_rate=1e-30"), ("bass",), [hq_root], tmp_path / "stopped")
    assert len(record["epochs"]) == 4
    del record["recipe"]["validate_every"]
    check_same(record, {"recipe": small(*settings[:-1], "early_stop=3", "learning_rate=1e-30").to_json()}, tmp_path)


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
        (["options.padding=3"], "network conv: "),
        (["options.hidden=[1]"], "recipe conv-norm: "),
        (["options.colour=1"], "unexpected keyword argument 'colour'"),
        (["network=konv"], "unknown network 'konv': choose from bands, conv"),
        (["loss_options.gamma=1"], "unexpected keyword argument 'gamma'"),
        (["early_stop=3", "validate_every=5"], "validates every 5 epochs, and early_stop waits 3 .*set validate_every to 3 or"),
        (["schedule=plateau", "patience=2", "validate_every=3"], "and patience waits 2 for"),
    ],
)
def test_recipes_that_cannot_be_built(hq_root, tmp_path, settings, match):
    with pytest.raises(KerasepError, match=match):
        train(small(*settings), ("bass",), [hq_root], tmp_path / "run")


@pytest.mark.slow
def test_tensorboard(hq_root, tmp_path):
    train(small(), ("bass",), [hq_root], tmp_path / "run", tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out.*"))


def test_replacing_keeps_every_suffix(tmp_path):
    with files.replacing(tmp_path / "best.weights.h5") as partial:
        assert partial.name.endswith(".weights.h5")
        partial.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]
