"""Training one network for one target: Keras `fit`, validated on whole songs, the best weights kept.

A run is a folder: `run.json` (recipe, versions, seed, losses and time of every epoch) and `best.weights.h5`.
"""

import math
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kerasep
from kerasep.dataset import Song, songs
from kerasep.errors import KerasepError
from kerasep.files import write_json
from kerasep.models import build
from kerasep.spectral import stft
from kerasep.training.data import Mixer, whole_songs
from kerasep.training.recipe import RECORD, Recipe, load_record

WEIGHTS = "best.weights.h5"


class L2Adam(keras.optimizers.Adam):
    """Adam whose weight decay is L2, a term of the gradient as in PyTorch's Adam. Keras' own is decoupled (AdamW)."""

    def __init__(self, learning_rate, l2: float, **kwargs) -> None:
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        decayed = [gradient + self.l2 * variable for gradient, variable in zip(grads, variables, strict=True)]
        return super().apply(decayed, trainable_variables)


def train(recipe: Recipe, target: str, roots: list[Path], output: Path, seed: int = 0) -> dict[str, Any]:
    """Train `recipe` for `target` and write a run folder.

    Args:
        roots: MUSDB folders; training songs come from all of them, validation songs from those that have any.
        output: the run folder, made if missing; it must not hold a run already.

    Returns:
        The record.

    Raises:
        KerasepError: the data cannot be used, or `output` holds a run.
    """
    if (output / RECORD).exists():
        raise KerasepError(f"{output}: holds a run already: name another folder or remove it")
    keras.utils.set_random_seed(seed)
    training = [song for root in roots for song in songs(root, "train", progress=True)]
    validation = [song for root in roots for song in songs(root, "validation", progress=True)]
    if not validation:
        raise KerasepError(f"{', '.join(map(str, roots))}: none of MUSDB's validation songs is there to choose by")
    mixer = Mixer(training, target, recipe.spectrogram, recipe.seconds, seed, recipe.speed)
    model = build(recipe.network, recipe.spectrogram, recipe.options)
    if recipe.options.get("standardise"):
        _set_statistics(model.get_layer("standardise"), training, recipe)

    epochs = recipe.epochs[target]
    model.compile(L2Adam(_schedule(recipe, epochs), recipe.weight_decay), loss="mse")
    record = {
        "kerasep": kerasep.__version__,
        "recipe": recipe.to_json(),
        "target": target,
        "seed": seed,
        "songs": {"train": [song.name for song in training], "validation": [song.name for song in validation]},
        "parameters": model.count_params(),
        "versions": {"python": platform.python_version(), "keras": keras.__version__, "tensorflow": tf.__version__},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "epochs": [],
    }
    output.mkdir(parents=True, exist_ok=True)
    callback = Validate(validation, target, recipe, output, record)
    model.fit(_batches(mixer, recipe, epochs), epochs=epochs, steps_per_epoch=recipe.steps, callbacks=[callback], shuffle=False)
    return record


class Validate(keras.callbacks.Callback):
    """After each epoch: the energy explained on whole songs, the best weights, the record."""

    def __init__(self, validation: list[Song], target: str, recipe: Recipe, output: Path, record: dict[str, Any]) -> None:
        super().__init__()
        self.validation = validation
        self.target = target
        self.recipe = recipe
        self.output = output
        self.record = record
        self.best = -math.inf
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        trained = time.monotonic() - self.began
        explained = energy_explained(self.model, self.validation, self.target, self.recipe)
        if explained > self.best:
            self.best = explained
            partial = self.output / f"partial.{WEIGHTS}"
            self.model.save_weights(partial)
            partial.replace(self.output / WEIGHTS)
            self.record["best"] = {"epoch": epoch + 1, "validation_db": explained}
        entry = {"loss": (logs or {})["loss"], "validation_db": explained, "seconds": round(trained, 1)}
        self.record["epochs"].append(entry)
        write_json(self.output / RECORD, self.record)
        if logs is not None:  # for the progress bar
            logs |= {"validation_db": explained, "best_db": self.best}


def energy_explained(model: keras.Model, songs: list[Song], target: str, recipe: Recipe) -> float:
    """10 log10(sum ref^2 / sum (ref - est)^2) over the magnitudes of all songs, in dB."""
    energy = error = 0.0
    for mixture, reference in whole_songs(songs, target, recipe.spectrogram):
        estimate = np.asarray(model(mixture[None], training=False))[0]
        energy += float(np.sum(np.square(reference), dtype=np.float64))
        error += float(np.sum(np.square(reference - estimate), dtype=np.float64))
    return 10 * math.log10(energy / error)


def load_run(run: Path) -> tuple[dict[str, Any], keras.Model]:
    """A finished run's record and its network with the best weights.

    Raises:
        KerasepError: the folder holds no run, or its weights do not fit.
    """
    record = load_record(run)
    recipe = Recipe.from_json(record["recipe"])
    if not (run / WEIGHTS).exists():
        raise KerasepError(f"{run}: holds no finished run ({WEIGHTS} is missing): train one first")
    try:
        model = build(recipe.network, recipe.spectrogram, recipe.options)
        model.load_weights(run / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise KerasepError(f"{run}: its weights are damaged or of another network ({reason}): train it again") from error
    return record, model


def _schedule(recipe: Recipe, epochs: int):
    if recipe.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * recipe.steps)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    raise KerasepError(f"recipe {recipe.name}: unknown schedule {recipe.schedule!r}: choose from constant, cosine")


def _batches(mixer: Mixer, recipe: Recipe, epochs: int) -> tf.data.Dataset:
    """All batches of a run, made by as many threads as there are cores while the network trains."""

    def example(number):
        pair = tf.numpy_function(mixer, [number], [tf.float32, tf.float32], stateful=False)
        return tuple(tf.ensure_shape(part, mixer.shape) for part in pair)

    numbers = tf.data.Dataset.range(epochs * recipe.steps * recipe.batch)
    examples = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(recipe.batch, drop_remainder=True).prefetch(2)


def _set_statistics(layer: keras.layers.Layer, songs: list[Song], recipe: Recipe) -> None:
    """Mean and scale per bin over the frames of the mono training mixtures, as Open-Unmix's scaler."""
    count, total, squares = 0, 0.0, 0.0
    for song in songs:
        mixture = song.read("mixture").mean(axis=1, keepdims=True)
        values = np.abs(stft(mixture, recipe.spectrogram))[:, :, 0].astype(np.float64) ** layer.power
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + np.square(values).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    deviation = np.maximum(deviation, 1e-4 * deviation.max())
    layer.mean.assign(mean)
    layer.scale.assign(1 / deviation)
