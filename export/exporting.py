"""From runs to files: frozen once, then a file for each precision, written only if it passes its verification."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from export.clips import to_calibrate, to_verify
from export.half import to_half
from export.integers import to_int8
from export.verify import file_name, float32_stems, verify
from kerasep.artifact import Manifest
from kerasep.conversion import counted, freeze, to_onnx, write
from kerasep.errors import KerasepError, UsageError

FORMATS = ("onnx",)
PRECISIONS = ("float32", "float16", "int8", "int8-dynamic")


def export(
    runs: Sequence[Path],
    output: Path,
    name: str | None = None,
    formats: Sequence[str] = FORMATS,
    precisions: Sequence[str] = ("float32",),
    frames: int = 0,
    batch: int = 0,
    root: Path | None = None,
    licence: str | None = None,
) -> Iterator[Path]:
    """Export runs, and give each file's path once it is there.

    Args:
        runs: run folders, each of other targets, on the same spectrogram.
        output: folder for NAME.onnx, NAME-float16.onnx and so on, and their manifests.
        name: of the files; the network's by default.
        formats, precisions: of `FORMATS` and `PRECISIONS`.
        frames, batch: that graphs are to take, 0 for any.
        root: MUSDB18, to calibrate int8 and to verify on; the demo song else.
        licence: terms of use of the weights.

    Raises:
        UsageError: an unknown format or precision, int8 without a root, or frames that the networks do not take.
        KerasepError: a run cannot be used, the folder cannot be written to, or a file fails its verification.
    """
    for what, given, known in (("format", formats, FORMATS), ("precision", precisions, PRECISIONS)):
        for choice in given:
            if choice not in known:
                raise UsageError(f"unknown {what} {choice!r}: choose from {', '.join(known)}")
    eight = [precision for precision in precisions if precision.startswith("int8")]
    if eight and root is None:
        raise UsageError(f"{eight[0]} is calibrated on real music: name MUSDB18's folder with --root")
    _check_writable(output)
    frozen = freeze(runs, name or "unnamed", licence=licence, frames=frames, batch=batch)
    name = name or frozen.networks[0].name
    graph = to_onnx(frozen.lean, frozen.manifest.spectrogram, frames, batch)
    frozen = replace(frozen, manifest=replace(counted(frozen.manifest, graph), name=name))
    clips = to_verify(root)
    reference = float32_stems(graph, frozen.manifest, clips)
    for precision in dict.fromkeys(precisions):
        converted, notes = _converted(graph, frozen.manifest, precision, root)
        manifest = replace(
            frozen.manifest, precision=precision, details=frozen.manifest.details | notes | {"verified_on": len(clips)}
        )
        path = output / file_name(manifest)
        sources = [os.path.relpath(run.resolve(), output.resolve()) for run in runs]
        write(converted, manifest, path, lambda file: verify(file, frozen, clips, reference), sources=sources)
        yield path


def _converted(graph: ModelProto, manifest: Manifest, precision: str, root: Path | None) -> tuple[ModelProto, dict[str, Any]]:
    """The float32 graph in another precision, and what its manifest should say of that."""
    if precision == "float16":
        return to_half(graph), {}
    if root and precision.startswith("int8"):
        converted, layers = to_int8(graph, to_calibrate(root, manifest), dynamic=precision == "int8-dynamic")
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
