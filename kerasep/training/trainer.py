"""Training a network: Keras `fit`, validated on whole songs, the best weights kept, and never lost.

A run is a folder:

    run.json             recipe, arguments, versions, seed; losses and time of every epoch
    best.weights.h5      the network's weights after the epoch that explained most of the validation songs
    checkpoints/         the whole state after the last two epochs, to go on from
    tensorboard/         the same numbers for TensorBoard, if asked for
"""

import math
import os
import platform
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasep
from kerasep.datasets.musdb import Song, songs
from kerasep.errors import KerasepError, first_line
from kerasep.files import replacing, write_json
from kerasep.machine import commit, peak_megabytes
from kerasep.models import build, receptive_field_of
from kerasep.models.weights import load_weights
from kerasep.training import checkpoint, engine
from kerasep.training.data import Mixer
from kerasep.training.learner import Learner, Transform
from kerasep.training.losses import LOSSES
from kerasep.training.optimizers import optimizer, schedule
from kerasep.training.recipe import RECORD, WEIGHTS, Recipe, load_record
from kerasep.training.validation import energy_explained, set_statistics

CHECKPOINTS = "checkpoints"
TRIED = 10  # steps of a dry run


def train(
    recipe: Recipe,
    targets: tuple[str, ...],
    roots: list[Path],
    output: Path,
    seed: int = 0,
    resume: bool = False,
    devices: int | None = None,
    tensorboard: bool = False,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train `recipe` for one target or several together, and write a run folder.

    Args:
        roots: MUSDB folders; training songs come from all of them, validation songs from those that have any.
        output: the run folder, made if missing; it must not hold a run already, unless that is to be resumed.
        seed: of all random choices.
        resume: go on after the last epoch that `output` holds, or start if it holds none. On a CPU the losses are bit for bit
            those of an uninterrupted run.
        devices: GPUs that share each batch, all there are by default.
        tensorboard: write for TensorBoard too (on TensorFlow).
        start: a run, trained or imported, whose weights to start from; of the same network and targets.

    Returns:
        The record.

    Raises:
        KerasepError: the data cannot be used, `output` holds another run, or the loss is no longer a number.
    """
    if not resume and ((output / RECORD).exists() or (output / CHECKPOINTS).exists()):
        raise KerasepError(f"{output}: holds a run already: add --resume to go on with it, or name another folder")
    asked = {"recipe": recipe.to_json(), "targets": list(targets), "seed": seed}
    if (output / RECORD).exists() and _same(load_record(output), asked, output)["finished"]:
        return load_record(output)
    data = _open(roots)
    learner, mixer, epochs = prepare(recipe, targets, data["train"], seed, engine.devices() if devices is None else devices)
    earlier = checkpoint.restore(output / CHECKPOINTS, learner)
    record = _same(earlier, asked, output) if earlier else _record(asked, data, learner)
    if start and not earlier:
        _start(learner, asked, start)
        record["start"] = start.name
    done = len(record["epochs"])
    if record["finished"]:  # its last epoch was kept, the record not
        write_json(output / RECORD, record)
        return record
    output.mkdir(parents=True, exist_ok=True)
    watching = schedule(recipe)
    callbacks = [Guard(output), Validate(learner, data["validation"], recipe, record, output), *watching]
    if tensorboard:
        callbacks.append(_tensorboard(output))
    callbacks += [Replay(record, watching), Keep(output, record, mixer)]
    batches = engine.batches(mixer, done * recipe.steps, epochs * recipe.steps)
    with _explained(mixer):
        learner.fit(batches, initial_epoch=done, epochs=epochs, steps_per_epoch=recipe.steps, callbacks=callbacks, **engine.FIT)
    return record


def dry_run(recipe: Recipe, targets: tuple[str, ...], roots: list[Path], seed: int = 0, devices: int | None = None) -> str:
    """What a run would be like, in words, after ten steps of it. Nothing is written."""
    data = _open(roots)
    learner, mixer, epochs = prepare(recipe, targets, data["train"], seed, engine.devices() if devices is None else devices)
    clock = Clock()
    with _explained(mixer):
        learner.fit(
            engine.batches(mixer, 0, TRIED + 1), epochs=1, steps_per_epoch=TRIED + 1, callbacks=[clock], verbose=0, **engine.FIT
        )
    step = float(np.median(clock.steps[1:]))  # the first is compiling
    learner.network.summary(expand_nested=True)
    hours = epochs * recipe.steps * step / 3600
    return "\n".join(
        (
            f"songs: {len(data['train'])} to train on, {len(data['validation'])} to validate on",
            f"an epoch: {recipe.steps * recipe.batch} examples of {recipe.seconds:g} s, {recipe.steps} steps of {recipe.batch}",
            f"parameters: {learner.network.count_params():,}",
            f"memory: {peak_megabytes():.0f} MB at most so far, on the host",
            f"time: {step:.3f} s a step (the median of {TRIED}; compiling and the first step {clock.steps[0]:.0f} s), "
            f"{recipe.steps * step / 60:.1f} min an epoch, {hours:.1f} h for {epochs} epochs, without validation",
        )
    )


def load_run(run: Path) -> tuple[dict[str, Any], keras.Model]:
    """A run's record and its network, in float32, with the best weights so far.

    Raises:
        KerasepError: the folder holds no run, or its weights do not fit.
    """
    record = load_record(run)
    recipe = Recipe.from_json(record["recipe"])
    if not (run / WEIGHTS).exists():
        raise KerasepError(f"{run}: holds no trained weights ({WEIGHTS} is missing): train one first")
    try:
        network = build(recipe.network, recipe.spectrogram, recipe.options, tuple(record["targets"]))
        load_weights(network, run / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = first_line(error)
        raise KerasepError(f"{run}: its weights are damaged or of another network ({reason}): train it again") from error
    return record, network


class Guard(keras.callbacks.Callback):
    """Ends the run as soon as the loss is no number: what was kept before stays."""

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.output = output
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            place = f"in step {batch + 1} of epoch {self.epoch + 1}"
            raise KerasepError(
                f"{self.output}: the loss became {loss} {place}: earlier epochs are kept; lower learning_rate or set clip"
            )


class Validate(keras.callbacks.Callback):
    """After each epoch: the energy explained on whole songs, the record, the best weights."""

    def __init__(self, learner: Learner, validation: list[Song], recipe: Recipe, record: dict[str, Any], output: Path) -> None:
        super().__init__()
        self.forward = engine.forward(learner.network, recipe.jit)
        self.average = keras.callbacks.SwapEMAWeights() if recipe.ema else None
        self.validation = validation
        self.recipe = recipe
        self.record = record
        self.output = output
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {} if logs is None else logs
        trained = time.monotonic() - self.began
        with self._averaged():
            explained = energy_explained(self.forward, self.validation, tuple(self.record["targets"]), self.recipe)
            mean = float(np.mean(list(explained.values())))
            if mean > self.record["best"]["validation_db"]:
                self.record["best"] = {"epoch": epoch + 1, "validation_db": mean, "targets": explained}
                self._save()
        entry = {name: float(value) for name, value in logs.items()} | {
            "validation_db": mean,
            "validation": explained,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(trained, 1),
            "validation_seconds": round(time.monotonic() - self.began - trained, 1),
        }
        self.record["epochs"].append(entry)
        logs["validation_db"] = mean  # for the callbacks that watch it and the progress bar
        logs["best_db"] = self.record["best"]["validation_db"]

    def _save(self) -> None:
        # Keras wants the name to end so, hence a name of its own beside the one that counts.
        with replacing(self.output / WEIGHTS) as partial:
            self.model.network.save_weights(partial)

    @contextmanager
    def _averaged(self):
        """With the moving averages in the place of the weights, if the recipe has them."""
        if self.average:
            self.average.set_model(self.model)
            self.average.on_test_begin()
        yield
        if self.average:
            self.average.on_test_end()


class Replay(keras.callbacks.Callback):
    """Shows the callbacks that watch validation the epochs of a resumed run, so that they count on from there."""

    def __init__(self, record: dict[str, Any], watching: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.epochs = list(record["epochs"])
        self.watching = watching

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.epochs or not self.watching:
            return
        rate = float(self.model.optimizer.learning_rate)
        for epoch, entry in enumerate(self.epochs):
            for callback in self.watching:
                callback.on_epoch_end(epoch, {"validation_db": entry["validation_db"]})
        if rate != float(self.model.optimizer.learning_rate):
            self.model.optimizer.learning_rate = rate  # as the checkpoint has it: it was lowered already


class Keep(keras.callbacks.Callback):
    """After each epoch, when all else is done: the state, then the record."""

    def __init__(self, output: Path, record: dict[str, Any], mixer: Mixer) -> None:
        super().__init__()
        self.output = output
        self.record = record
        self.mixer = mixer

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.record["finished"] = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self.record["unreadable_excerpts"] = self.mixer.broken
        checkpoint.save(self.output / CHECKPOINTS, self.model, self.record)
        write_json(self.output / RECORD, self.record)


class Clock(keras.callbacks.Callback):
    """Seconds from the end of one step to the end of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.last = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        self.steps.append(now - self.last)
        self.last = now


def _open(roots: list[Path]) -> dict[str, list[Song]]:
    data = {subset: [s for root in roots for s in songs(root, subset, progress=True)] for subset in ("train", "validation")}
    if not data["validation"]:
        raise KerasepError(f"{', '.join(map(str, roots))}: none of MUSDB's validation songs is there to choose by")
    return data


def prepare(
    recipe: Recipe, targets: tuple[str, ...], training: list[Song], seed: int, devices: int
) -> tuple[Learner, Mixer, int]:
    """A compiled learner with its variables made, its data, and how many epochs it is to be trained."""
    if unknown := [target for target in targets if target not in recipe.epochs]:
        raise KerasepError(f"recipe {recipe.name}: no epochs for {unknown[0]}: add --set epochs.{unknown[0]}=N")
    if devices > 1 and recipe.batch % devices:
        raise KerasepError(f"batch {recipe.batch} cannot be shared by {devices} devices: choose a multiple")
    keras.utils.set_random_seed(seed)
    epochs = max(recipe.epochs[target] for target in targets)
    mixer = Mixer(training, recipe, seed, *engine.host())
    with engine.shared(devices):
        try:
            _fits(recipe)
            network = _network(recipe, targets)
            loss = LOSSES[recipe.loss](targets, **recipe.loss_options)
        except (TypeError, ValueError) as error:
            raise KerasepError(f"recipe {recipe.name}: {error}") from error
        learner = Learner(network, Transform(recipe.spectrogram, targets, recipe.augment.tilt > 0, loss.in_phase), loss)
        learner.compile(optimizer(recipe, epochs), loss=loss, jit_compile=recipe.jit and engine.can_compile(devices))
        learner({name: np.zeros((1, *shape[1:]), kind) for name, (shape, kind) in mixer.shapes.items()})  # makes its variables
        learner.optimizer.build(learner.trainable_variables)
    set_statistics(network, training, recipe)
    return learner, mixer, epochs


def _fits(recipe: Recipe) -> None:
    """Raise KerasepError unless an example has as many frames as the network takes."""
    needed, spectrogram = receptive_field_of(recipe.network, recipe.options), recipe.spectrogram
    frames = 1 + (recipe.samples - spectrogram.fft) // spectrogram.hop
    if needed.window and frames != needed.window:
        seconds = ((needed.window - 1) * spectrogram.hop + spectrogram.fft) / spectrogram.rate
        raise KerasepError(
            f"recipe {recipe.name}: {recipe.seconds:g} s are {frames} frames, and {recipe.network} takes {needed.window}: "
            f"add --set seconds={seconds:.6f}"
        )
    if frames < needed.minimum:
        raise KerasepError(
            f"recipe {recipe.name}: {recipe.seconds:g} s are too short for {recipe.network}: set seconds to more"
        )


def _network(recipe: Recipe, targets: tuple[str, ...]) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        return build(recipe.network, recipe.spectrogram, recipe.options, targets)
    finally:
        keras.config.set_dtype_policy(before)


def _start(learner: Learner, asked: dict[str, Any], run: Path) -> None:
    """Give a learner another run's weights, the statistics of its data with them."""
    record, network = load_run(run)
    for part in ("network", "options", "spectrogram"):
        if record["recipe"][part] != asked["recipe"][part]:
            raise KerasepError(f"{run}: has another {part} than recipe {asked['recipe']['name']}: change it with --set")
    if record["targets"] != asked["targets"]:
        raise KerasepError(f"{run}: separates {', '.join(record['targets'])}: start it with these targets")
    learner.network.set_weights(network.get_weights())


def _same(record: dict[str, Any], asked: dict[str, Any], output: Path) -> dict[str, Any]:
    """The record, if it is of the run that is asked for."""
    for name, value in asked.items():
        if record[name] != value:
            raise KerasepError(f"{output}: holds a run with another {name}: resume it with what it was started with")
    return record


def _record(asked: dict[str, Any], data: dict[str, list[Song]], learner: Learner) -> dict[str, Any]:
    backend = keras.backend.backend()
    return {
        "kerasep": kerasep.__version__,
        "commit": commit(Path(kerasep.__file__).parents[1]),
        "arguments": sys.argv[1:],
        **asked,
        "songs": {subset: [song.name for song in group] for subset, group in data.items()},
        "parameters": learner.network.count_params(),
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("keras", backend, "numpy")},
        },
        "machine": {"cores": os.cpu_count(), "devices": engine.names()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": False,
        "best": {"epoch": 0, "validation_db": -math.inf},
        "epochs": [],
    }


def _tensorboard(output: Path) -> keras.callbacks.Callback:
    if keras.backend.backend() != "tensorflow":
        raise KerasepError("--tensorboard: is written by TensorFlow alone: leave it out, run.json holds the same numbers")
    return keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False)


@contextmanager
def _explained(mixer: Mixer):
    """Errors of the data as the data raised them, not as they come through the backend."""
    try:
        yield
    except Exception as error:
        raise mixer.error or error from None
