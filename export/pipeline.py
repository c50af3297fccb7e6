"""From runs to files: frozen once, then a file for each precision, written only if it passes its verification."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto
from tensorflow.lite.python.schema_py_generated import ModelT

from export.clips import fitted, to_calibrate, to_verify
from export.onnx.float16 import to_half
from export.onnx.int8 import to_int8
from export.tflite.convert import LOOP_FRAMES, save_tflite, to_tflite
from export.tflite.lstm import has_loops
from export.tflite.precision import to_half_tflite, to_int8_tflite
from export.verify import file_name, float32_stems, verify
from export.waveform.wrap import Waveform
from kerasep.conversion.convert import Frozen, counted, freeze, to_onnx, write
from kerasep.conversion.convert import save as save_onnx
from kerasep.errors import UsageError
from kerasep.files import check_writable
from kerasep.inference.manifest import GRAPHS, Manifest
from kerasep.inference.segments import margin

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
        name: of the files; the network's by default, with "-step" or "-waveform" behind it for such a graph.
        formats, precisions: of `FORMATS` and `PRECISIONS`.
        graph: of `kerasep.inference.manifest.GRAPHS`.
        frames, batch: that graphs are to take, 0 for any. By default, a TFLite file or a waveform graph takes one song at a
            time, and a TFLite file with LSTMs `LOOP_FRAMES` frames.
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
    check_writable(output)
    clips = to_verify(root)
    sources = [os.path.relpath(run.resolve(), output.resolve()) for run in runs]
    for form in dict.fromkeys(formats):
        frozen = _frozen(runs, name, form, graph, frames, batch, licence)
        host = frozen.manifest
        model = to_onnx(frozen.lean, host.spectrogram, host.window_frames, host.batch)
        frozen = replace(frozen, manifest=counted(host, model))
        around, shape, heard = None, host.shape, clips
        if graph == "waveform":
            around = Waveform(frozen.manifest, frames or _frames(frozen, form), batch or 1)
            shape, heard = around.network, fitted(clips, around.manifest)
        measure = partial(verify, frozen=frozen, clips=heard, reference=float32_stems(model, frozen.manifest, heard))
        lite = to_tflite(frozen.lean, host, shape) if form == "tflite" else None
        for precision in dict.fromkeys(precisions):
            save: Callable[[Manifest, Path], None]
            if lite is None:
                converted, notes = _onnx(model, host, host.shape, precision, root)
                save = partial(save_onnx, around.in_onnx(converted) if around else converted)
            else:
                packed, notes = _tflite(lite, host, shape, precision, root)
                save = partial(save_tflite, around.in_tflite(packed) if around else packed)
            base = around.manifest if around else frozen.manifest
            manifest = replace(base, precision=precision, details=base.details | notes | {"verified_on": len(clips)})
            path = output / file_name(manifest, form)
            write(save, manifest, path, measure, sources=sources)
            yield path


def _frozen(
    runs: Sequence[Path], name: str | None, form: str, graph: str, frames: int, batch: int, licence: str | None
) -> Frozen:
    """Networks with the sizes that a format can take; of a waveform graph, with those of the spectrograms it is compared on."""
    if graph == "spectrogram" and form == "tflite":
        batch = batch or 1
    sizes = (0, 0) if graph == "waveform" else (frames, batch)
    load = partial(freeze, runs, name or "unnamed", licence=licence, batch=sizes[1], step=graph == "step")
    frozen = load(frames=sizes[0])
    if form == "tflite" and graph != "step" and has_loops(frozen.networks):
        if batch > 1:
            raise UsageError(f"--batch {batch}: as TFLite, these networks take one song at a time")
        if graph == "spectrogram" and not frames:
            frozen = load(frames=LOOP_FRAMES)
    name = name or frozen.networks[0].name + ("" if graph == "spectrogram" else f"-{graph}")
    return replace(frozen, manifest=replace(frozen.manifest, name=name))


def _frames(frozen: Frozen, form: str) -> int:
    """That a waveform graph takes if none were asked for.

    Any, unless a filter learns from all of them, or the network takes windows or, as TFLite, has loops. Segments of a song are
    then at least half their own, half their margins.
    """
    manifest = frozen.manifest
    if manifest.wiener:
        return manifest.filter_frames * -(-4 * margin(manifest) // manifest.filter_frames)
    if manifest.window_frames:
        return manifest.block_frames + 2 * manifest.context_frames
    return LOOP_FRAMES if form == "tflite" and has_loops(frozen.networks) else 0


def _onnx(
    graph: ModelProto, manifest: Manifest, shape: tuple[int, ...], precision: str, root: Path | None
) -> tuple[ModelProto, dict[str, Any]]:
    """The float32 graph in another precision, and what its manifest should say of that."""
    if precision == "float16":
        return to_half(graph), {}
    if root and precision.startswith("int8"):
        converted, layers = to_int8(graph, to_calibrate(root, manifest, shape), dynamic=precision == "int8-dynamic")
        return converted, {"int8_activations": layers}
    return graph, {}


def _tflite(
    graph: ModelT, manifest: Manifest, shape: tuple[int, ...], precision: str, root: Path | None
) -> tuple[ModelT, dict[str, Any]]:
    """The same for TFLite."""
    if precision == "float16":
        return to_half_tflite(graph, manifest), {}
    if root and precision.startswith("int8"):
        clips = to_calibrate(root, manifest, shape)
        converted, layers = to_int8_tflite(graph, manifest, clips, dynamic=precision == "int8-dynamic")
        return converted, {"int8_activations": layers}
    return graph, {}
