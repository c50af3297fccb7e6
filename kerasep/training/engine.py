"""What TensorFlow and JAX do each in their own way: feeding batches, compiling a network, sharing a step between devices.

An example is the same on both: `kerasep.training.data.Mixer` makes it.
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

    if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):  # several hosts, which must meet before anything else
        keras.distribution.initialize()
else:
    raise KerasepError(
        f"training runs on TensorFlow and JAX, not on {keras.backend.backend()}: set KERAS_BACKEND to one of them"
    )


# Batches made at a time, one a core but for the core that feeds the step: a batch of `conv` is 136 MB.
MAKERS = max(1, (os.cpu_count() or 1) - 1)


def batches(mixer: Mixer, first: int, last: int) -> Any:
    """Batches `first` to `last` (not included) for `fit`, made in other threads while the network trains."""
    if keras.backend.backend() == "jax":
        return Batches(mixer, first, last)

    def batch(number):
        types = [kind for _, kind in mixer.shapes.values()]
        parts = tf.numpy_function(lambda n: list(mixer(int(n)).values()), [number], types, stateful=False)
        return (
            {name: tf.ensure_shape(part, shape[0]) for (name, shape), part in zip(mixer.shapes.items(), parts, strict=True)},
        )

    return tf.data.Dataset.range(first, last).map(batch, num_parallel_calls=MAKERS, deterministic=True).prefetch(1)


# `fit` would shuffle a PyDataset; a tf.data.Dataset it leaves alone, and warns if told to.
FIT = {"shuffle": False}


class Batches(keras.utils.PyDataset):
    """The door for backends without tf.data: Keras' own queue and threads."""

    def __init__(self, mixer: Mixer, first: int, last: int) -> None:
        super().__init__(workers=MAKERS, max_queue_size=MAKERS + 1)
        self.mixer, self.first, self.last = mixer, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Batch]:
        return (self.mixer(self.first + index),)


def forward(network: keras.Model, jit: bool) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The network as a function of NumPy arrays, compiled once per shape; it follows the weights as they are trained."""
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
    """Devices to share a batch by default: GPUs, of all hosts."""
    if keras.backend.backend() == "jax":
        return sum(device.platform != "cpu" for device in jax.devices()) or jax.process_count()
    return len(tf.config.list_logical_devices("GPU"))


def shared(count: int) -> AbstractContextManager:
    """Where to build a learner whose step is shared by `count` devices, each with its part of the batch.

    On TensorFlow `tf.distribute.MirroredStrategy`, on JAX `keras.distribution.DataParallel`; there, several hosts take part
    if Keras' variables KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID say so, each with its own run folder.

    Raises:
        KerasepError: there are not so many devices.
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
    """Which of how many hosts this is."""
    return (jax.process_index(), jax.process_count()) if keras.backend.backend() == "jax" else (0, 1)


def can_compile(count: int) -> bool:
    """Whether a step shared by so many devices can be compiled: not with TensorFlow's strategy, whose sums XLA cannot make."""
    return count <= 1 or keras.backend.backend() == "jax"


def names() -> list[str]:
    """What the GPUs, or else the processor, are called."""
    if keras.backend.backend() == "jax":
        return [device.device_kind for device in jax.devices()]
    physical = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in physical] or ["cpu"]


def _check(count: int, there: int) -> None:
    if count > there:
        raise KerasepError(f"--devices {count}: there are only {there} here")
