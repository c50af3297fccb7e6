"""Multiply-adds counted from graphs, against those counted by hand."""

import keras
from onnx import TensorProto, helper

from kerasep.conversion.operations import count, per_second
from kerasep.conversion.trace import to_onnx
from kerasep.models import build
from kerasep.signal.spectrogram import Spectrogram


def test_conv_and_its_seconds():
    spectrogram = Spectrogram(fft=256, hop=64)
    model = build("conv", spectrogram, {"vertical": 6, "horizontal": 5, "hidden": 8, "padding": "same"}, ("vocals", "bass"))
    graph = to_onnx([model], spectrogram)
    frame = 2 * (129 * 2 * 6 + 15 * 6 * 5 + 5 * 8 + 8 * 5 + 15 * 5 * 6 + 6 * 129 * 2)
    assert count(graph, 40) == 40 * frame
    assert per_second(graph, spectrogram) == round(frame * 44100 / 64)


def test_open_unmix():
    spectrogram = Spectrogram(fft=256, hop=64)
    keras.utils.set_random_seed(0)
    graph = to_onnx([build("openunmix", spectrogram, {"hidden": 8, "depth": 2, "bandwidth": 10000}, ("vocals",))], spectrogram)
    seen = int(10000 * 256 / 44100) + 1
    lstm = 2 * (8 * 16 + 4 * 16)  # two directions of 4 units: input and state, four gates
    assert count(graph, 10) == 10 * (seen * 2 * 8 + 2 * lstm + 16 * 8 + 8 * 129 * 2)


def test_strided_convolutions_there_and_back():
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    weights = [
        helper.make_tensor("down", TensorProto.FLOAT, [7, 3, 5, 5], [0.0] * 525),
        helper.make_tensor("up", TensorProto.FLOAT, [7, 2, 5, 5], [0.0] * 350),
    ]
    nodes = [  # (1, 3, 16, 16) -> (1, 7, 8, 8) -> (1, 2, 19, 19); the count takes the second axis for frames
        helper.make_node("Conv", ["x", "down"], ["h"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("ConvTranspose", ["h", "up"], ["y"], strides=[2, 2]),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", ["b", "f", 16, 16])], [value("y", ["b", "f", 19, 19])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert count(model, 3) == 7 * 8 * 8 * 3 * 25 + 7 * 8 * 8 * 2 * 25
