"""Opening separators, and every way a file can be none."""

import json
import math
from dataclasses import replace

import networks
import numpy as np
import onnx
import pytest

from kerasep.cli import main
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference import runtime, seal
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import Blocks, Segments, SpectrogramGraph, StepGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Masking
from kerasep.inference.runtime import KEY
from kerasep.signal.spectrogram import Spectrogram

TRANSFORM = Spectrogram(fft=256, hop=64)
SPECTROGRAM = SpectrogramGraph(TRANSFORM, Blocks(300, 0, True), Masking())
STEP = StepGraph(TRANSFORM, Masking(), {"state": (1, 8)})
WAVEFORM = WaveformGraph(44100, 2, Segments(20_000, 10_000, 5_000), fixed=True, exact=True)


def rewritten(path, change) -> None:
    """Change the embedded manifest, and drop the one beside the file."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == KEY]
    values = json.loads(entry.value)
    change(values)
    del values[seal.KEY]
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


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_damage_shows_before_a_runtime_opens_the_file(tmp_path, monkeypatch, form):
    """Which it might crash. There is no manifest beside it, and the hash inside is of all but itself."""
    path, whole = tmp_path / f"a.{form}", networks.artifact("conv", form).path.read_bytes()
    path.write_bytes(whole)
    Artifact(path)
    monkeypatch.setitem(runtime.RUNTIMES, path.suffix, None)
    mark = seal.MARK.search(whole)
    for place in [*np.random.default_rng(0).integers(len(whole), size=30), mark.start(1), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 3 if mark.start(1) <= place < mark.end(1) else 1
        path.write_bytes(damaged)
        if seal.MARK.search(damaged):
            fails(path, "damaged or changed, as its sha256 is not the one inside")


def test_a_file_of_before_has_no_hash_inside(copied):
    rewritten(copied, lambda manifest: None)
    assert Artifact(copied).manifest.name == "small"


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
        (lambda m: m.pop("licence"), "licence"),
        (lambda m: m["graph"].update(masking=None), "masking must be an object, not None"),
        (lambda m: m["graph"].update(blocks=[300, 0, True, 1]), "blocks must be an object"),
        (lambda m: m["graph"].update(windows={"frames": 6000, "stride": 1}), "numbers at a time, more than 134,217,728"),
        (lambda m: m.update(targets=["vocals", "Vocals"]), "differ in more than capitals"),
        (lambda m: m.update(targets=[f"t{n}" for n in range(33)]), "1 to 32 plain names"),
        (lambda m: m["graph"].update(kind="x" * 10**6), "unknown kind of graph"),
        (lambda m: m["graph"]["spectrogram"].update(fft=512), "does not describe its graph"),
        (lambda m: m.update(targets=["vocals", "bass"]), "does not describe its graph"),
    ],
)
def test_wrong_manifests(copied, change, match):
    rewritten(copied, change)
    fails(copied, match)


NUMBERS = {  # every one of a manifest: a value beyond what is allowed
    "parameters": 10**13,
    "multiply_adds": 1e16,
    "graph.batch": 10**6,
    "graph.spectrogram.rate": 10**9,
    "graph.spectrogram.channels": 3,
    "graph.spectrogram.fft": 2**30,
    "graph.spectrogram.hop": 1,
    "graph.blocks.frames": 300 * 10**6,
    "graph.blocks.context": 10**9,
    "graph.blocks.minimum": 10**9,
    "graph.masking.exponent": 1e3,
    "graph.masking.wiener": 10**6,
    "graph.masking.filter_frames": 10**9,
}
WRONG = ["beyond", -1, "12", math.nan, math.inf, -math.inf, True, None, [1] * 1000, {}]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_limits(name):
    *parts, last = name.split(".")
    for value in WRONG:
        values = place = Manifest("x", ("vocals", "drums"), SPECTROGRAM, "tests").to_json()
        assert Manifest.from_json(values)
        for part in parts:
            place = place[part]
        place[last] = NUMBERS[name] if value == "beyond" else value
        with pytest.raises((ValueError, TypeError)) as caught:
            Manifest.from_json(values)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("graph", "name"), [(STEP, "masks"), (WAVEFORM, "fixed"), (WAVEFORM, "exact"), (SPECTROGRAM.blocks, "exact")]
)
def test_a_flag_is_true_or_false(graph, name):
    """As JSON says it, and not by a word that Python takes for true."""
    with pytest.raises(ValueError, match=f"{name} must be true or false, not 'no'"):
        replace(graph, **{name: "no"})


@pytest.mark.parametrize(
    ("graph", "change", "match"),
    [
        (STEP, {"look_ahead": 10**6}, "look_ahead must be an integer from 0 to 10,000"),
        (STEP, {"minimum": 10**6}, "minimum"),
        (STEP, {"states": {"a": [2**20, 2**20]}}, "numbers at a time"),
        (STEP, {"states": {"a": [1.0]}}, "named shapes"),
        (STEP, {"states": {"-" * 10**6: [1]}}, "named shapes"),
        (WAVEFORM, {"rate": 10**9}, "rate"),
        (WAVEFORM, {"channels": 8}, "channels"),
        (WAVEFORM, {"batch": 10**9}, "numbers at a time"),
    ],
)
def test_numbers_of_other_graphs(graph, change, match):
    with pytest.raises(ValueError, match=match) as caught:
        Manifest("x", ("vocals",), replace(graph, **change), "tests")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"samples": 2**40}, "segments.samples must be an integer"),
        ({"stride": 1}, "segments.stride must be at least"),
        ({"multiple": 0}, "segments.multiple must be an integer"),
        ({"least": 2**31}, "segments.least must be an integer"),
        ({"margin": 0.5}, "segments.margin must be an integer"),
    ],
)
def test_numbers_of_segments(change, match):
    with pytest.raises(ValueError, match=match):
        replace(WAVEFORM.segments, **change)


TARGETS = ["", ".", "../x", "a/b", "a\\b", "/etc", "a b", "a\x1b[2J", "\ud800", "a\n", "NUL", "Com1", "x" * 65, 3]


@pytest.mark.parametrize("target", TARGETS)
def test_targets_that_are_no_names(target):
    """They name files, also on Windows."""
    with pytest.raises(ValueError, match="plain names"):
        Manifest("x", ("vocals", target), SPECTROGRAM, "tests")


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", "null", '"text"', 100_000 * "[", 60 * "[" + 60 * "]", 2**24 * " " + "{}", "9" * 5000]
)
def test_manifest_that_is_no_json(copied, text):
    model = onnx.load(copied)
    model.metadata_props[0].value = text
    onnx.save(model, copied)
    copied.with_suffix(".json").unlink()
    fails(copied, "manifest cannot be used")


def test_tampered(copied):
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    fails(copied, "sha256")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "null", 100_000 * "["])
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


def test_details_without_end(copied, capsys):
    """Python reads them, and gives up where they are copied."""
    details: dict = {}
    for _ in range(450):
        details = {"more": details}
    rewritten(copied, lambda manifest: manifest.update(details=details))
    assert main(["info", str(copied)]) == 1
    error = capsys.readouterr().err
    assert "nested too deep" in error and error.count("\n") == 1


def test_info_prints_no_orders_to_the_terminal(copied, capsys):
    rewritten(copied, lambda manifest: manifest.update(licence="mine\x1b[2J\x9b\u202e\ud800", details={"\x1b[31m": 3}))
    assert main(["info", str(copied)]) == 0
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(text)["licence"] == "mine\x1b[2J\x9b\u202e\ud800"
