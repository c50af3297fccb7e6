"""Eight bits: weights as int8 with a scale for each channel, and activations too where that does not hurt.

Which activations can be int8 is measured, layer by layer, on real music: magnitudes span five decades, and the first layer of
every network here would lose the quiet ones. There, and in every LSTM, weights alone are int8: Cast and Mul expand them, which
a runtime does once, when it opens the file. (DequantizeLinear would say the same; behind int8 activations ONNX Runtime 1.32
takes one with scales along the inputs for one with scales along the outputs.)
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from tqdm import tqdm

from export.options import Precision
from kerasep.inference.graphs import INPUT
from kerasep.inference.ort import onnxruntime
from kerasep.signal.levels import agreement_db

# Products, and along which axes of their weights there can be a scale each: inputs' or outputs'.
AXES = {"MatMul": (-2, -1), "Gemm": (0, 1), "Conv": (0, 1), "ConvTranspose": (0, 1), "LSTM": (1, 2)}
DYNAMIC = ("MatMul", "Gemm")  # products that ONNX Runtime has for activations whose range is found at run time
STATIC = ("MatMul", "Gemm", "Conv", "ConvTranspose")
SMALL = 256  # weights fewer than these stay as they are
TENSORRT = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "AddQDQPairToWeight": True}
ALONE, TOGETHER = 35.0, 30.0  # dB by which int8 activations' error must lie below the estimates, of one layer and of all


def to_int8(
    model: ModelProto, clips: Sequence[np.ndarray], precision: Precision = Precision.INT8
) -> tuple[ModelProto, list[str]]:
    """A float32 graph with int8 weights, and int8 activations in the layers that tolerate them.

    Args:
        model: the graph.
        clips: magnitudes of real mixtures as the graph takes them, float32 (batch, frames, bins, channels).
        precision: INT8 finds activations' ranges on the clips (Q and DQ nodes), INT8_DYNAMIC at run time (`MatMulInteger`).
            INT8_TENSORRT is as INT8, but zero is 0 everywhere, and weights of layers in float32 stay float32.

    Returns:
        The graph, and the layers whose activations are int8: names of nodes without their targets.
    """
    tensorrt = precision is Precision.INT8_TENSORRT
    axes = {} if tensorrt else _axes(model, clips)

    def stored(model: ModelProto) -> ModelProto:
        return model if tensorrt else _weights(model, axes)

    reference = _estimates(stored(model), clips)
    kinds = DYNAMIC if precision is Precision.INT8_DYNAMIC else STATIC
    dimensions = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    candidates = [
        node
        for node in _products(model)
        if node.op_type in kinds and not _of_groups(node, dimensions.get(node.input[1], 0))  # which have no form in integers
    ]
    layers = list(dict.fromkeys(_layer(node) for node in candidates))

    def quantised(chosen: Sequence[str]) -> ModelProto:
        nodes = [node.name for node in candidates if _layer(node) in chosen]
        return stored(_activations(model, clips, nodes, precision) if nodes else model)

    tolerant = chosen(layers, reference, lambda chosen: _estimates(quantised(chosen), clips))
    return quantised(tolerant), tolerant


def chosen(
    layers: Sequence[str], reference: Sequence[np.ndarray], estimates: Callable[[Sequence[str]], Sequence[np.ndarray]]
) -> list[str]:
    """Layers whose activations can be int8.

    Args:
        layers: to choose from.
        reference: estimates without int8 activations.
        estimates: gives the estimates with int8 activations in some layers.
    """

    def agreement(some: Sequence[str]) -> float:
        return agreement_db(zip(estimates(some), reference, strict=True))

    alone = {layer: agreement([layer]) for layer in tqdm(layers, desc="layers in int8", leave=False, disable=None)}
    tolerant = sorted((layer for layer in layers if alone[layer] >= ALONE), key=lambda layer: -alone[layer])
    while tolerant and agreement(tolerant) < TOGETHER:
        tolerant.pop()
    return [layer for layer in layers if layer in tolerant]


class _Clips:
    """Clips, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, clips: Sequence[np.ndarray]) -> None:
        self.clips: Iterator[np.ndarray] = iter(clips)

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip = next(self.clips, None)
        return None if clip is None else {INPUT: clip}


def _activations(model: ModelProto, clips: Sequence[np.ndarray], nodes: list[str], precision: Precision) -> ModelProto:
    """With the activations and weights of these nodes in eight bits.

    Activations are unsigned: on x86 that is both the fastest way and, by 2 to 5 dB, the closest one. Their weights have 7
    bits: x86 without VNNI adds two products in 16 bits, which 2 x 255 x 64 fits into, and with 127 stays at the edge.

    TensorRT takes signed integers alone, whose zero is 0, and biases as they are; a pair of Q and DQ stands before its weights,
    which have 7 bits as well: so the file can be checked on any CPU.
    """
    tensorrt = precision is Precision.INT8_TENSORRT
    quantiser = onnxruntime("onnxruntime.quantization")
    signed, unsigned = quantiser.QuantType.QInt8, quantiser.QuantType.QUInt8
    weights = {"per_channel": True, "weight_type": signed, "reduce_range": True}
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        source, output = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        logging.disable(logging.WARNING)  # it advises to simplify the graph first, which `kerasep.conversion.simplify` has done
        try:
            if precision is Precision.INT8_DYNAMIC:
                quantiser.quantize_dynamic(source, output, nodes_to_quantize=nodes, **weights)
            else:
                quantiser.quantize_static(
                    source,
                    output,
                    _Clips(clips),
                    quant_format=quantiser.QuantFormat.QDQ,
                    nodes_to_quantize=nodes,
                    activation_type=signed if tensorrt else unsigned,
                    extra_options=TENSORRT if tensorrt else {},
                    **weights,
                )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(output)


