"""What differs between TensorFlow and JAX: input pipelines, compiled inference, data parallelism.

Training examples are the same on both: `kerasep.training.data.Mixer` makes them.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np

from kerasep.errors import KerasepError
from kerasep.models.layers import all_layers
from kerasep.models.lstm import keras_lstms, on_gpu
from kerasep.training.data import Batch, Mixer

# What is raised where memory does not suffice.
EXHAUSTED: tuple[type[Exception], ...]
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    EXHAUSTED = (MemoryError, tf.errors.ResourceExhaustedError, tf.errors.InternalError)  # the last from a copy to a GPU
elif keras.backend.backend() == "jax":
    import jax

    EXHAUSTED = (MemoryError, jax.errors.JaxRuntimeError)
    if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):  # several hosts connect before anything else
        keras.distribution.initialize()
else:
    raise KerasepError(
        f"training runs on TensorFlow and JAX, not on {keras.backend.backend()}: set KERAS_BACKEND to one of them"
    )

SMALLEST_PART = 4  # of a batch, for one device: from fewer examples batch normalisation learns little but noise
STEPS_PER_LOSS = 10
# Batches on the device ahead of the step: one is copied while another is trained on.
AHEAD = 2
# What there is where NVIDIA's driver runs: on Linux, and under Windows' Linux.
NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))
# `fit` shuffles a PyDataset by default. It never shuffles a tf.data.Dataset.
FIT = {"shuffle": False}


def workers() -> int:
    """Data threads, each with one batch in memory (136 MB for `conv`): one per core, less the one that feeds the step.

    Of the cores that this process may use: containers have a share, which joblib knows.
    """
    return max(1, joblib.cpu_count() - 1)


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

    made = tf.data.Dataset.range(first, last).map(batch, num_parallel_calls=workers(), deterministic=True)
    return ahead(made)


def ahead(batches: Any) -> Any:
    """A tf.data.Dataset whose next batches wait where they are needed: on the GPU, if there is one."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) == 1:
        return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, AHEAD))
    return batches.prefetch(1)


class Batches(keras.utils.PyDataset):
    """Batches for backends without tf.data, through Keras' own queue and threads."""

    def __init__(self, mixer: Mixer, first: int, last: int) -> None:
        super().__init__(workers=workers(), max_queue_size=workers() + 1)
        self.mixer, self.first, self.last = mixer, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Batch]:
        return (self.mixer(self.first + index),)


def forward(network: keras.Model, jit: bool) -> Callable[[Any], dict[str, np.ndarray]]:
    """The network for inference on NumPy arrays, compiled once per shape; always with the current weights.

    Args:
        network: from (batch, frames, bins, channels), or whatever it takes, to a dict of arrays.
        jit: compile with XLA where it can (JAX always does).
    """
    if keras.backend.backend() == "jax":
        compiled = jax.jit(lambda weights, state, mixture: network.stateless_call(weights, state, mixture, training=False)[0])

        def run(mixture):
            weights = [variable.value for variable in network.trainable_variables]
            state = [variable.value for variable in network.non_trainable_variables]
            return compiled(weights, state, mixture)
    else:

        def forward(mixture):
            return network(mixture, training=False)

        run = tf.function(forward, jit_compile=jit and can_compile(network), reduce_retracing=False, autograph=False)
    return lambda mixture: {target: np.asarray(output) for target, output in run(mixture).items()}


def devices() -> int:
    """The default number of devices to share a batch: one of each host. More are faster only with batches to match."""
    return host()[1]


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


def can_compile(network: keras.Model, count: int = 1) -> bool:
    """Whether XLA can compile a network, or a step of its training that `count` devices share.

    TensorFlow's XLA lacks the reductions of its strategy for several devices, and cuDNN's LSTM: that kernel does all frames at
    once, which is worth more than what XLA would do for the rest; as a loop it would be hundreds of turns a step.
    """
    if keras.backend.backend() == "jax":
        return True
    return count <= 1 and not (on_gpu() and any(True for _ in keras_lstms(network)))


def check_parts(network: keras.Model, batch: int, count: int) -> None:
    """Raise KerasepError if `count` devices leave batch normalisation too few examples.

    On TensorFlow each device measures its part of the batch alone; on JAX all of them measure the whole.
    """
    normalising = any(isinstance(layer, keras.layers.BatchNormalization) for layer in all_layers(network))
    if count > 1 and batch // count < SMALLEST_PART and normalising and keras.backend.backend() == "tensorflow":
        raise KerasepError(
            f"batch {batch} on {count} devices: batch normalisation would see {batch // count} examples at a time: "
            f"add --set batch={SMALLEST_PART * count}, or take fewer devices"
        )


def rows(variable: keras.Variable, places: Any) -> Any:
    """Rows of a variable.

    On a GPU TensorFlow has a kernel for those of 16-bit integers in variables, not for those in tensors.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.gather(variable.value, places)
    return keras.ops.take(variable, places, axis=0)


def steps_per_loss(steps: int) -> int:
    """Steps that TensorFlow runs in one go: it hands out the loss after each of them, and a GPU waits for that.

    JAX goes on while callbacks look at the loss. On a CPU nothing would be gained.

    Args:
        steps: of an epoch, which is made of whole goes: else Keras would take steps from the next one.
    """
    if keras.backend.backend() != "tensorflow" or not on_gpu():
        return 1
    return max(count for count in range(1, STEPS_PER_LOSS + 1) if steps % count == 0)


def names() -> list[str]:
    """Names of the GPUs, or of the processor if there are none."""
    if keras.backend.backend() == "jax":
        return [device.device_kind for device in jax.devices()]
    physical = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in physical] or ["cpu"]


def surroundings(count: int) -> str:
    """What trains here, in a line: backend and devices; and why a GPU of this machine does not."""
    backend = keras.backend.backend()
    module = jax if backend == "jax" else tf
    used = names()[: max(1, count)]
    text = f"{backend} {module.__version__} on {', '.join(used)}"
    if used != ["cpu"] or not any(path.exists() for path in NVIDIA):
        return text
    if backend == "jax":
        reason = "its CUDA plugin is not installed, or does not start: pip install 'kerasep[train-jax]'"
    elif not tf.sysconfig.get_build_info()["is_cuda_build"]:
        reason = "this build of TensorFlow is for CPUs alone"
    else:
        reason = "its CUDA libraries are not installed, or do not load: pip install 'kerasep[train-cuda]'"
    return f"{text}, although there is an NVIDIA GPU: {reason}"


def _check(count: int, available: int) -> None:
    if count > available:
        raise KerasepError(f"--devices {count}: only {available} available")
