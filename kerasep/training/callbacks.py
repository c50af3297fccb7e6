"""What happens during `fit`: validation, the best weights, checkpoints and the record of a run."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.datasets.musdb import Song
from kerasep.errors import KerasepError
from kerasep.files import write_json
from kerasep.models.lstm import on_gpu
from kerasep.training import checkpoint, engine
from kerasep.training.data import Mixer
from kerasep.training.learner import Learner
from kerasep.training.recipe import Recipe
from kerasep.training.record import RECORD
from kerasep.training.runs import save_weights
from kerasep.training.validation import Measure, OnDevice, OnHost, validation_snr


class Guard(keras.callbacks.Callback):
    """Ends the run soon after the loss is not finite; what was kept before stays.

    On JAX Keras asks it from another thread, so that no step waits for the loss of the one before, and raises what it raised a
    few steps later, at the latest before anyone is told of the epoch's end. (On TensorFlow: `engine.steps_per_loss`.)
    """

    async_safe = True

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
    """After each epoch an entry in the record; where it is time, the validation SNR on whole songs and the best weights.

    In between the last SNR stands for that of the epoch, so that those who count epochs without a better one go on counting.
    """

    def __init__(self, learner: Learner, validation: list[Song], recipe: Recipe, record: dict[str, Any], output: Path) -> None:
        super().__init__()
        self.measure: Measure
        if on_gpu():
            self.measure = OnDevice(learner, recipe)
        else:
            self.measure = OnHost(engine.forward(learner.network, recipe.jit), tuple(record["targets"]), recipe)
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
        due = not epoch or (epoch + 1) % self.recipe.validate_every == 0 or epoch + 1 == self.params["epochs"]
        found = self._validated(epoch) if due else {"validation_db": self.record["epochs"][-1]["validation_db"]}
        entry = {name: float(value) for name, value in logs.items()} | {
            **found,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(trained, 1),
            "validation_seconds": round(time.monotonic() - self.began - trained, 1),
        }
        self.record["epochs"].append(entry)
        logs["validation_db"] = found["validation_db"]  # for the progress bar and the callbacks that monitor it
        logs["best_db"] = self.record["best"]["validation_db"]

    def _validated(self, epoch: int) -> dict[str, Any]:
        with self._averaged():
            snr = validation_snr(self.measure, self.validation, self.recipe)
            mean = float(np.mean(list(snr.values())))
            if mean > self.record["best"]["validation_db"]:
                self.record["best"] = {"epoch": epoch + 1, "validation_db": mean, "targets": snr}
                save_weights(self.model.network, self.output, self.record)
                write_json(self.output / RECORD, self.record)  # at once: it says which weights belong to it
        return {"validation_db": mean, "validation": snr}

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving averages in place of the weights, if the recipe has any; the weights come back whatever happens."""
        if not self.average:
            yield
            return
        self.average.set_model(self.model)
        self.average.on_test_begin()
        try:
            yield
        finally:
            self.average.on_test_end()


class Replay(keras.callbacks.Callback):
    """Replays the epochs of a resumed run to the callbacks that monitor validation, so that their counts go on."""

    def __init__(self, record: dict[str, Any], monitors: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.epochs = list(record["epochs"])
        self.monitors = monitors

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.epochs or not self.monitors:
            return
        rate = float(self.model.optimizer.learning_rate)
        for epoch, entry in enumerate(self.epochs):
            for callback in self.monitors:
                callback.on_epoch_end(epoch, {"validation_db": entry["validation_db"]})
        if rate != float(self.model.optimizer.learning_rate):
            self.model.optimizer.learning_rate = rate  # the checkpoint's, which is already lowered


class Checkpoint(keras.callbacks.Callback):
    """Saves the state, then the record, after each epoch; the last callback, so that nothing is missing."""

    def __init__(self, output: Path, record: dict[str, Any], mixer: Mixer) -> None:
        super().__init__()
        self.output = output
        self.record = record
        self.mixer = mixer

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.record["finished"] = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self.record["unreadable_excerpts"] = self.mixer.broken
        checkpoint.save(self.output / checkpoint.FOLDER, self.model, self.record)
        write_json(self.output / RECORD, self.record)


class Clock(keras.callbacks.Callback):
    """Measures steps: seconds from the end of one to the end of the next; a mean, where several are run in one go."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.last = 0.0
        self.done = -1

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        self.steps.append((now - self.last) / (batch - self.done))
        self.last, self.done = now, batch


def tensorboard(output: Path) -> keras.callbacks.Callback:
    """The callback that writes for TensorBoard. Raises KerasepError where Keras cannot."""
    if keras.backend.backend() != "tensorflow":
        raise KerasepError("--tensorboard: only TensorFlow writes it: leave it out, run.json holds the same numbers")
    return keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False)