def _weights(model: ModelProto, axes: dict[str, int]) -> ModelProto:
    """With all products' weights that are float32 as int8, and nodes that expand them.

    Args:
        axes: by the weights' name, along which axis there is a scale each.
    """
    copy = ModelProto.FromString(model.SerializeToString())
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    expanded: dict[str, list[NodeProto]] = {}
    for node in _products(copy):
        for place, name in _places(node, constants):
            if name not in expanded:
                weights, axis = numpy_helper.to_array(constants[name]), axes[name]
                integers, scales = rounded(weights, _along(node, weights, axis))
                copy.graph.initializer.append(numpy_helper.from_array(integers, f"{name}/int8"))
                copy.graph.initializer.append(numpy_helper.from_array(scales, f"{name}/scale"))
                expanded[name] = [
                    helper.make_node("Cast", [f"{name}/int8"], [f"{name}/float"], to=onnx.TensorProto.FLOAT),
                    helper.make_node("Mul", [f"{name}/float", f"{name}/scale"], [f"{name}/expanded"]),
                ]
            node.input[place] = f"{name}/expanded"
    nodes = [*(node for pair in expanded.values() for node in pair), *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    consumed = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in copy.graph.initializer if tensor.name not in consumed]:
        copy.graph.initializer.remove(tensor)
    return copy


def _axes(model: ModelProto, clips: Sequence[np.ndarray]) -> dict[str, int]:
    """For each product's weights the axis whose scales change the product the least, given how large its inputs are.

    Where standardising is part of the first layer, for one, its inputs' weights differ a thousandfold, and so do the inputs.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = _products(model)
    watched = list(dict.fromkeys(node.input[0] for node in products))
    probe = ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in (*probe.graph.input, *probe.graph.output)}
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in watched if name not in known
    )
    energies: dict[str, np.ndarray] = {}
    for clip in clips:
        for name, values in zip(watched, _session(probe).run(watched, {INPUT: clip}), strict=True):
            energies[name] = energies.get(name, 0) + _energy(values, products, name)
    axes = {}
    for node in products:
        for place, name in _places(node, constants):
            weights = numpy_helper.to_array(constants[name])
            inputs = np.ones(1) if node.op_type == "LSTM" and place == 2 else energies[node.input[0]]
            shape = [1] * weights.ndim
            shape[{"MatMul": -2, "Gemm": 0, "Conv": 1, "ConvTranspose": 0, "LSTM": 2}[node.op_type]] = -1
            errors = {}
            for axis in AXES[node.op_type]:
                integers, scales = rounded(weights, _along(node, weights, axis))
                change = integers * scales - weights
                errors[axis] = float(np.sum(np.square(change) * inputs.reshape(shape)))
            axes[name] = min(errors, key=lambda axis: errors[axis])
    return axes


def _energy(values: np.ndarray, products: Sequence[NodeProto], name: str) -> np.ndarray:
    """Of each input channel of the products that take this tensor."""
    convolved = any(node.op_type.startswith("Conv") for node in products if node.input[0] == name)
    channel = 1 if convolved else values.ndim - 1
    return np.sum(np.square(values, dtype=np.float64), axis=tuple(axis for axis in range(values.ndim) if axis != channel))


def rounded(weights: np.ndarray, axes: Sequence[int], least: float | np.ndarray = 1e-32) -> tuple[np.ndarray, np.ndarray]:
    """Weights as int8, and their scales along some axes, of as many dimensions, no smaller than `least`."""
    kept = {axis % weights.ndim for axis in axes}
    largest = np.abs(weights).max(axis=tuple(other for other in range(weights.ndim) if other not in kept), keepdims=True)
    scales = np.maximum(largest / 127, least).astype(np.float32)
    return np.clip(np.round(weights / scales), -127, 127).astype(np.int8), scales


def _along(node: NodeProto, weights: np.ndarray, axis: int) -> tuple[int, ...]:
    """The axes of scales: there is one for each group, too."""
    return (0, axis) if _of_groups(node, weights.ndim) else (axis,)


def _of_groups(node: NodeProto, dimensions: int) -> bool:
    """Whether it is a separate product for each group, given its weights' dimensions. (Convolutions' can have three, too.)"""
    return node.op_type == "MatMul" and dimensions == 3


def _products(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type in AXES]


def _places(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> list[tuple[int, str]]:
    """Where a product has weights worth rounding, and their names."""
    places = (1, 2) if node.op_type == "LSTM" else (1,)
    named = [(place, node.input[place]) for place in places]
    floats = onnx.TensorProto.FLOAT
    return [
        (place, name)
        for place, name in named
        if name in constants and constants[name].data_type == floats and np.prod(constants[name].dims) >= SMALL
    ]


def _layer(node: NodeProto) -> str:
    """A node's name without its target: the same layer of all targets is treated alike."""
    return node.name.split("/")[-1]


def _session(model: ModelProto) -> Any:
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 4
    return onnxruntime().InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _estimates(model: ModelProto, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All targets' estimates for all clips."""
    session = _session(model)
    return [estimate for clip in clips for estimate in session.run(None, {INPUT: clip})]
