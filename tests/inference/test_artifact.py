"""Opening separators, and every way a file can be none."""

import json

import numpy as np
import onnx
import pytest

from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest
from kerasep.inference.runtime import KEY


def rewritten(path, change) -> None:
    """Change the embedded manifest, and drop the one beside the file."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == KEY]
    values = json.loads(entry.value)
    change(values)
    entry.value = json.dumps(values)
    onnx.save(model, path)
    path.with_suffix(".json").unlink()


def fails(path, match: str) -> None:
    with pytest.raises(KerasepError, match=match) as caught:
        Artifact(path)
    assert "\n" not in str(caught.value)


def test_predict_names_its_outputs(packed):
    artifact = Artifact(packed)
    magnitudes = np.ones((7, 129, 2), np.float32)
    outputs = artifact.estimate(magnitudes)
    assert list(outputs) == ["vocals", "drums"]
    assert all(output.shape == magnitudes.shape for output in outputs.values())


def test_manifest_beside_is_the_one_inside(packed):
    beside = json.loads(packed.with_suffix(".json").read_text())
    manifest = Artifact(packed).manifest
    assert Manifest.from_json(beside) == manifest
    assert beside["bytes"] == packed.stat().st_size
    assert manifest.graph.blocks.context == 14
    assert manifest.graph.blocks.minimum == 1


def test_without_a_manifest_beside_it(copied):
    copied.with_suffix(".json").unlink()
    assert Artifact(copied).manifest.name == "small"


def test_not_onnx(tmp_path):
    path = tmp_path / "song.onnx"
    path.write_text("no model")
    fails(path, "not an ONNX file")
    path.write_bytes(b"")
    fails(path, "not an ONNX file")


def test_cut_short(copied):
    copied.with_suffix(".json").unlink()
    copied.write_bytes(copied.read_bytes()[:-5000])
    fails(copied, "not an ONNX file")


def test_other_peoples_onnx(tmp_path):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    fails(path, "none of kerasep's")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.pop("graph"), "manifest cannot be used"),
        (lambda m: m["graph"].update(kind="magic"), "unknown kind of graph 'magic': choose from spectrogram, step, waveform"),
        (lambda m: m.update(format=99), "format 99"),
        (lambda m: m.update(targets=["../../vocals", "drums"]), "plain names"),
        (lambda m: m.update(targets=[]), "plain names"),
        (lambda m: m["graph"]["masking"].update(mask="magic"), "unknown mask"),
        (lambda m: m["graph"]["blocks"].update(frames=100), "multiple of 300"),
        (lambda m: m["graph"]["blocks"].update(frames="300"), "frames must be an integer"),
        (lambda m: m["graph"]["blocks"].update(context=-1), "context must be"),
        (lambda m: m["graph"]["masking"].update(exponent="1"), "exponent"),
        (lambda m: m["graph"]["spectrogram"].update(hop=3), "hop"),
        (lambda m: m["graph"]["spectrogram"].update(hop=256), "hop"),
        (lambda m: m["graph"].update(windows={"frames": 30, "stride": 7}), "windows.stride must divide"),
        (lambda m: m["graph"]["masking"].update(filter_frames=0), "filter_frames"),
        (lambda m: m["graph"]["masking"].update(unclaimed="lost"), "unclaimed"),
        (lambda m: m["graph"]["spectrogram"].update(colour="red"), "colour"),
        (lambda m: m["graph"]["spectrogram"].update(fft=512), "does not describe its graph"),
        (lambda m: m.update(targets=["vocals", "bass"]), "does not describe its graph"),
    ],
)
def test_wrong_manifests(copied, change, match):
    rewritten(copied, change)
    fails(copied, match)


def test_manifest_that_is_no_json(copied):
    model = onnx.load(copied)
    model.metadata_props[0].value = "{"
    onnx.save(model, copied)
    copied.with_suffix(".json").unlink()
    fails(copied, "manifest cannot be used")


def test_tampered(copied):
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    fails(copied, "sha256")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_damaged_manifest_beside(copied, text):
    copied.with_suffix(".json").write_text(text)
    fails(copied, "not a manifest")


def test_missing_file_and_unknown_name(tmp_path):
    fails(tmp_path / "nothing.onnx", "no such file")
    fails(tmp_path, "no such file")
    with pytest.raises(UsageError, match="unknown model 'konv': name a file or one of bands, conv"):
        load("konv")


def test_without_onnx_runtime(packed, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fails(packed, r"pip install 'kerasep\[cpu\]'")
