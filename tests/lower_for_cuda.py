"""Lowers training and validation of small networks for CUDA, on a machine without: a line for each, with its cuDNN calls.

Lowering is where JAX finds that an operation does not take a type. What it needs of jaxlib's CUDA plugin is stood in for.
"""

import sys
from functools import partial
from pathlib import Path

import jaxlib.gpu_rnn as gpu_rnn

sys.modules["tensorflow"] = None  # type: ignore[assignment]


class Plugin:
    """cuDNN's part of jaxlib's CUDA plugin."""

    @staticmethod
    def build_rnn_descriptor(*sizes):
        return b""


gpu_rnn.compute_rnn_workspace_reserve_space_sizes = lambda *sizes: (64, 64)
gpu_rnn.cudnn_rnn_lowering = partial(gpu_rnn._rnn_fwd_lowering, Plugin, "cu")
gpu_rnn.cudnn_rnn_bwd_lowering = partial(gpu_rnn._rnn_bwd_lowering, Plugin, "cu")

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from kerasep.models import build  # noqa: E402
from kerasep.signal.spectrogram import Spectrogram  # noqa: E402
from kerasep.training import validation  # noqa: E402
from kerasep.training.callbacks import Guard  # noqa: E402
from kerasep.training.learner import Learner, Transform  # noqa: E402
from kerasep.training.losses import LOSSES  # noqa: E402
from kerasep.training.recipe import Loss  # noqa: E402

SMALL = Spectrogram(fft=256, hop=64)
TARGETS = ("vocals", "drums")
NETWORKS = {
    "bands": ("bands", {"layout": [[1, 1], [1, 2], [1, 4]], "size": 12, "blocks": 1}),
    "openunmix": ("openunmix", {"hidden": 8, "depth": 1}),
    "one way": ("openunmix", {"hidden": 8, "depth": 1, "bidirectional": False}),
}


def lowered(function, *arguments) -> int:
    """How many calls of cuDNN's LSTM a function becomes on CUDA."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    return text.count("cudnn_rnn")


def values(variables):
    return [variable.value for variable in variables]


jax.default_backend = lambda: "gpu"
keras.distribution.list_devices = lambda: ["gpu:0"]
for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
    for name, (network, options) in NETWORKS.items():
        keras.config.set_dtype_policy(precision)
        model = build(network, SMALL, options, TARGETS)
        keras.config.set_dtype_policy("float32")
        learner = Learner(
            model, Transform(SMALL, TARGETS, 8192, tilted=False, phase_sensitive=False), LOSSES[Loss.MSE](TARGETS)
        )
        learner.compile("sgd", loss=learner.stems_loss, jit_compile=True)
        batch = {
            "excerpts": np.zeros((4, 4, 8192, 2), np.int16),
            "gains": np.zeros((4, 4, 2, 2), np.float32),
            "tilts": np.zeros((4, 4), np.float32),
        }
        jax.eval_shape(learner, batch)  # builds it
        learner.optimizer.build(learner.trainable_variables)
        parts = (
            learner.trainable_variables,
            learner.non_trainable_variables,
            learner.optimizer.variables,
            learner.metrics_variables,
        )
        step = lowered(learner.train_step, tuple(map(values, parts)), (batch,))
        block = {"waves": np.zeros((3, 8192, SMALL.channels), np.float32), "frames": np.int32(20)}
        comparison = validation.Comparison(model, learner.transform, None)
        state = values(comparison.trainable_variables), values(comparison.non_trainable_variables)
        forward = lowered(lambda w, s, x, model=comparison: model.stateless_call(w, s, x, training=False)[0], *state, block)
        print(precision, name, forward, step)

callbacks = keras.callbacks.CallbackList([Guard(Path())], add_history=True, add_progbar=True)
print("asynchronous", callbacks._async_train)  # private: whether Keras goes on while callbacks look at the loss
