"""Trained runs, one per target, to one ONNX file whose equality with Keras was measured."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow wakes up: a visible GPU changes the graph it traces

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

import kerasep
from kerasep.artifact import INPUT, KEY, Artifact, Manifest, sha256
from kerasep.errors import KerasepError, UsageError
from kerasep.files import replacing, write_json
from kerasep.masking import FILTER_FRAMES
from kerasep.models import context
from kerasep.spectral import Spectrogram
from kerasep.training.recipe import Recipe
from kerasep.training.trainer import WEIGHTS, load_run

OPSET = 17  # the newest that ONNX Runtime 1.13 to today, its web build and TensorRT 8.6 all read
TOLERANCE = 1e-5  # of max|a - b| / max|b| between ONNX Runtime and Keras


def pack(
    runs: Sequence[Path], output: Path, licence: str, mask: str = "ratio", exponent: float = 1.0, wiener: int = 0
) -> Manifest:
    """Merge trained runs into `output` (.onnx) and write its manifest beside it.

    Args:
        runs: run folders, each of another target, trained on the same spectrogram.
        licence: terms of use of the weights, in a line.
        mask, exponent, wiener: defaults for separation, see `kerasep.artifact.Manifest`.

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
    contexts = [context(recipe.network, recipe.options) for recipe in recipes]
    manifest = Manifest(
        name=output.stem,
        targets=tuple(target for record in records for target in record["targets"]),
        spectrogram=spectrogram,
        block_frames=FILTER_FRAMES,
        context_frames=max(needed.frames for needed in contexts),
        context_exact=all(needed.exact for needed in contexts),
        minimum_frames=max(needed.minimum for needed in contexts),
        mask=mask,
        exponent=exponent,
        wiener=wiener,
        licence=licence,
        precision="float32",
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
    )
    graph = to_onnx(networks, spectrogram)
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
    """One graph for several networks on the same input, its outputs named by target; batch and frames are dynamic."""
    shape = (None, None, spectrogram.bins, spectrogram.channels)
    signature = [tf.TensorSpec(shape, tf.float32, name=INPUT)]

    @tf.function(input_signature=signature)
    def together(mixture):
        return {target: output for network in networks for target, output in network(mixture, training=False).items()}

    graph, _ = tf2onnx.convert.from_function(together, input_signature=signature, opset=OPSET)
    for value in (*graph.graph.input, *graph.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        dimensions[0].dim_param, dimensions[1].dim_param = "batch", "frames"
    onnx.checker.check_model(graph, full_check=True)
    return graph


def measure_parity(artifact: Artifact, networks: Sequence[keras.Model]) -> dict[str, Any]:
    """The largest max|onnx - keras| / max|keras| over targets, on noise with music's slope, at several lengths."""
    random = np.random.default_rng(0)
    manifest = artifact.manifest
    worst, lengths = 0.0, (manifest.minimum_frames, 100, FILTER_FRAMES + 2 * manifest.context_frames)
    for frames in lengths:
        shape = (frames, manifest.spectrogram.bins, manifest.spectrogram.channels)
        slope = 100 / (1 + np.arange(manifest.spectrogram.bins))[:, None]
        magnitudes = (random.rayleigh(size=shape) * slope).astype(np.float32)
        outputs = artifact.predict(magnitudes)
        expectations = {t: e for network in networks for t, e in network(magnitudes[None], training=False).items()}
        for target, output in expectations.items():
            expected = np.asarray(output)[0]
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


def _summary(record: dict[str, Any], run: Path) -> dict[str, Any]:
    kept = {key: record[key] for key in ("targets", "recipe", "seed", "parameters", "best", "started")}
    seconds = sum(epoch["seconds"] for epoch in record["epochs"])
    songs = {subset: len(names) for subset, names in record["songs"].items()}
    return kept | {"songs": songs, "seconds": round(seconds), "weights_sha256": sha256(run / WEIGHTS)}


def _save(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    onnx.helper.set_model_props(graph, {KEY: json.dumps(manifest.to_json())})
    onnx.save(graph, path)
