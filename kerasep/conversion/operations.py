"""How much arithmetic an ONNX graph does: multiply-adds of its products, convolutions and recurrences."""

from math import prod

import onnx

from kerasep.signal.spectrogram import Spectrogram

FRAMES = 100  # that graphs of any length are counted for


def per_second(graph: onnx.ModelProto, spectrogram: Spectrogram, window: int = 0, step: int = 0) -> float:
    """Multiply-adds for a second of audio.

    Args:
        graph: its first input (batch, frames, bins, channels).
        spectrogram: what goes in.
        window, step: of a graph that takes one number of frames, see `kerasep.inference.manifest.Manifest`.
    """
    return round(count(graph, window or FRAMES) / (step or FRAMES) * spectrogram.rate / spectrogram.hop)


def per_second_of_waveform(graph: onnx.ModelProto, rate: int, stride: int) -> float:
    """Multiply-adds for a second of audio at `rate` of a graph for segments that are `stride` samples apart."""
    return round(count(graph, 0) / stride * rate)


def count(graph: onnx.ModelProto, frames: int) -> int:
    """Multiply-adds of one run on this number of frames, for each item of its batch."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    del fixed.graph.value_info[:]
    batch = fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, (batch, frames), strict=False):
            dimension.dim_value = dimension.dim_value or size
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        shapes[value.name] = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return sum(_multiply_adds(node, shapes) for node in inferred.node) // batch


def _multiply_adds(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    inputs = [shapes.get(name, []) for name in node.input]
    if node.op_type in ("MatMul", "Gemm"):
        inner = inputs[0][-1]
        if any(attribute.name == "transA" and attribute.i for attribute in node.attribute):
            inner = inputs[0][0]
        return prod(shapes[node.output[0]]) * inner
    if node.op_type == "Conv":  # weights: (out, in / groups, *kernel)
        return prod(shapes[node.output[0]]) * prod(inputs[1][1:])
    if node.op_type == "ConvTranspose":  # weights: (in, out / groups, *kernel)
        return prod(inputs[0]) * prod(inputs[1][1:])
    if node.op_type == "LSTM":  # input: (frames, batch, features), weights: (directions, 4 units, features)
        frames, batch, _ = inputs[0]
        return frames * batch * (prod(inputs[1]) + prod(inputs[2]))
    return 0
