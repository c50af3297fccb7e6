"""Trained runs, one per target, to one ONNX file whose equality with Keras was measured."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow wakes up: a visible GPU changes the graph it traces
os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"  # else it copies all weights before each of its steps: twice the time and memory

import keras
import numpy as np
import onnx
import onnx.compose
import tensorflow as tf
import tf2onnx
from onnx import helper

import kerasep
from kerasep.artifact import INPUT, KEY, Artifact, Manifest, predict, sha256
from kerasep.errors import KerasepError, UsageError
from kerasep.files import replacing, write_json
from kerasep.graph import BATCH, FRAMES, merged, tidied
from kerasep.masking import FILTER_FRAMES
from kerasep.models import Context, context, folded
from kerasep.operations import per_second
from kerasep.spectral import Spectrogram
from kerasep.training.recipe import Recipe
from kerasep.training.trainer import WEIGHTS, load_run
from kerasep.usage import usage

OPSET = 17  # the newest that ONNX Runtime 1.13 to today, its web build and TensorRT 8.6 all read
DEFAULTS = {"exponent": 1.0, "wiener": 0, "licence": "not stated: ask whoever trained it"}
TOLERANCE = 1e-5  # of max|a - b| / max|b| between ONNX Runtime and Keras


@dataclass(frozen=True)
class Frozen:
    """Trained networks on the same input, in float32: what every file is made from, and measured against.

    Attributes:
        networks: as they were trained.
        lean: the same for inference alone, with scaling and normalisation folded into what stands beside them.
        manifest: of the file to be, without what only the file can tell.
    """

    networks: tuple[keras.Model, ...]
    lean: tuple[keras.Model, ...]
    manifest: Manifest

    def predict(self, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
        """Keras' own answer to what `kerasep.artifact.Artifact.predict` is asked."""
        return predict(self.run, self.manifest, magnitudes)

    def run(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        """Estimates of each target for a batch of magnitudes, both float32 (batch, frames, bins, channels)."""
        outputs = {t: output for network in self.networks for t, output in network(mixture, training=False).items()}
        return {target: np.asarray(outputs[target]) for target in self.manifest.targets}


def freeze(
    runs: Sequence[Path],
    name: str,
    licence: str | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    frames: int = 0,
    batch: int = 0,
) -> Frozen:
    """Load trained or imported runs, to be one file.

    Args:
        runs: run folders, each of other targets, on the same spectrogram.
        name: of the separator.
        licence: terms of use of the weights, in a line; the run's own by default.
        mask, exponent, wiener: defaults for separation, see `kerasep.artifact.Manifest`. Where they are not given: what the
            run says, or else ratio masks without a filter, which for one target alone mean nothing and are left out.
        frames, batch: that the file is to take, 0 for any.

    Raises:
        KerasepError: a run cannot be used, or the runs disagree.
        UsageError: a number of frames that the networks do not take, or that holds no more than their context.
    """
    if keras.backend.backend() != "tensorflow":
        raise KerasepError(f"converting runs on TensorFlow, not on {keras.backend.backend()}: unset KERAS_BACKEND")
    records, networks = _load(runs)
    recipes = [Recipe.from_json(record["recipe"]) for record in records]
    spectrogram = recipes[0].spectrogram
    needed = _context([context(recipe.network, recipe.options) for recipe in recipes], runs)
    window, step, margin = _windows(needed, frames)
    targets = tuple(target for record in records for target in record["targets"])
    grid = FILTER_FRAMES if not step or margin else step * -(-FILTER_FRAMES // step)
    chosen = {"mask": mask, "exponent": exponent, "wiener": wiener, "licence": licence}
    names = ", ".join(sorted({recipe.name for recipe in recipes}))
    defaults: dict[str, Any] = DEFAULTS | {
        "mask": "ratio" if len(targets) > 1 else "none",
        "origin": f"kerasep, recipe {names}",
    }
    manifest = Manifest(
        name=name,
        targets=targets,
        spectrogram=spectrogram,
        block_frames=grid * -(-max(needed.stretch, needed.frames) // grid),
        context_frames=needed.frames,
        context_exact=needed.exact,
        minimum_frames=needed.minimum,
        window_frames=window,
        step_frames=step,
        margin_frames=margin,
        batch=batch,
        filter_frames=grid,
        precision="float32",
        parameters=sum(network.count_params() for network in networks),
        details={
            "runs": [_summary(record, run) for record, run in zip(records, runs, strict=True)],
            "versions": {
                "kerasep": kerasep.__version__,
                "python": platform.python_version(),
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
                "tf2onnx": tf2onnx.__version__,
                "onnx": onnx.__version__,
            },
        },
        **defaults | records[0].get("defaults", {}) | {key: value for key, value in chosen.items() if value is not None},
    )
    lean = [folded(recipe.network, spectrogram, network) for recipe, network in zip(recipes, networks, strict=True)]
    return Frozen(tuple(networks), tuple(lean), manifest)


def pack(
    runs: Sequence[Path],
    output: Path,
    licence: str | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
) -> Manifest:
    """Merge trained or imported runs into `output` (.onnx) and write its manifest beside it.

    Args:
        runs: run folders, each of other targets, on the same spectrogram.
        output: the file.
        licence, mask, exponent, wiener: see `freeze`.

    Returns:
        The manifest.

    Raises:
        KerasepError: a run cannot be used, the runs disagree, or ONNX Runtime and Keras do; nothing is written then.
        UsageError: `output` is not named .onnx.
    """
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: name the artifact .onnx")
    frozen = freeze(runs, output.stem, licence, mask, exponent, wiener)
    graph = to_onnx(frozen.lean, frozen.manifest.spectrogram)

    def measured(artifact: Artifact) -> dict[str, Any]:
        parity = measure_parity(artifact, frozen)
        if not parity["max_relative_error"] <= TOLERANCE:
            raise KerasepError(f"{output}: ONNX Runtime differs from Keras by {parity['max_relative_error']:.1e}: not written")
        return {"parity": parity}

    return write(graph, counted(frozen.manifest, graph), output, measured)


def counted(manifest: Manifest, graph: onnx.ModelProto) -> Manifest:
    """A manifest with the multiply-adds of its float32 graph."""
    operations = per_second(graph, manifest.spectrogram, manifest.window_frames, manifest.step_frames)
    return replace(manifest, multiply_adds=operations)


def write(
    graph: onnx.ModelProto,
    manifest: Manifest,
    output: Path,
    measure: Callable[[Artifact], dict[str, Any]],
    **more: Any,
) -> Manifest:
    """Write a graph and its manifest, with what was measured on the file that is written, or, where that raises, nothing.

    Args:
        graph: what the manifest describes.
        manifest: the graph's.
        output: the .onnx file; the manifest goes beside it as .json.
        measure: from the opened file to more of the manifest's details.
        more: for the manifest beside the file alone.
    """
    with replacing(output) as partial:
        save(graph, manifest, partial)
        manifest = replace(manifest, details=manifest.details | measure(Artifact(partial)))
        save(graph, manifest, partial)
        size = {"sha256": sha256(partial), "bytes": partial.stat().st_size}
        beside = manifest.to_json() | {"usage": usage(manifest)} | size | more
        output.with_suffix(".json").unlink(missing_ok=True)  # never a new artifact beside an old manifest
    write_json(output.with_suffix(".json"), beside)
    return manifest


def to_onnx(networks: Sequence[keras.Model], spectrogram: Spectrogram, frames: int = 0, batch: int = 0) -> onnx.ModelProto:
    """One graph for several networks on the same input, its outputs named by target.

    Args:
        networks: from mixture to a dict of targets.
        spectrogram: what goes in.
        frames, batch: that the graph is to take, 0 for any; networks that take windows decide on frames themselves.
    """
    graph = merged([_traced(part, spectrogram, frames, batch) for network in networks for part in _parts(network)])
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="kerasep",
        producer_version=kerasep.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _parts(network: keras.Model) -> list[keras.Model]:
    """A network a target, where targets share no weights: converting one at a time takes a fraction of the memory."""
    parts = [keras.Model(network.input, {target: output}) for target, output in network.output.items()]
    return parts if sum(part.count_params() for part in parts) == network.count_params() else [network]


def _traced(network: keras.Model, spectrogram: Spectrogram, frames: int, batch: int) -> onnx.GraphProto:
    """A network's graph. All names in it but those of input and outputs begin with its target's, or the network's."""
    frames = network.input_shape[1] or frames
    shape = (batch or BATCH, frames or FRAMES, spectrogram.bins, spectrogram.channels)
    signature = [tf.TensorSpec(shape, tf.float32, name=INPUT)]

    @tf.function(input_signature=signature)
    def function(mixture):
        return network(mixture, training=False)

    traced, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    targets = list(network.output)
    prefix = f"{targets[0]}/" if len(targets) == 1 else f"{network.name}-{targets[0]}/"
    graph = onnx.compose.add_prefix_graph(traced.graph, prefix, rename_inputs=False, rename_outputs=False)
    outputs = {output.name: output for output in graph.output}
    del graph.output[:]
    graph.output.extend(outputs[target] for target in targets)
    return tidied(graph, batch, frames)


def measure_parity(artifact: Artifact, frozen: Frozen, music: np.ndarray | None = None) -> dict[str, Any]:
    """The largest max|file - keras| / max|keras| over targets, at three lengths and, where it takes any, two batch sizes.

    Args:
        artifact: the file.
        frozen: the networks it was made from.
        music: magnitudes (frames, bins, channels) to compare on, besides noise with music's slope.
    """
    manifest = artifact.manifest
    window = manifest.window_frames
    lengths = (window, 2 * window, 3 * window + 1) if window else (manifest.minimum_frames, 100, 300)
    batches = (manifest.batch,) if manifest.batch else (1, 3)
    size = (lengths[1] + lengths[2], manifest.spectrogram.bins, manifest.spectrogram.channels)
    slope = 100 / (1 + np.arange(size[1]))[:, None]
    sounds = {"noise": (np.random.default_rng(0).rayleigh(size=size) * slope).astype(np.float32)}
    if music is not None:
        sounds["music"] = np.resize(music, size)
    errors = {}
    for name, sound in sounds.items():
        pairs = [(artifact.predict(sound[-frames:]), frozen.predict(sound[-frames:])) for frames in lengths]
        for batch in batches:
            many = np.resize(sound, (batch, window or lengths[1], *size[1:]))
            pairs.append((artifact.run(many), frozen.run(many)))
        found = [relative_error(output[t], expected[t]) for output, expected in pairs for t in manifest.targets]
        errors[name] = float(np.max(found))  # NaN, if there is one
    worst = float(np.max(list(errors.values())))
    return {"max_relative_error": worst, **errors, "frames": list(lengths), "batches": list(batches)}


def relative_error(output: np.ndarray, expected: np.ndarray) -> float:
    """max|a - b| / max|b|; NaN where there is a NaN."""
    return float(np.abs(output - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def _load(runs: Sequence[Path]) -> tuple[list[dict[str, Any]], list[keras.Model]]:
    records: list[dict[str, Any]] = []
    networks: list[keras.Model] = []
    for run in runs:
        record, network = load_run(run)
        taken = {target for earlier in records for target in earlier["targets"]}
        if again := [target for target in record["targets"] if target in taken]:
            raise KerasepError(f"{run}: a second run for {again[0]}: name one run per target")
        if records and record["recipe"]["spectrogram"] != records[0]["recipe"]["spectrogram"]:
            raise KerasepError(f"{run}: trained on another spectrogram than {runs[0]}: they cannot share an input")
        records.append(record)
        networks.append(network)
    return records, networks


def _context(contexts: Sequence[Context], runs: Sequence[Path]) -> Context:
    """What all networks of a graph need together."""
    first = contexts[0]
    for needed, run in zip(contexts, runs, strict=True):
        if (needed.window, needed.step) != (first.window, first.step):
            raise KerasepError(f"{run}: takes other windows than {runs[0]}: pack it on its own")
    return Context(
        frames=max(needed.frames for needed in contexts),
        minimum=max(needed.minimum for needed in contexts),
        exact=all(needed.exact for needed in contexts),
        window=first.window,
        step=first.step,
        stretch=max(needed.stretch for needed in contexts),
    )


def _windows(needed: Context, frames: int) -> tuple[int, int, int]:
    """Window, step and margin of a file that is to take so many frames, 0 for any."""
    if not frames or frames == needed.window:
        return needed.window, needed.step, 0
    if needed.window:
        raise UsageError(f"--frames {frames}: these networks take {needed.window} frames and no other number")
    if frames <= 2 * needed.frames:
        raise UsageError(f"--frames {frames}: {2 * needed.frames} of them are context: give more")
    return frames, frames - 2 * needed.frames, needed.frames


def _summary(record: dict[str, Any], run: Path) -> dict[str, Any]:
    kept = {
        key: record[key] for key in ("targets", "recipe", "seed", "parameters", "best", "started", "files") if key in record
    }
    seconds = sum(epoch["seconds"] for epoch in record["epochs"])
    songs = {subset: len(names) for subset, names in record["songs"].items()}
    return kept | {"songs": songs, "seconds": round(seconds), "weights_sha256": sha256(run / WEIGHTS)}


def save(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write a graph with its manifest inside."""
    helper.set_model_props(graph, {KEY: json.dumps(manifest.to_json() | {"usage": usage(manifest)})})
    onnx.save(graph, path)
