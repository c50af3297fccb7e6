"""Hybrid Transformer Demucs: layer by layer and as a whole as the original, with weights of which each says something."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from conftest import agreement
from golden_files import golden, htdemucs_state
from onnx import helper
from signals import clip, noise

from export.tflite.convert import converted
from export.tflite.graph import kind, to_bytes
from kerasep.conversion.trace import OPSET, traced
from kerasep.importers.demucs_arguments import understood
from kerasep.importers.demucs_tensors import Sizes, assign
from kerasep.models.htdemucs import htdemucs
from kerasep.models.hybrid_layers import PIECE, mean
from kerasep.models.spectra import Spectra, Waveforms
from kerasep.signal.spectrogram import window

CASES = ("four", "six")
TINY = Sizes(channels=8, depth=2, bottom=8, transformer=3, heads=2, fft=256)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """What the original gave, and a network with its weights."""
    arrays = golden("htdemucs", f"{request.param}/")
    arguments = understood((), json.loads(str(arrays["arguments"])) | {"segment": 0.1})
    network = htdemucs(arguments.targets, arrays["input"].shape[1], *arguments.sizes)
    assign(network, htdemucs_state(request.param), arguments.sizes)
    return arrays, network


def test_stems_are_the_originals(case):
    arrays, network = case
    stems = network(arrays["input"])
    assert list(stems) == [key.removeprefix("output/") for key in arrays if key.startswith("output/")]
    for target, stem in stems.items():
        assert agreement(arrays[f"output/{target}"], np.asarray(stem)) >= 105


def test_layers_are_the_originals(case):
    arrays, network = case
    names = [layer.name for layer in network.layers]
    last = {kind: max(name for name in names if name.startswith(kind)) for kind in ("encoder", "transformer")}
    if last["encoder"] == "encoder0":  # then the original adds the embedding outside the layer
        last["encoder"], arrays = "frequencies", arrays | {"encoder": arrays["encoder"] + embedding(network)}
    outputs = {
        "encoder": network.get_layer(last["encoder"]).output,
        "time_encoder": network.get_layer(max(name for name in names if name.startswith("time_encoder"))).output[:, 0],
        "transformer": network.get_layer(last["transformer"]).output,
        "time_transformer": network.get_layer(f"time_{last['transformer']}").output,
    }
    for name, values in keras.Model(network.input, outputs)(arrays["input"][:1]).items():
        assert agreement(arrays[name], np.asarray(values)[0]) >= 110, name


def embedding(network) -> np.ndarray:
    return 2 * np.asarray(network.get_layer("frequencies").embedding)[:, None]


def test_every_weight_says_something(case):
    """Else the tests above could not tell a layer that is wrong."""
    arrays, network = case
    apply, random = tf.function(network), np.random.default_rng(0)

    def stems() -> np.ndarray:
        return np.stack([np.asarray(stem) for stem in apply(arrays["input"]).values()])

    before = stems()
    for variable in network.weights:
        values = np.asarray(variable)
        variable.assign(values + random.normal(0, 0.1, values.shape))
        assert agreement(before, stems()) < 70, variable.path
        variable.assign(values)


def test_a_batch_is_its_examples(case):
    arrays, network = case
    both, second = network(arrays["input"]), network(arrays["input"][1:])
    for target, stem in second.items():
        assert agreement(np.asarray(stem)[0], np.asarray(both[target])[1]) >= 110


@pytest.mark.parametrize("samples", [500, 1024, 1025, 1087])
def test_any_length(samples):
    stems = htdemucs(("a", "b", "c"), samples, *TINY)(noise(samples)[None])
    assert {name: stem.shape for name, stem in stems.items()} == dict.fromkeys("abc", (1, samples, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottom": 12}, "12 features do not divide into 2 heads"),
        ({"fft": 64}, "32 bins is too small for 2 layers"),
        ({"fft": 144}, "72 bins is too small for 2 layers"),
        ({"depth": 4}, "128 bins is too small for 4 layers"),
        ({"segment": 90}, "90 samples are too few"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        htdemucs(("a",), **{"segment": 1000} | TINY._asdict() | changes)


def test_a_saved_network_is_the_same(case, tmp_path):
    arrays, network = case
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    for target, stem in network(arrays["input"]).items():
        assert np.array_equal(np.asarray(stem), np.asarray(again(arrays["input"])[target]))


# --- parts ---------------------------------------------------------------------------------------------------------------


def test_spectra_are_transforms_of_frames():
    """Of 4096 samples every 1024, unitary, the middle of the first frame half a hop behind the first sample."""
    samples = 10_000
    x = noise(samples)
    spectra = np.asarray(Spectra(4096, samples)(x[None]))[0]
    assert spectra.shape == (2048, 10, 4)
    padded = np.pad(x, ((1536, 1536 + 10 * 1024 - samples), (0, 0)), "reflect").astype(np.float64)
    for frame in range(10):
        seen = padded[frame * 1024 :][:4096] * window("hann", 4096)[:, None]
        expected = np.fft.rfft(seen, axis=0)[:-1] / 64
        assert agreement(expected.real, spectra[:, frame, ::2]) >= 120
        assert agreement(expected.imag, spectra[:, frame, 1::2]) >= 120


@pytest.mark.parametrize("samples", [4096, 4097, 5119])
def test_waveforms_come_back(samples):
    """All but what is at half the rate, which sines of the lower half do not have."""
    x = np.sin(np.outer(np.arange(samples), [0.01, 0.2]) + 1).astype(np.float32)
    inner = slice(1024, samples - 2048)  # frames that would hold the rest are left out
    again = np.asarray(Waveforms(1024, samples)(Spectra(1024, samples)(x[None])))[0]
    assert again.shape == x.shape and agreement(x[inner], again[inner]) >= 110


@pytest.mark.parametrize("size", [PIECE, PIECE + 1, 3 * PIECE + 7])
def test_means_of_long_axes(size):
    x = np.random.default_rng(0).normal(3, 1, size=(2, 3, size, 4)).astype(np.float32)
    expected = x.mean((2, 3), keepdims=True, dtype=np.float64)
    assert np.allclose(np.asarray(mean(keras.ops.convert_to_tensor(x), 2)), expected, rtol=1e-6)


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_onnx_has_built_in_operators_alone(case):
    arrays, network = case
    x = arrays["input"][:1]
    graph = traced(network, {"mixture": x.shape}, "htdemucs/")
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]))
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in graph.node} == {""}
    assert not {"STFT", "DFT", "Gather", "Shape", "Loop", "If"} & {node.op_type for node in graph.node}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["mixture"]
    stems = dict(zip([value.name for value in session.get_outputs()], session.run(None, {"mixture": x}), strict=True))
    for target, stem in network(x).items():
        assert agreement(np.asarray(stem), stems[target]) >= 105


@pytest.mark.slow
def test_tflite_has_built_in_operators_alone(case):
    arrays, network = case
    x = arrays["input"][:1]
    lite = converted([network], {"mixture": x.shape})
    kinds = {kind(lite, operator) for operator in lite.subgraphs[0].operators}
    assert "GELU" in kinds and "CUSTOM" not in kinds
    stems = Interpreter(model_content=to_bytes(lite)).get_signature_runner()(mixture=x)
    for target, stem in network(x).items():
        assert agreement(np.asarray(stem), stems[target]) >= 105


# --- at full size --------------------------------------------------------------------------------------------------------

FULL = {
    "four": ({"sources": ["drums", "bass", "other", "vocals"], "bottom_channels": 512}, 41_984_456),
    "six": ({"sources": ["drums", "bass", "other", "vocals", "guitar", "piano"]}, 27_414_996),
}


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_published_sizes_beside_the_original(name, mixture):
    """Two seconds of music through the original and ours."""
    pytest.importorskip("demucs.htdemucs")
    import torch
    from torch_references import random_htdemucs

    arguments, parameters = FULL[name]
    arguments |= {"dconv_mode": 3, "segment": 7.8, "use_train_segment": False}
    original = random_htdemucs(arguments, seed=1)
    known = understood((), arguments)
    x = mixture[44100:][:88211]
    network = htdemucs(known.targets, len(x), *known.sizes)
    assert network.count_params() == parameters == sum(values.numel() for values in original.state_dict().values())
    assign(network, {key: values.numpy() for key, values in original.state_dict().items()}, known.sizes)
    with torch.no_grad():
        expected = original(torch.from_numpy(x.T[None]))[0].transpose(1, 2).numpy()
    for number, (target, stem) in enumerate(network(x[None]).items()):
        assert target == arguments["sources"][number]
        assert agreement(expected[number], np.asarray(stem)[0]) >= 100


def test_published_sizes_have_as_many_parameters():
    for arguments, parameters in FULL.values():
        known = understood((), arguments | {"dconv_mode": 3})
        assert htdemucs(known.targets, clip(44100, 1, 2, 0).shape[0], *known.sizes).count_params() == parameters
