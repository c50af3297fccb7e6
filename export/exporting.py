"""From runs to files: frozen once, then a file for each precision, written only if it passes its verification."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto
from tensorflow.lite.python.schema_py_generated import ModelT

from export.clips import to_calibrate, to_verify
from export.half import to_half
from export.integers import to_int8
from export.lite import LOOP_FRAMES, save_tflite, to_tflite
from export.lite_precision import to_half_tflite, to_int8_tflite
from export.recurrence import has_loops
from export.verify import file_name, float32_stems, verify
from kerasep.conversion import Frozen, counted, freeze, to_onnx, write
from kerasep.conversion import save as save_onnx
from kerasep.errors import KerasepError, UsageError
from kerasep.manifest import GRAPHS, Manifest

FORMATS = ("onnx", "tflite")
PRECISIONS = ("float32", "float16", "int8", "int8-dynamic")


def export(
    runs: Sequence[Path],
    output: Path,
    name: str | None = None,
    formats: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = ("float32",),
    graph: str = "spectrogram",
    frames: int = 0,
    batch: int = 0,
    root: Path | None = None,
    licence: str | None = None,
) -> Iterator[Path]:
    """Export runs, and give each file's path once it is there.

    Args:
        runs: run folders, each of other targets, on the same spectrogram.
        output: folder for NAME.onnx, NAME-float16.tflite and so on, and their manifests.
        name: of the files; the network's by default, with "-step" behind it for a step graph.
        formats, precisions: of `FORMATS` and `PRECISIONS`.
        graph: of `kerasep.manifest.GRAPHS`.
        frames, batch: that graphs are to take, 0 for any. A TFLite file takes one song at a time by default, and where it has
            LSTMs, `LOOP_FRAMES` frames.
        root: MUSDB18, to calibrate int8 and to verify on; the demo song else.
        licence: terms of use of the weights.

    Raises:
        UsageError: an unknown format, precision or graph, int8 without a root, or frames that the networks do not take.
        KerasepError: a run cannot be used, the folder cannot be written to, or a file fails its verification.
    """
    for what, given, known in (("format", formats, FORMATS), ("precision", precisions, PRECISIONS), ("graph", [graph], GRAPHS)):
        for choice in given:
            if choice not in known:
                raise UsageError(f"unknown {what} {choice!r}: choose from {', '.join(known)}")
    eight = [precision for precision in precisions if precision.startswith("int8")]
    if eight and root is None:
        raise UsageError(f"{eight[0]} is calibrated on real music: name MUSDB18's folder with --root")
    if eight and graph == "step":
        raise UsageError(f"{eight[0]}: a step graph is exported in float32 or float16")
    _check_writable(output)
    clips = to_verify(root)
    sources = [os.path.relpath(run.resolve(), output.resolve()) for run in runs]
    for form in dict.fromkeys(formats):
        frozen = _frozen(runs, name, form, graph, frames, batch, licence)
        model = to_onnx(frozen.lean, frozen.manifest.spectrogram, frozen.manifest.window_frames, frozen.manifest.batch)
        frozen = replace(frozen, manifest=counted(frozen.manifest, model))
        measure = partial(verify, frozen=frozen, clips=clips, reference=float32_stems(model, frozen.manifest, clips))
        lite = to_tflite(frozen.lean, frozen.manifest) if form == "tflite" else None
        for precision in dict.fromkeys(precisions):
            save: Callable[[Manifest, Path], None]
            if lite is None:
                converted, notes = _onnx(model, frozen.manifest, precision, root)
                save = partial(save_onnx, converted)
            else:
                packed, notes = _tflite(lite, frozen.manifest, precision, root)
                save = partial(save_tflite, packed)
            details = frozen.manifest.details | notes | {"verified_on": len(clips)}
            manifest = replace(frozen.manifest, precision=precision, details=details)
            path = output / file_name(manifest, form)
            write(save, manifest, path, measure, sources=sources)
            yield path


def _frozen(
    runs: Sequence[Path], name: str | None, form: str, graph: str, frames: int, batch: int, licence: str | None
) -> Frozen:
    """Networks with the sizes that a format can take."""
    step = graph == "step"
    if form == "tflite" and not step:
        batch = batch or 1
    frozen = freeze(runs, name or "unnamed", licence=licence, frames=frames, batch=batch, step=step)
    if form == "tflite" and not step and has_loops(frozen.networks):
        if batch > 1:
            raise UsageError(f"--batch {batch}: as TFLite, these networks take one song at a time")
        if not frames:
            frozen = freeze(runs, name or "unnamed", licence=licence, frames=LOOP_FRAMES, batch=batch)
    name = name or frozen.networks[0].name + ("-step" if step else "")
    return replace(frozen, manifest=replace(frozen.manifest, name=name))


def _onnx(graph: ModelProto, manifest: Manifest, precision: str, root: Path | None) -> tuple[ModelProto, dict[str, Any]]:
    """The float32 graph in another precision, and what its manifest should say of that."""
    if precision == "float16":
        return to_half(graph), {}
    if root and precision.startswith("int8"):
        converted, layers = to_int8(graph, to_calibrate(root, manifest), dynamic=precision == "int8-dynamic")
        return converted, {"int8_activations": layers}
    return graph, {}


def _tflite(graph: ModelT, manifest: Manifest, precision: str, root: Path | None) -> tuple[ModelT, dict[str, Any]]:
    """The same for TFLite."""
    if precision == "float16":
        return to_half_tflite(graph, manifest), {}
    if root and precision.startswith("int8"):
        clips = to_calibrate(root, manifest)
        converted, layers = to_int8_tflite(graph, manifest, clips, dynamic=precision == "int8-dynamic")
        return converted, {"int8_activations": layers}
    return graph, {}


def _check_writable(folder: Path) -> None:
    """Before minutes of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): choose another folder") from error
