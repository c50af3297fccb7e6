"""Which provider runs which nodes of an ONNX file: what it cannot run is left to the CPU, with copies between."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import INPUT, SpectrogramGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.ort import onnxruntime
from kerasep.inference.providers import Provider, open_session
from kerasep.inference.runtime import Arrays

Nodes = dict[str, dict[str, int]]


def placement(artifact: Artifact, provider: str) -> Nodes:
    """Run a file once on silence, and read ONNX Runtime's profile.

    Args:
        artifact: an ONNX file.
        provider: as `kerasep.load` takes it.

    Returns:
        For each of ONNX Runtime's providers the operators it ran, as they stand in the graph that ONNX Runtime makes of the
        file, and how many nodes of each. A provider that compiles parts of a graph counts a part as one node.

    Raises:
        UsageError, KerasepError: as `kerasep.load`.

    Example:
        >>> from kerasep.hub import load
        >>> list(placement(load("conv"), "cpu"))
        ['CPUExecutionProvider']
    """
    if artifact.path.suffix != ".onnx":
        raise UsageError(f"{artifact.path}: providers are for ONNX files: LiteRT runs this one on the CPU")
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(artifact.path, options, Provider.parse(provider)).session
        session.run(None, _silence(artifact.manifest))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = {(event["args"]["provider"], event["args"]["op_name"], event["name"]) for event in events if _is_node(event)}
    nodes: Nodes = {}
    for (name, operator), count in sorted(Counter((name, operator) for name, operator, _ in ran).items()):
        nodes.setdefault(name, {})[operator] = count
    return nodes


def _is_node(event: dict[str, Any]) -> bool:
    return bool(event.get("args", {}).get("provider")) and event["name"].endswith("_kernel_time")


def _silence(manifest: Manifest) -> Arrays:
    """Zeros in the graph's inputs, as short as it takes them."""
    graph = manifest.graph
    shapes = {name: [size or 1 for size in shape] for name, shape in manifest.inputs().items()}
    if isinstance(graph, WaveformGraph) and not graph.fixed:
        shapes[INPUT][2] = graph.segments.samples
    if isinstance(graph, SpectrogramGraph) and not graph.fixed:
        shapes[INPUT][1] = graph.blocks.minimum
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
