"""Every network is the same on JAX: one forward pass of each, with the same weights, in a separate process."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasep.models import NETWORKS, build
from kerasep.models.htdemucs import htdemucs
from kerasep.signal.spectrogram import Spectrogram

MONO = {"channels": 1, "fft": 256, "hop": 128, "window": "blackmanharris", "padding": "zeros"}
FOUR = ("vocals", "drums", "bass", "other")
CASES = {  # network: spectrogram, options, targets, frames
    "bands": ({"fft": 256, "hop": 64}, {"layout": [[1, 1], [1, 2], [1, 4]], "size": 12, "blocks": 2, "ahead": 3}, FOUR, 20),
    "conv": ({"fft": 256, "hop": 64}, {"standardise": True, "batch_norm": True, "padding": "same"}, ("vocals",), 20),
    "deepconvsep": (MONO, {"filters": 5, "hidden": 7}, FOUR, 30),
    "openunmix": ({"fft": 256, "hop": 64}, {"hidden": 8}, ("vocals", "drums"), 20),
    "spleeter": ({"fft": 256, "hop": 64}, {"filters": [2, 3], "bins": 64, "frames": 32, "softmax": True}, FOUR[:2], 32),
}
WAVEFORMS = {"htdemucs": {"segment": 700, "channels": 8, "depth": 2, "bottom": 8, "transformer": 2, "heads": 2, "fft": 256}}


def made(network: str) -> tuple[keras.Model, tuple[int, ...]]:
    """A network, and the shape of what it takes."""
    if network in WAVEFORMS:
        options = WAVEFORMS[network]
        return htdemucs(FOUR, **options), (2, options["segment"], 2)
    description, options, targets, frames = CASES[network]
    spectrogram = Spectrogram(**description)
    return build(network, spectrogram, options, targets), (2, frames, spectrogram.bins, spectrogram.channels)


def outputs(network: str) -> dict[str, np.ndarray]:
    """A forward pass with made-up weights and input, on the backend that Keras runs on."""
    model, shape = made(network)
    random = np.random.default_rng(0)
    model.set_weights([np.abs(random.normal(size=weight.shape)) / 4 for weight in model.weights])
    mixture = np.abs(random.normal(size=shape)).astype(np.float32)
    return {f"{network}/{target}": np.asarray(output) for target, output in compiled(model)(mixture).items()}


def compiled(model: keras.Model) -> Callable[[np.ndarray], dict[str, Any]]:
    """The network as one graph: op by op, compiling takes JAX many times as long."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(partial(model, training=False))
    import tensorflow as tf

    return tf.function(partial(model, training=False))


def test_every_network_is_here():
    assert set(CASES) == set(NETWORKS)


@pytest.fixture(scope="module")
def jaxs(tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("jax") / "outputs.npz"
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, __file__, str(path)], check=True, env=environment)
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.mark.slow
@pytest.mark.parametrize("network", [*CASES, *WAVEFORMS])
def test_jax_gives_what_tensorflow_gives(network, jaxs):
    for key, expected in outputs(network).items():
        assert np.abs(expected).max() > 0
        assert np.abs(jaxs[key] - expected).max() <= 1e-4 * np.abs(expected).max()


if __name__ == "__main__":
    sys.modules["tensorflow"] = None  # type: ignore[assignment] # not even by accident
    np.savez(Path(sys.argv[1]), **{key: values for network in (*CASES, *WAVEFORMS) for key, values in outputs(network).items()})
