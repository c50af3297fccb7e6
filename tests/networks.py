"""Small networks with random weights, and what is made of them: each run and file is made once for all test processes.

Tests ask for what they need by name, format, kind of graph and sizes:

    networks.artifact("conv", "tflite", graph="waveform", frames=90)

These files are float32 and are not verified: tests that compare them with something else do that. What is said of a file that
was verified takes `export.pipeline.export`, which tests/export calls for each kind of file once.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import onnx
from onnx import ModelProto
from shared import once

from export.options import Format
from export.pipeline import EXPORTERS
from export.waveform.wrap import Waveform
from kerasep.conversion.freeze import Frozen, freeze, freeze_step
from kerasep.conversion.trace import to_onnx
from kerasep.conversion.write import counted, write
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact
from kerasep.models import build
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training.recipe import Augment, Recipe

STEREO = Spectrogram(fft=256, hop=64)
MONO = Spectrogram(channels=1, fft=256, hop=128, window="blackmanharris", padding="zeros")
PADDED = Spectrogram(fft=256, hop=64, padding="window")
HALF = Spectrogram(channels=1, fft=256, hop=128)
PAIR, ALL = ("vocals", "drums"), ("vocals", "drums", "bass", "other")


def disturbed(model: keras.Model) -> None:
    """Noise on all weights: else some layers do next to nothing, and their errors would not show.

    The first output of each product is its bias alone: a scale made of such weights would not hold it in eight bits.
    """
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = np.asarray(weight) + random.normal(0, 0.1, weight.shape)
        if weight.path.endswith("kernel") and weight.ndim == 2:
            values[:, 0] = 0
        weight.assign(np.abs(values) if "variance" in weight.path else values)


def biased(model: keras.Model) -> None:
    """Random biases, most of them positive, so that some target claims each bin.

    Where none does, a processor's rounding may give one target a trace, and with it all of the bin.
    """
    random = np.random.default_rng(3)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(random.normal(0.1, 0.2, weight.shape))


class Small(NamedTuple):
    """A network, and what a run says of it.

    Attributes:
        defaults: of the manifest.
        weights: changes those that Keras began with.
        seed: of those.
    """

    network: str
    options: dict[str, Any]
    spectrogram: Spectrogram = STEREO
    targets: tuple[str, ...] = PAIR
    defaults: dict[str, Any] = {}  # noqa: RUF012
    weights: Callable[[keras.Model], None] = disturbed
    seed: int = 0


LITTLE = {"vertical": 6, "horizontal": 5, "hidden": 8}
SAME = LITTLE | {"padding": "same"}
CONV = {"vertical": 20, "horizontal": 20, "hidden": 120, "padding": "same"}
LAYOUT = {"layout": [[1, 1], [1, 2], [1, 4]], "size": 12, "blocks": 2}
UNET = {"bins": 64, "frames": 32, "filters": [2, 3], "elu": True}
SQUARED = {"mask": "ratio", "exponent": 2.0, "unclaimed": "dropped"}
FILTER = {"mask": "none", "wiener": 1, "unclaimed": "dropped"}  # as Open-Unmix's weights ask for it
NETWORKS = {
    # One of each kind.
    "bands": Small("bands", LAYOUT | {"ahead": 3}, targets=ALL),
    "conv": Small("conv", CONV),
    "deepconvsep": Small("deepconvsep", {"filters": 8, "hidden": 40}, MONO, ALL),
    "openunmix": Small("openunmix", {"hidden": 16, "depth": 1}),
    "spleeter": Small("spleeter", {"filters": [4, 8], "bins": 64, "frames": 32}, PADDED),
    # What can be streamed.
    "valid": Small("conv", LITTLE, seed=1),
    "same": Small("conv", SAME | {"standardise": True, "batch_norm": True}, seed=2),
    "causal": Small("conv", LITTLE | {"padding": "causal", "batch_norm": True}, seed=1),
    "power": Small("conv", SAME | {"standardise": True, "power": 0.5}, seed=1),
    "forward": Small("openunmix", {"hidden": 12, "bidirectional": False}, seed=1),
    "bands-ahead": Small("bands", LAYOUT | {"ahead": 3}, seed=1),
    "bands-causal": Small("bands", LAYOUT | {"ahead": 0}, seed=1),
    # Masks, windows and transforms of every kind.
    "thesis": Small("conv", LITTLE, weights=biased, seed=3),  # at least 15 frames
    "alone": Small("conv", SAME, targets=("vocals",), defaults={"mask": "none"}, weights=biased, seed=3),
    "binary": Small("conv", SAME, defaults={"mask": "binary"}, weights=biased, seed=3),
    "windows": Small("deepconvsep", {"filters": 5, "hidden": 7}, MONO, ALL, weights=biased, seed=3),
    "half-overlap": Small("conv", LITTLE, HALF, defaults={"exponent": 0.5}, weights=biased, seed=3),
    "unet": Small("spleeter", UNET, PADDED, defaults=SQUARED, weights=biased, seed=3),
    "narrow": Small("bands", {"layout": [[2, 1], [1, 3]], "size": 6, "blocks": 1, "ahead": 2}, weights=biased, seed=3),
    "forward-biased": Small("openunmix", {"hidden": 8, "depth": 1, "bidirectional": False}, weights=biased, seed=3),
    # A Wiener filter in the graph.
    "unet-filter": Small("spleeter", UNET, PADDED, defaults=FILTER, weights=biased, seed=3),
    "openunmix-filter": Small("openunmix", {"hidden": 16, "depth": 1}, defaults=FILTER),
    # Loops, as small as they get.
    "loop": Small("openunmix", {"hidden": 8, "depth": 1}, targets=("vocals",)),
}


@cache
def run(name: str) -> Path:
    """The run folder of a network."""
    small = NETWORKS[name]

    def make(folder: Path) -> None:
        keras.utils.set_random_seed(small.seed)
        model = build(small.network, small.spectrogram, small.options, small.targets)
        small.weights(model)
        recipe = Recipe(small.network, small.network, small.options, small.spectrogram, Augment())
        Imported(model, recipe, small.targets, {"licence": "tests"} | small.defaults).write_run(folder)

    return once(name, make)


@cache
def frozen(name: str, frames: int = 0, batch: int = 0, step: bool = False) -> Frozen:
    """A network as every file of it is made from."""
    return freeze_step([run(name)], name) if step else freeze([run(name)], name, frames=frames, batch=batch)


@cache
def in_onnx(name: str, frames: int = 0, batch: int = 0, step: bool = False) -> ModelProto:
    """A network's graph in ONNX."""

    def make(path: Path) -> None:
        made = frozen(name, frames, batch, step)
        songs, length, *_ = made.manifest.graph.shape
        onnx.save(to_onnx(made.lean, made.spectrogram, length, songs), path)

    return onnx.load(once(f"{name}-{frames}-{batch}-{step}.graph", make))


@cache
def artifact(name: str, form: str = "onnx", graph: str = "spectrogram", frames: int = 0, batch: int = 0) -> Artifact:
    """A file of a network, opened; `form` is "onnx" or "tflite", `frames` and `batch` are 0 for any number."""

    def make(path: Path) -> None:
        exporter = EXPORTERS[Format(form)]
        sizes = (frames, batch or exporter.batch, False) if graph == "spectrogram" else (0, 0, graph == "step")
        made, reference = frozen(name, *sizes), in_onnx(name, *sizes)
        manifest = counted(made.manifest, reference)
        wrapper = Waveform(manifest, frames, batch or 1) if graph == "waveform" else None
        model = exporter.trace(made, reference, exporter.input_shape(made, wrapper))
        if wrapper:
            model, manifest = exporter.wrap(model, wrapper), wrapper.manifest
        write(partial(exporter.save, model), manifest, path, lambda _: {})

    return Artifact(once(f"{name}-{graph}-{frames}-{batch}.{form}", make))
