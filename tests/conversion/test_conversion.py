"""Packing: what is refused, and that nothing is left when it is."""

import importlib
import json

import keras
import networks
import numpy as np
import onnx
import pytest
import tensorflow as tf

from kerasep.conversion import pack as packing
from kerasep.conversion import verify
from kerasep.conversion.freeze import freeze
from kerasep.conversion.pack import pack
from kerasep.conversion.trace import to_onnx
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.training.runs import load_run


def refused(runs, output, match: str, error=KerasepError) -> None:
    with pytest.raises(error, match=match) as caught:
        pack(runs, output, licence="tests")
    assert "\n" not in str(caught.value)
    assert not list(output.parent.glob("*.onnx")) and not list(output.parent.glob(".*"))


def test_equal_to_keras_at_any_length_and_batch(packed, runs):
    artifact = Artifact(packed)
    assert artifact.manifest.details["parity"]["max_relative_error"] <= 1e-5
    session = artifact.runtime.session
    for batch, frames in ((1, 1), (1, 333), (3, 40)):
        mixture = np.random.default_rng(frames).exponential(size=(batch, frames, 129, 2)).astype(np.float32)
        outputs = session.run(["vocals", "drums"], {"mixture": mixture})
        for output, run in zip(outputs, runs.values(), strict=True):
            expected = np.asarray(load_run(run)[1](mixture, training=False)[run.name])
            assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_graph_is_named_and_dynamic(packed):
    graph = onnx.load(packed).graph
    for value in (*graph.input, *graph.output):
        dimensions = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert dimensions == ["batch", "frames", 129, 2]
    assert [value.name for value in graph.input] == ["mixture"]
    assert not {"Loop", "Scan", "If", "ConvTranspose"} & {node.op_type for node in graph.node}


def test_manifest_says_where_it_comes_from(packed, runs):
    details = json.loads(packed.with_suffix(".json").read_text())["details"]
    assert [run["targets"] for run in details["runs"]] == [["vocals"], ["drums"]]
    assert details["runs"][0]["recipe"]["options"]["batch_norm"] is True
    assert details["runs"][0]["songs"] == {"train": 2, "validation": 1}
    assert len(details["runs"][0]["weights_sha256"]) == 64


def test_refusals(runs, tmp_path):
    refused([runs["vocals"], runs["vocals"]], tmp_path / "x.onnx", "second run for vocals")
    refused([tmp_path], tmp_path / "x.onnx", "holds no run")
    refused([runs["vocals"]], tmp_path / "x.tflite", "name the artifact .onnx", UsageError)


def copy_run(run, folder):
    folder.mkdir()
    for name in ("run.json", "best.weights.h5"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


def test_runs_that_disagree(runs, tmp_path):
    other = copy_run(runs["drums"], tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    record["recipe"]["spectrogram"]["rate"] = 48000
    (other / "run.json").write_text(json.dumps(record))
    (tmp_path / "out").mkdir()
    refused([runs["vocals"], other], tmp_path / "out" / "x.onnx", "another spectrogram")


@pytest.mark.parametrize("name", ["run.json", "best.weights.h5"])
def test_damaged_runs(runs, tmp_path, name):
    run = copy_run(runs["drums"], tmp_path / "run")
    (run / name).write_bytes((run / name).read_bytes()[:300])
    (tmp_path / "out").mkdir()
    refused([run], tmp_path / "out" / "x.onnx", "damaged")


def test_a_graph_that_differs_is_not_written(runs, tmp_path, monkeypatch):
    def wrong(networks, spectrogram):
        for model in networks:
            model.set_weights([weight * 1.001 for weight in model.get_weights()])
        return honest(networks, spectrogram)

    honest = packing.to_onnx
    monkeypatch.setattr(packing, "to_onnx", wrong)
    refused([runs["vocals"]], tmp_path / "x.onnx", "differs from Keras")


def test_an_earlier_artifact_survives_a_refusal(copied, runs, monkeypatch):
    before = copied.read_bytes()
    monkeypatch.setattr(verify, "TOLERANCE", -1.0)
    with pytest.raises(KerasepError, match="differs"):
        pack([runs["vocals"]], copied, licence="tests")
    assert copied.read_bytes() == before
    Artifact(copied)


def test_unwritable(runs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KerasepError, match="cannot be written"):
        pack([runs["vocals"]], tmp_path / "file" / "x.onnx", licence="tests")


def test_the_thesis_network_needs_its_fifteen_frames(tmp_path):
    """`valid` padding in a graph: 15 frames in, 15 out, and context at both ends of a longer stretch."""
    from kerasep.models import build
    from kerasep.signal.spectrogram import Spectrogram

    keras.utils.set_random_seed(0)
    spectrogram = Spectrogram(fft=256, hop=64)
    model = build("conv", spectrogram, {"vertical": 4, "horizontal": 3, "hidden": 5}, ("bass",))
    path = tmp_path / "valid.onnx"
    onnx.save(to_onnx([model], spectrogram), path)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for frames in (15, 16, 90):
        x = np.random.default_rng(0).exponential(size=(2, frames, 129, 2)).astype(np.float32)
        (y,) = session.run(["bass"], {"mixture": x})
        expected = np.asarray(model(x)["bass"])
        assert y.shape == x.shape
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_files_are_verified_against_is_computed_on_the_cpu():
    """A GPU would round products to ten bits: every operator, and so every variable, has its place, whatever is around it."""
    with tf.device("GPU:0"):  # which TensorFlow does without where there is none
        frozen = freeze([networks.run("openunmix")], "x")
        mixture = np.ones((1, 20, 129, 2), np.float32)
        frozen.run(mixture)
        (function,) = frozen._functions
        graph = function.get_concrete_function(mixture).graph
    bodies = [graph.as_graph_def().node, *(f.node_def for f in graph.as_graph_def().library.function)]
    products = [node for nodes in bodies for node in nodes if node.op in ("MatMul", "BatchMatMulV2", "Conv2D", "Einsum")]
    assert products and {node.device for node in products} == {"/device:CPU:0"}


@pytest.mark.slow
def test_a_visible_gpu_does_not_change_the_graph(tmp_path, monkeypatch):
    """Keras makes CudnnRNN of an LSTM where it sees a GPU; no converter knows that."""
    from kerasep.importers.imported import Imported
    from kerasep.models import build
    from kerasep.signal.spectrogram import Spectrogram
    from kerasep.training.recipe import Recipe

    # Private: where Keras looks for a GPU. Without it the patch below raises.
    rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
    spectrogram = Spectrogram(fft=64, hop=16)
    for bidirectional in (True, False):
        options = {"hidden": 4, "depth": 1, "bidirectional": bidirectional}
        model = build("openunmix", spectrogram, options, ("bass",))
        run = tmp_path / f"run{bidirectional}"
        Imported(model, Recipe("u", "openunmix", options, spectrogram), ("bass",), {}).write_run(run)
        graphs = []
        for gpu in (False, True):
            monkeypatch.setattr(rnn, "_is_gpu_available", lambda gpu=gpu: gpu)
            frozen = packing.freeze([run], "u")
            graphs.append(packing.to_onnx(frozen.lean, spectrogram).SerializeToString())
        assert graphs[0] == graphs[1]
