"""Files with their manifests inside and next to them, written when they have passed their verification."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from kerasep.conversion.operations import per_second
from kerasep.files import replacing, write_json
from kerasep.inference.artifact import Artifact, manifest_path, sha256
from kerasep.inference.graphs import SpectrogramGraph, StepGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.runtime import KEY
from kerasep.inference.seal import seal, sealable
from kerasep.inference.usage import described


def counted(manifest: Manifest, graph: onnx.ModelProto) -> Manifest:
    """A manifest with the multiply-adds of its float32 graph."""
    kind = manifest.graph
    assert isinstance(kind, SpectrogramGraph | StepGraph)  # noqa: S101 - waveform graphs are counted where they are put together
    frames, stride = 1, 1
    if isinstance(kind, SpectrogramGraph):
        frames, stride = (kind.windows.frames, kind.windows.stride) if kind.windows else (0, 0)
    return replace(manifest, multiply_adds=per_second(graph, kind.spectrogram, frames, stride))


def write(
    save: Callable[[Manifest, Path], None],
    manifest: Manifest,
    output: Path,
    measure: Callable[[Artifact], dict[str, Any]],
    **more: Any,
) -> Manifest:
    """Write a graph and its manifest, with what was measured on the file that is written, or, where that raises, nothing.

    Args:
        save: writes the graph, with a manifest inside that can be sealed, to a path.
        manifest: the graph's.
        output: the file; the manifest goes next to it.
        measure: from the opened file to more of the manifest's details.
        more: for the manifest next to the file alone.
    """
    with replacing(output) as path:
        save(manifest, path)
        manifest = replace(manifest, details=manifest.details | measure(Artifact(path)))
        save(manifest, path)
        seal(path)
        size = {"sha256": sha256(path), "bytes": path.stat().st_size}
        manifest_path(output).unlink(missing_ok=True)  # never a new artifact with an old manifest
    write_json(manifest_path(output), described(manifest) | size | more)
    return manifest


def save_onnx(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write a graph with its manifest inside."""
    helper.set_model_props(graph, {KEY: sealable(described(manifest))})
    onnx.save(graph, path)
