"""Training a network with Keras `fit`: validation on whole songs, the best weights kept, checkpoints to resume from.

A run is a folder:

    run.json             recipe, arguments, versions, seed; losses and time of every epoch
    best.weights.h5      the network's weights after the epoch with the best validation SNR
    checkpoints/         the whole state after the last two epochs, to resume from
    tensorboard/         the same numbers for TensorBoard, if asked for
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.datasets.musdb import Song, songs
from kerasep.errors import KerasepError, say
from kerasep.files import check_writable, write_json
from kerasep.machine import peak_megabytes
from kerasep.models import build, receptive_field_of
from kerasep.models.lstm import on_gpu
from kerasep.training import checkpoint, engine
from kerasep.training.callbacks import Checkpoint, Clock, Guard, Replay, Validate
from kerasep.training.callbacks import tensorboard as tensorboard_callback
from kerasep.training.choices import Schedule
from kerasep.training.data import Mixer
from kerasep.training.learner import Learner, Transform
from kerasep.training.losses import LOSSES
from kerasep.training.optimizers import optimizer, schedule
from kerasep.training.recipe import Recipe
from kerasep.training.record import RECORD, WEIGHTS, load_record, weights_are_those
from kerasep.training.runs import NOTHING, check_same, load_run, new_record
from kerasep.training.stems import Places, Stems
from kerasep.training.validation import set_statistics

DRY_RUN_STEPS = 10


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
    stems_on_device: bool = False,
) -> dict[str, Any]:
    """Train `recipe` for one target or several together, and write a run folder.

    Args:
        recipe: how to train.
        targets: what the network estimates.
        roots: MUSDB folders; training songs come from all of them, validation songs from those that have any.
        output: the run folder, made if missing; it must not hold a run already, unless that is to be resumed.
        seed: of all random choices.
        resume: continue after the last epoch that `output` holds, or start if it holds none. On a CPU the losses are bit for
            bit those of an uninterrupted run.
        devices: GPUs that share each batch; one by default, or one of each host.
        tensorboard: write for TensorBoard too (on TensorFlow).
        start: a run, trained or imported, whose weights to start from; of the same network and targets.
        stems_on_device: keep all training songs in the device's memory (`kerasep.training.stems`).

    Returns:
        The record.

    Raises:
        KerasepError: the data cannot be used, `output` holds another run, or the loss is not finite.
    """
    if not resume and ((output / RECORD).exists() or (output / checkpoint.FOLDER).exists()):
        raise KerasepError(f"{output}: holds a run already: add --resume to go on with it, or name another folder")
    asked = {"recipe": recipe.to_json(), "targets": list(targets), "seed": seed}
    if (output / RECORD).exists():
        record = load_record(output)
        check_same(record, asked, output)
        if record["finished"]:
            return record
    data = _open(roots)
    count = engine.devices() if devices is None else devices
    learner, mixer, epochs = prepare(recipe, targets, data["train"], seed, count, stems_on_device)
    if earlier := checkpoint.restore(output / checkpoint.FOLDER, learner):
        record = earlier
        check_same(record, asked, output)
    else:
        record = new_record(asked, data, learner.network.count_params())
        if start:
            _start(learner, asked, start)
            record["start"] = start.name
    done = len(record["epochs"])
    if record["finished"]:  # killed between its last checkpoint and its record
        write_json(output / RECORD, record)
        return record
    if earlier and not weights_are_those(output, record):
        reason = "damaged, or newer than the epoch to go on from: replaced after the next one"
        say(f"{output / WEIGHTS}: {reason}")
        record["best"] = NOTHING
    check_writable(output)
    monitors = schedule(recipe)
    callbacks = [Guard(output), Validate(learner, data["validation"], recipe, record, output), *monitors]
    if tensorboard:
        callbacks.append(tensorboard_callback(output))
    callbacks += [Replay(record, monitors), Checkpoint(output, record, mixer)]
    batches = engine.batches(mixer, done * recipe.steps, epochs * recipe.steps)
    with _data_errors(mixer):
        learner.fit(batches, initial_epoch=done, epochs=epochs, steps_per_epoch=recipe.steps, callbacks=callbacks, **engine.FIT)
    return record


def dry_run(
    recipe: Recipe,
    targets: tuple[str, ...],
    roots: list[Path],
    seed: int = 0,
    devices: int | None = None,
    stems_on_device: bool = False,
) -> str:
    """A forecast of a run in words, after ten steps of it. Nothing is written. Arguments as for `train`."""
    data = _open(roots)
    count = engine.devices() if devices is None else devices
    learner, mixer, epochs = prepare(recipe, targets, data["train"], seed, count, stems_on_device)
    clock, steps = Clock(), (DRY_RUN_STEPS + 1) * learner.steps_per_execution
    with _data_errors(mixer):
        learner.fit(
            engine.batches(mixer, 0, steps), epochs=1, steps_per_epoch=steps, callbacks=[clock], verbose=0, **engine.FIT
        )
    step = float(np.median(clock.steps[1:]))  # the first one compiles
    learner.network.summary(expand_nested=True)
    hours = epochs * recipe.steps * step / 3600
    return "\n".join(
        (
            f"songs: {len(data['train'])} to train on, {len(data['validation'])} to validate on",
            f"an epoch: {recipe.steps * recipe.batch} examples of {recipe.seconds:g} s, {recipe.steps} steps of {recipe.batch}",
            f"parameters: {learner.network.count_params():,}",
            f"memory: {peak_megabytes():.0f} MB at most so far, on the host",
            f"time: {step:.3f} s a step (the median of {DRY_RUN_STEPS}; compiling and the first step {clock.steps[0]:.0f} s), "
            f"{recipe.steps * step / 60:.1f} min an epoch, {hours:.1f} h for {epochs} epochs, without validation",
        )
    )


def prepare(
    recipe: Recipe, targets: tuple[str, ...], training: list[Song], seed: int, devices: int, stems_on_device: bool = False
) -> tuple[Learner, Mixer, int]:
    """What `fit` needs: a compiled and built learner, its data, and the number of epochs.

    Raises:
        KerasepError: the recipe does not fit the targets, the devices, the songs or the network.
    """
    if unknown := [target for target in targets if target not in recipe.epochs]:
        raise KerasepError(f"recipe {recipe.name}: no epochs for {unknown[0]}: add --set epochs.{unknown[0]}=N")
    if devices > 1 and recipe.batch % devices:
        raise KerasepError(f"batch {recipe.batch} cannot be shared by {devices} devices: choose a multiple")
    keras.utils.set_random_seed(seed)
    epochs = max(recipe.epochs[target] for target in targets)
    mixer: Mixer
    if stems_on_device:
        mixer = Places(training, recipe, seed, *engine.host())
    else:
        mixer = Mixer(training, recipe, seed, *engine.host(), in_step=on_gpu())
    with engine.shared(devices):
        try:
            _check_length(recipe)
            _check_validation(recipe)
            network = _network(recipe, targets)
            engine.check_parts(network, recipe.batch, devices)
            options: dict[str, Any] = dict(recipe.loss_options)
            loss = LOSSES[recipe.loss](targets, **options)
        except (TypeError, ValueError) as error:
            raise KerasepError(f"recipe {recipe.name}: {error}") from error
        stems = Stems(training, mixer.longest) if stems_on_device else None
        tilted = recipe.augment.tilt > 0
        transform = Transform(recipe.spectrogram, targets, recipe.samples, tilted, loss.phase_sensitive, stems)
        learner = Learner(network, transform, loss)
        learner.compile(
            optimizer(recipe, epochs),
            loss=loss,
            jit_compile=recipe.jit and engine.can_compile(network, devices),
            steps_per_execution=engine.steps_per_loss(recipe.steps),
        )
        learner({name: np.zeros((1, *shape[1:]), kind) for name, (shape, kind) in mixer.shapes.items()})  # builds it
        learner.optimizer.build(learner.trainable_variables)
    set_statistics(network, training, recipe)
    return learner, mixer, epochs


def _open(roots: list[Path]) -> dict[str, list[Song]]:
    data = {subset: [s for root in roots for s in songs(root, subset, progress=True)] for subset in ("train", "validation")}
    if not data["validation"]:
        raise KerasepError(f"{', '.join(map(str, roots))}: holds none of MUSDB's validation songs, which choose the best epoch")
    return data


def _check_length(recipe: Recipe) -> None:
    """Raise KerasepError unless an example has a number of frames that the network takes."""
    needed, spectrogram = receptive_field_of(recipe.network, recipe.options), recipe.spectrogram
    frames = 1 + (recipe.samples - spectrogram.fft) // spectrogram.hop
    if needed.window and frames != needed.window:
        seconds = ((needed.window - 1) * spectrogram.hop + spectrogram.fft) / spectrogram.rate
        raise KerasepError(
            f"recipe {recipe.name}: {recipe.seconds:g} s are {frames} frames, and {recipe.network} takes {needed.window}: "
            f"add --set seconds={seconds:.6f}"
        )
    if frames < needed.minimum:
        raise KerasepError(f"recipe {recipe.name}: {recipe.seconds:g} s are too short for {recipe.network}: increase seconds")


def _check_validation(recipe: Recipe) -> None:
    """Raise KerasepError if a run would end, or learn slower, for want of an SNR that nobody measured."""
    limits = {"early_stop": recipe.early_stop or math.inf}
    if recipe.schedule is Schedule.PLATEAU:
        limits["patience"] = recipe.patience
    for name, epochs in limits.items():
        if recipe.validate_every > epochs:
            raise KerasepError(
                f"recipe {recipe.name}: validates every {recipe.validate_every} epochs, and {name} waits {epochs:g} for a "
                f"better SNR: set validate_every to {epochs:g} or less"
            )


def _network(recipe: Recipe, targets: tuple[str, ...]) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision.value)
    try:
        return build(recipe.network, recipe.spectrogram, recipe.options, targets)
    finally:
        keras.config.set_dtype_policy(before)


def _start(learner: Learner, asked: dict[str, Any], run: Path) -> None:
    """Copy another run's weights into a learner, including its input statistics."""
    record, network = load_run(run)
    for part in ("network", "options", "spectrogram"):
        if record["recipe"][part] != asked["recipe"][part]:
            raise KerasepError(f"{run}: has another {part} than recipe {asked['recipe']['name']}: change it with --set")
    if record["targets"] != asked["targets"]:
        raise KerasepError(f"{run}: separates {', '.join(record['targets'])}: start it with these targets")
    learner.network.set_weights(network.get_weights())


@contextmanager
def _data_errors(mixer: Mixer) -> Iterator[None]:
    """Raises errors of the data as the data raised them, not as the backend passes them on."""
    try:
        yield
    except Exception as error:
        raise mixer.error or error from None
