"""What differs between TensorFlow and JAX: input pipelines, compiled inference, data parallelism.

Training examples are the same on both: `kerasep.training.data.Mixer` makes them.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from kerasep.errors import KerasepError
from kerasep.training.data import Batch, Mixer

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax

    if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):  # several hosts connect before anything else
        keras.distribution.initialize()
else:
    raise KerasepError(
        f"training runs on TensorFlow and JAX, not on {keras.backend.backend()}: set KERAS_BACKEND to one of them"
    )


# Data threads, each with one batch in memory (136 MB for `conv`): one per core, less the one that feeds the step.
WORKERS = max(1, (os.cpu_count() or 1) - 1)


def batches(mixer: Mixer, first: int, last: int) -> Any:
    """Batches from `first` up to, but not including, `last` for `fit`, prefetched by other threads while the network trains."""
    if keras.backend.backend() == "jax":
        return Batches(mixer, first, last)

    def batch(number):
        types = [kind for _, kind in mixer.shapes.values()]
        parts = tf.numpy_function(lambda n: list(mixer(int(n)).values()), [number], types, stateful=False)
        return (
            {name: tf.ensure_shape(part, shape[0]) for (name, shape), part in zip(mixer.shapes.items(), parts, strict=True)},
        )

    return tf.data.Dataset.range(first, last).map(batch, num_parallel_calls=WORKERS, deterministic=True).prefetch(1)


# `fit` shuffles a PyDataset by default. It never shuffles a tf.data.Dataset.
FIT = {"shuffle": False}


class Batches(keras.utils.PyDataset):
    """Batches for backends without tf.data, through Keras' own queue and threads."""

    def __init__(self, mixer: Mixer, first: int, last: int) -> None:
        super().__init__(workers=WORKERS, max_queue_size=WORKERS + 1)
        self.mixer, self.first, self.last = mixer, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Batch]:
        return (self.mixer(self.first + index),)


def forward(network: keras.Model, jit: bool) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The network for inference on NumPy arrays, compiled once per shape; always with the current weights.

    Args:
        network: from (batch, frames, bins, channels) to a dict of targets.
        jit: compile with XLA (JAX always does).
    """
    if keras.backend.backend() == "jax":
        compiled = jax.jit(lambda weights, state, mixture: network.stateless_call(weights, state, mixture, training=False)[0])

        def run(mixture):
            weights = [variable.value for variable in network.trainable_variables]
            state = [variable.value for variable in network.non_trainable_variables]
            return compiled(weights, state, mixture)
    else:
        run = tf.function(lambda mixture: network(mixture, training=False), jit_compile=jit, reduce_retracing=False)
    return lambda mixture: {target: np.asarray(output) for target, output in run(mixture).items()}


def devices() -> int:
    """The default number of devices to share a batch: all GPUs. Without any: 0, or on JAX one device of each host."""
    if keras.backend.backend() == "jax":
        return sum(device.platform != "cpu" for device in jax.devices()) or jax.process_count()
    return len(tf.config.list_logical_devices("GPU"))


def shared(count: int) -> AbstractContextManager:
    """The scope to build a learner in that trains data-parallel on `count` devices, each with its part of the batch.

    On TensorFlow `tf.distribute.MirroredStrategy`, on JAX `keras.distribution.DataParallel`. On JAX several hosts take part if
    Keras' variables KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID say so, each with a separate run folder.

    Raises:
        KerasepError: fewer devices are available.
    """
    if keras.backend.backend() == "jax":
        names = keras.distribution.list_devices()
        _check(count, len(names))
        if count > 1:
            keras.distribution.set_distribution(
                keras.distribution.DataParallel(devices=names[:count], auto_shard_dataset=False)
            )
        return nullcontext()
    names = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    _check(count, len(names))
    return tf.distribute.MirroredStrategy([device.name for device in names[:count]]).scope() if count > 1 else nullcontext()


def host() -> tuple[int, int]:
    """This host's index, and the number of hosts."""
    return (jax.process_index(), jax.process_count()) if keras.backend.backend() == "jax" else (0, 1)


def can_compile(count: int) -> bool:
    """Whether XLA can compile a step shared by `count` devices: it lacks the reductions of TensorFlow's strategy."""
    return count <= 1 or keras.backend.backend() == "jax"


def names() -> list[str]:
    """Names of the GPUs, or of the processor if there are none."""
    if keras.backend.backend() == "jax":
        return [device.device_kind for device in jax.devices()]
    physical = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in physical] or ["cpu"]


def _check(count: int, available: int) -> None:
    if count > available:
        raise KerasepError(f"--devices {count}: only {available} available")
