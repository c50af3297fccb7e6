"""Trained runs, one per target, to one ONNX file whose equality with Keras was measured."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from kerasep.conversion.merge import merged
from kerasep.conversion.operations import per_second
from kerasep.conversion.resize import BATCHES, FRAMES, resizable
from kerasep.conversion.simplify import simplified
from kerasep.errors import KerasepError, UsageError
from kerasep.files import replacing, write_json
from kerasep.inference.artifact import Artifact, beside, predict, sha256
from kerasep.inference.manifest import INPUT, PRESENT, Manifest
from kerasep.inference.runtime import KEY
from kerasep.inference.usage import described
from kerasep.models import ReceptiveField, context, folded, stepped
from kerasep.signal.stft import Spectrogram
from kerasep.signal.wiener import FILTER_FRAMES
from kerasep.training.recipe import WEIGHTS, Recipe
from kerasep.training.trainer import load_run

OPSET = 17  # the newest that ONNX Runtime 1.13 to today, its web build and TensorRT 8.6 all read
DEFAULTS = {"exponent": 1.0, "wiener": 0, "licence": "not stated: ask whoever trained it"}
TOLERANCE = 1e-5  # of max|a - b| / max|b| between ONNX Runtime and Keras


@dataclass(frozen=True)
class Frozen:
    """Trained networks on the same input, in float32: what every file is made from, and measured against.

    Attributes:
        networks: as they were trained.
        lean: the same for inference alone, with scaling and normalisation folded into what stands beside them; of a step graph,
            for one frame at a time.
        manifest: of the file to be, without what only the file can tell.
    """

    networks: tuple[keras.Model, ...]
    lean: tuple[keras.Model, ...]
    manifest: Manifest

    def predict(self, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
        """Keras' own answer to what `kerasep.inference.artifact.Artifact.predict` is asked."""
        return predict(self.run, self.manifest, magnitudes)

    def run(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        """Estimates of each target for a batch of magnitudes, both float32 (batch, frames, bins, channels)."""
        outputs: dict[str, np.ndarray] = {}
        for network in self.networks:
            outputs |= network.predict_on_batch(mixture)  # compiled: an LSTM called as it is takes twenty times as long
        return {target: outputs[target] for target in self.manifest.targets}


def freeze(
    runs: Sequence[Path],
    name: str,
    licence: str | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    frames: int = 0,
    batch: int = 0,
    step: bool = False,
) -> Frozen:
    """Load trained or imported runs, to be one file.

    Args:
        runs: run folders, each of other targets, on the same spectrogram.
        name: of the separator.
        licence: terms of use of the weights, in a line; the run's own by default.
        mask, exponent, wiener: defaults for separation, see `Manifest`. Where they are not given: what the run says,
            or else ratio masks without a filter, which for one target alone mean nothing and are left out.
        frames, batch: that the file is to take, 0 for any.
        step: let it take one frame at a time, with states.

    Raises:
        KerasepError: a run cannot be used, or cannot run frame by frame, or the runs disagree.
        UsageError: a number of frames that the networks do not take, or that holds no more than their context.
    """
    if keras.backend.backend() != "tensorflow":
        raise KerasepError(f"converting runs on TensorFlow, not on {keras.backend.backend()}: unset KERAS_BACKEND")
    records, networks = _load(runs)
    recipes = [Recipe.from_json(record["recipe"]) for record in records]
    spectrogram = recipes[0].spectrogram
    needed = _context([context(recipe.network, recipe.options) for recipe in recipes], runs)
    window, hop, margin = _windows(needed, frames)
    targets = tuple(target for record in records for target in record["targets"])
    grid = FILTER_FRAMES if not hop or margin else hop * -(-FILTER_FRAMES // hop)
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
        step_frames=hop,
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
    if step:
        if frames or batch:
            raise UsageError("a step graph takes one frame of one song: leave --frames and --batch out")
        return _stepping(recipes, networks, manifest, runs)
    lean = [folded(recipe.network, spectrogram, network) for recipe, network in zip(recipes, networks, strict=True)]
    return Frozen(tuple(networks), tuple(lean), manifest)


def _stepping(recipes: Sequence[Recipe], networks: Sequence[keras.Model], manifest: Manifest, runs: Sequence[Path]) -> Frozen:
    """Networks that are to run frame by frame."""
    lean = []
    for recipe, network, run in zip(recipes, networks, runs, strict=True):
        try:
            lean.append(stepped(recipe.network, manifest.spectrogram, network))
        except ValueError as error:
            raise KerasepError(f"{run}: {error}") from error
    ahead = [context(recipe.network, recipe.options).ahead for recipe in recipes]
    for run, frames in zip(runs, ahead, strict=True):
        if frames != ahead[0]:
            raise KerasepError(f"{run}: looks {frames} frames ahead and {runs[0]} {ahead[0]}: export it on its own")
    shapes = {name: tuple(tensor.shape) for network in lean for name, tensor in network.input.items()}
    states = {name: shape for name, shape in shapes.items() if name not in (INPUT, PRESENT)}
    manifest = replace(manifest, graph="step", batch=1, states=states, look_ahead_frames=ahead[0])
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

    return write(partial(save, graph), counted(frozen.manifest, graph), output, measured)


def counted(manifest: Manifest, graph: onnx.ModelProto) -> Manifest:
    """A manifest with the multiply-adds of its float32 graph."""
    sizes = (1, 1) if manifest.graph == "step" else (manifest.window_frames, manifest.step_frames)
    operations = per_second(graph, manifest.spectrogram, *sizes)
    return replace(manifest, multiply_adds=operations)


def write(
    save: Callable[[Manifest, Path], None],
    manifest: Manifest,
    output: Path,
    measure: Callable[[Artifact], dict[str, Any]],
    **more: Any,
) -> Manifest:
    """Write a graph and its manifest, with what was measured on the file that is written, or, where that raises, nothing.

    Args:
        save: writes the graph, with a manifest inside, to a path.
        manifest: the graph's.
        output: the file; the manifest goes beside it.
        measure: from the opened file to more of the manifest's details.
        more: for the manifest beside the file alone.
    """
    with replacing(output) as path:
        save(manifest, path)
        manifest = replace(manifest, details=manifest.details | measure(Artifact(path)))
        save(manifest, path)
        size = {"sha256": sha256(path), "bytes": path.stat().st_size}
        beside(output).unlink(missing_ok=True)  # never a new artifact beside an old manifest
    write_json(beside(output), described(manifest) | size | more)
    return manifest


def to_onnx(networks: Sequence[keras.Model], spectrogram: Spectrogram, frames: int = 0, batch: int = 0) -> onnx.ModelProto:
    """One graph for several networks on the same input, its outputs named by target.

    Args:
        networks: from mixture to a dict of targets, or from a dict of inputs, for one frame at a time.
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
    if isinstance(network.input, dict):
        return [network]
    parts = [keras.Model(network.input, {target: output}) for target, output in network.output.items()]
    return parts if sum(part.count_params() for part in parts) == network.count_params() else [network]


def _traced(network: keras.Model, spectrogram: Spectrogram, frames: int, batch: int) -> onnx.GraphProto:
    """A network's graph. All names in it but those of input and outputs begin with its target's, or the network's."""
    targets = list(network.output)
    prefix = f"{targets[0]}/" if len(targets) == 1 else f"{network.name}-{targets[0]}/"
    if isinstance(network.input, dict):
        return traced(network, {name: tuple(tensor.shape) for name, tensor in network.input.items()}, prefix)
    frames = network.input_shape[1] or frames
    # For a batch of 1 TensorFlow makes of an LSTM what tf2onnx does not know: it is traced for any, and fixed at the end.
    batches = (batch, batch) if batch > 1 else BATCHES
    lengths = (frames, frames) if frames else FRAMES
    sizes = [(*size, spectrogram.bins, spectrogram.channels) for size in zip(batches, lengths, strict=True)]
    graphs = [traced(network, {INPUT: size}, prefix) for size in dict.fromkeys(sizes)]
    graph = graphs[0] if len(graphs) == 1 else resizable(*graphs)
    if batch == 1:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    return graph


def traced(network: keras.Model, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> onnx.GraphProto:
    """A network's graph for inputs of these shapes alone, what is inside it named with a prefix."""
    function = called([network], shapes)
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    graph = onnx.compose.add_prefix_graph(model.graph, prefix, rename_inputs=False, rename_outputs=False)
    outputs = {output.name: output for output in graph.output}
    del graph.output[:]
    graph.output.extend(outputs[target] for target in network.output)
    return simplified(graph)


def called(
    networks: Sequence[keras.Model], shapes: Mapping[str, Sequence[int | None]]
) -> tf.types.experimental.PolymorphicFunction:
    """All networks on the same inputs, as a TensorFlow function from inputs of these names and shapes to a dict."""
    signature = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]

    @tf.function(input_signature=signature)
    def function(*inputs):
        given = dict(zip(shapes, inputs, strict=True))
        outputs = {}
        for network in networks:
            wanted = {name: given[name] for name in network.input} if isinstance(network.input, dict) else given[INPUT]
            outputs |= network(wanted, training=False)
        return outputs

    return function


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
    batches = [manifest.batch] if manifest.batch else [1, 3]
    if manifest.graph == "step":  # it takes a frame of one song, whatever it is asked
        batches = []
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
    return {"max_relative_error": worst, **errors, "frames": list(lengths), "batches": batches}


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


def _context(contexts: Sequence[ReceptiveField], runs: Sequence[Path]) -> ReceptiveField:
    """What all networks of a graph need together."""
    first = contexts[0]
    for needed, run in zip(contexts, runs, strict=True):
        if (needed.window, needed.step) != (first.window, first.step):
            raise KerasepError(f"{run}: takes other windows than {runs[0]}: pack it on its own")
    return ReceptiveField(
        frames=max(needed.frames for needed in contexts),
        minimum=max(needed.minimum for needed in contexts),
        exact=all(needed.exact for needed in contexts),
        window=first.window,
        step=first.step,
        stretch=max(needed.stretch for needed in contexts),
    )


def _windows(needed: ReceptiveField, frames: int) -> tuple[int, int, int]:
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
    helper.set_model_props(graph, {KEY: json.dumps(described(manifest))})
    onnx.save(graph, path)
