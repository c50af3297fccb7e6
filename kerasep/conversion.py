"""Trained runs, one per target, to one ONNX file whose equality with Keras was measured."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
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

import kerasep
from kerasep.artifact import INPUT, KEY, Artifact, Manifest, sha256
from kerasep.errors import KerasepError, UsageError
from kerasep.files import replacing, write_json
from kerasep.masking import FILTER_FRAMES
from kerasep.models import Context, context, folded
from kerasep.operations import per_second
from kerasep.spectral import Spectrogram
from kerasep.training.recipe import Recipe
from kerasep.training.trainer import WEIGHTS, load_run
from kerasep.windows import crossfade, cut

OPSET = 17  # the newest that ONNX Runtime 1.13 to today, its web build and TensorRT 8.6 all read
DEFAULTS = {"exponent": 1.0, "wiener": 0, "licence": "not stated: ask whoever trained it"}
TOLERANCE = 1e-5  # of max|a - b| / max|b| between ONNX Runtime and Keras


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
        licence: terms of use of the weights, in a line; the run's own by default.
        mask, exponent, wiener: defaults for separation, see `kerasep.artifact.Manifest`. Where they are not given: what the
            run says, or else ratio masks without a filter, which for one target alone mean nothing and are left out.

    Returns:
        The manifest.

    Raises:
        KerasepError: a run cannot be used, the runs disagree, or ONNX Runtime and Keras do; nothing is written then.
        UsageError: `output` is not named .onnx.
    """
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: name the artifact .onnx")
    if keras.backend.backend() != "tensorflow":
        raise KerasepError(f"packing runs on TensorFlow, not on {keras.backend.backend()}: unset KERAS_BACKEND")
    records, networks = _load(runs)
    recipes = [Recipe.from_json(record["recipe"]) for record in records]
    spectrogram = recipes[0].spectrogram
    needed = _context([context(recipe.network, recipe.options) for recipe in recipes], runs)
    targets = tuple(target for record in records for target in record["targets"])
    grid = FILTER_FRAMES if not needed.step else needed.step * -(-FILTER_FRAMES // needed.step)
    chosen = {"mask": mask, "exponent": exponent, "wiener": wiener, "licence": licence}
    names = ", ".join(sorted({recipe.name for recipe in recipes}))
    defaults: dict[str, Any] = DEFAULTS | {
        "mask": "ratio" if len(targets) > 1 else "none",
        "origin": f"kerasep, recipe {names}",
    }
    lean = [folded(recipe.network, spectrogram, network) for recipe, network in zip(recipes, networks, strict=True)]
    graph = to_onnx(lean, spectrogram)
    manifest = Manifest(
        name=output.stem,
        targets=targets,
        spectrogram=spectrogram,
        block_frames=grid * -(-needed.stretch // grid),
        context_frames=needed.frames,
        context_exact=needed.exact,
        minimum_frames=needed.minimum,
        window_frames=needed.window,
        step_frames=needed.step,
        filter_frames=grid,
        precision="float32",
        parameters=sum(network.count_params() for network in networks),
        multiply_adds=per_second(graph, spectrogram, needed.window, needed.step),
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
    with replacing(output) as partial:
        _save(graph, manifest, partial)
        parity = measure_parity(Artifact(partial), networks)
        if not parity["max_relative_error"] <= TOLERANCE:
            raise KerasepError(f"{output}: ONNX Runtime differs from Keras by {parity['max_relative_error']:.1e}: not written")
        manifest = replace(manifest, details=manifest.details | {"parity": parity})
        _save(graph, manifest, partial)
        beside = manifest.to_json() | {"sha256": sha256(partial), "bytes": partial.stat().st_size}
        output.with_suffix(".json").unlink(missing_ok=True)  # never a new artifact beside an old manifest
    write_json(output.with_suffix(".json"), beside)
    return manifest


def to_onnx(networks: Sequence[keras.Model], spectrogram: Spectrogram) -> onnx.ModelProto:
    """One graph for several networks on the same input, its outputs named by target.

    The batch is dynamic, and so are frames unless the networks take windows.
    """
    graphs = [_traced(part, spectrogram) for network in networks for part in _parts(network)]
    merged = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node for graph in graphs for node in graph.node],
            "separator",
            list(graphs[0].input),
            [output for graph in graphs for output in graph.output],
            _shared(graphs),
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", OPSET)]),
        producer_name="kerasep",
        producer_version=kerasep.__version__,
    )
    onnx.checker.check_model(merged, full_check=True)
    return merged


def _shared(graphs: Sequence[onnx.GraphProto]) -> list[onnx.TensorProto]:
    """All weights, equal ones once, and renamed so in the graphs' nodes.

    What networks do alike, as standardising their input with the same numbers, a runtime then does once.
    """
    kept: dict[bytes, onnx.TensorProto] = {}
    for graph in graphs:
        names = {}
        for weight in graph.initializer:
            anonymous = onnx.TensorProto()
            anonymous.CopyFrom(weight)
            anonymous.name = ""
            names[weight.name] = kept.setdefault(hashlib.sha256(anonymous.SerializeToString()).digest(), weight).name
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    return list(kept.values())


def _parts(network: keras.Model) -> list[keras.Model]:
    """A network a target, where targets share no weights: converting one at a time takes a fraction of the memory."""
    parts = [keras.Model(network.input, {target: output}) for target, output in network.output.items()]
    return parts if sum(part.count_params() for part in parts) == network.count_params() else [network]


def _traced(network: keras.Model, spectrogram: Spectrogram) -> onnx.GraphProto:
    """A network's graph. All names in it but those of input and outputs begin with its targets."""
    window = network.input_shape[1]
    signature = [tf.TensorSpec((None, window, spectrogram.bins, spectrogram.channels), tf.float32, name=INPUT)]

    @tf.function(input_signature=signature)
    def function(mixture):
        return network(mixture, training=False)

    traced, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    prefix = "-".join(network.output) + "/"
    graph = onnx.compose.add_prefix_graph(traced.graph, prefix, rename_inputs=False, rename_outputs=False)
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        dimensions[0].dim_param = "batch"
        if window is None:
            dimensions[1].dim_param = "frames"
        else:
            dimensions[1].dim_value = window
    return graph


def measure_parity(artifact: Artifact, networks: Sequence[keras.Model]) -> dict[str, Any]:
    """The largest max|onnx - keras| / max|keras| over targets, on noise with music's slope, at several lengths."""
    random = np.random.default_rng(0)
    manifest = artifact.manifest
    window, worst = manifest.window_frames, 0.0
    lengths = (window, 3 * window) if window else (manifest.minimum_frames, 100, FILTER_FRAMES + 2 * manifest.context_frames)
    for frames in lengths:
        shape = (frames, manifest.spectrogram.bins, manifest.spectrogram.channels)
        slope = 100 / (1 + np.arange(manifest.spectrogram.bins))[:, None]
        magnitudes = (random.rayleigh(size=shape) * slope).astype(np.float32)
        outputs = artifact.predict(magnitudes)
        batch = cut(magnitudes, window, manifest.step_frames) if window else magnitudes[None]
        expectations = {t: e for network in networks for t, e in network(batch, training=False).items()}
        for target, output in expectations.items():
            expected = crossfade(np.asarray(output), manifest.step_frames) if window else np.asarray(output)[0]
            error = float(np.abs(outputs[target] - expected).max() / max(float(np.abs(expected).max()), 1e-12))
            worst = max(worst, error)
    return {"max_relative_error": worst, "frames": list(lengths)}


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


def _summary(record: dict[str, Any], run: Path) -> dict[str, Any]:
    kept = {
        key: record[key] for key in ("targets", "recipe", "seed", "parameters", "best", "started", "files") if key in record
    }
    seconds = sum(epoch["seconds"] for epoch in record["epochs"])
    songs = {subset: len(names) for subset, names in record["songs"].items()}
    return kept | {"songs": songs, "seconds": round(seconds), "weights_sha256": sha256(run / WEIGHTS)}


def _save(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    onnx.helper.set_model_props(graph, {KEY: json.dumps(manifest.to_json())})
    onnx.save(graph, path)
