"""Files of version 1 of the format are read: one of each kind, as commit f079f5c exported tiny networks, with their stems."""

import json

import numpy as np
import pytest
from conftest import agreement
from golden_files import GOLDEN

from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import Kind, SpectrogramGraph, StepGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.open import open_separator
from kerasep.inference.usage import usage

FILES = {
    "spectrogram.onnx": SpectrogramGraph,
    "spectrogram.tflite": SpectrogramGraph,
    "windows.onnx": SpectrogramGraph,
    "step.onnx": StepGraph,
    "waveform.onnx": WaveformGraph,
}


@pytest.mark.parametrize("name", FILES)
def test_stems_are_those_of_version_1(name):
    """Equal but for the processor's rounding; a step graph's were made block by block then, and are streamed now."""
    artifact = Artifact(GOLDEN / "format1" / name)
    graph = artifact.manifest.graph
    assert isinstance(graph, FILES[name])
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2)).astype(np.float32)
    stems = open_separator(artifact)(audio[:, :1] if name == "windows.onnx" else audio, 44100)
    with np.load(GOLDEN / "format1" / "stems.npz") as golden:
        known = [key for key in golden.files if key.startswith(f"{name}/")]
        assert known
        for key in known:
            assert agreement(golden[key], stems[key.split("/")[1]]) > 100


def test_they_are_written_in_the_new_format():
    for name in FILES:
        manifest = Artifact(GOLDEN / "format1" / name).manifest
        assert manifest.to_json()["format"] == 2
        assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
        assert usage(manifest)["text"]


def test_a_step_graph_of_version_1_gives_masks():
    manifest = Artifact(GOLDEN / "format1" / "step.onnx").manifest
    assert manifest.graph.kind is Kind.STEP and manifest.graph.masks
    assert "output times mixture" in usage(manifest)["text"]["take"]
