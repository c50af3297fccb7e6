"""TFLite graphs in fewer bits: weights that are expanded when a file is opened, and products on int8 where that does no harm.

As in `export.onnx.int8`, weights are int8 with a scale for each output or each input of a layer, whichever changes it less, and
activations are int8 only in layers that were measured to tolerate it. DEQUANTIZE expands weights, which XNNPACK does once, when
a file is opened. With `int8-dynamic` the runtime finds each frame's range; `int8` has ranges from music.

Why not `ai-edge-quantizer` (0.10): weights get scales by output only; its float16 leaves BATCH_MATMUL, the grouped products of
`bands`, in float32; LiteRT 2.3 does not open what its dynamic recipe makes of a BATCH_MATMUL whose first input is constant; and
which layers tolerate int8 activations would still be for us to measure.
"""

import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from export.onnx.int8 import SMALL, chosen, rounded
from export.tflite.graph import cleared, copied, kind, new_buffer, new_operator, new_tensor, numbers, to_bytes

Kinds = schema.BuiltinOperator
Types = schema.TensorType
THREADS = os.cpu_count() or 1
WEIGHTS = 1  # which of a product's inputs they are
OF = {"FULLY_CONNECTED": 0, "BATCH_MATMUL": 0, "CONV_2D": 0, "TRANSPOSE_CONV": 2}  # products, and which input is multiplied
# Axes of their weights: outputs, inputs, and, of products of groups, groups.
AXES = {"FULLY_CONNECTED": (0, 1), "BATCH_MATMUL": (2, 1, 0), "CONV_2D": (0, 3), "TRANSPOSE_CONV": (0, 3)}
OUTPUTS = 0  # of those whose activations can be int8


class Product(NamedTuple):
    """An operator with weights.

    Attributes:
        graph, operator: where it is.
        kind: of `OF`.
        layer: its name, the same for all targets.
    """

    graph: schema.SubGraphT
    operator: schema.OperatorT
    kind: str
    layer: str


def products(model: schema.ModelT, targets: Sequence[str]) -> list[Product]:
    """All operators whose weights are worth rounding, in order."""
    found: list[Product] = []
    counts: dict[str, int] = {}
    for graph in model.subgraphs:
        known: dict[int, str] = {}  # by weights: an iteration of a loop uses them for each of its frames
        for operator in graph.operators:
            name = kind(model, operator)
            if name not in OF:
                continue
            tensor = graph.tensors[operator.inputs[WEIGHTS]]
            values = model.buffers[tensor.buffer].data
            if tensor.type != Types.FLOAT32 or values is None or len(values) < 4 * SMALL:
                continue
            weights = operator.inputs[WEIGHTS]
            if weights not in known:
                path = f"{graph.name.decode()}/{graph.tensors[operator.outputs[0]].name.decode()}"
                target = next((target for target in targets if f"/{target}" in path), "")
                counts[target] = counts.get(target, counts.get("", 0)) + 1  # behind those that targets share
                known[weights] = f"{name.lower()}{counts[target]}"
            found.append(Product(graph, operator, name, known[weights]))
    return found


def to_half_tflite(model: schema.ModelT, targets: Sequence[str]) -> schema.ModelT:
    """A float32 graph with float16 weights. It computes in float32, or, where a delegate chooses to, in float16."""
    model = copied(model)
    for product in products(model, targets):
        values = _weights(model, product)
        _expanded(model, product, values.astype(np.float16), Types.FLOAT16)
    return cleared(model)


def to_int8_tflite(
    model: schema.ModelT, targets: Sequence[str], clips: Sequence[np.ndarray], dynamic: bool = False
) -> tuple[schema.ModelT, list[str]]:
    """A float32 graph with int8 weights, and int8 activations in the layers that tolerate them.

    Args:
        model: the graph.
        targets: its outputs.
        clips: magnitudes of real mixtures as the graph takes them, float32 (batch, frames, bins, channels).
        dynamic: let the runtime find activations' ranges, rather than take them from the clips.

    Returns:
        The graph, and the layers whose activations are int8.
    """
    ranges = _ranges(model, clips)
    found = products(model, targets)
    axes = [_axis(model, product, ranges) for product in found]
    reference = _estimates(_rounded(model, targets, axes, ranges, [], dynamic), clips)
    able = [p for p in found if p.kind in ("FULLY_CONNECTED", "CONV_2D") and (dynamic or p.graph is model.subgraphs[0])]

    def quantised(layers: Sequence[str]) -> schema.ModelT:
        return _rounded(model, targets, axes, ranges, layers, dynamic)

    candidates = list(dict.fromkeys(product.layer for product in able))
    layers = chosen(candidates, reference, lambda layers: _estimates(quantised(layers), clips))
    return quantised(layers), layers


class Ranges(NamedTuple):
    """What the tensors of the main graph were on music.

    Attributes:
        low, high: by tensor.
        energy: of each of the last axis' channels, by tensor.
    """

    low: dict[int, float]
    high: dict[int, float]
    energy: dict[int, np.ndarray]


def _ranges(model: schema.ModelT, clips: Sequence[np.ndarray]) -> Ranges:
    ranges = Ranges({}, {}, {})
    watched = {
        number
        for product in products(model, [])
        if product.graph is model.subgraphs[0]
        for number in (product.operator.inputs[OF[product.kind]], product.operator.outputs[0])
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes more memory so: yes
        interpreter = Interpreter(model_content=to_bytes(model), num_threads=THREADS, experimental_preserve_all_tensors=True)
    for clip in clips:
        _fed(interpreter, clip)
        for number in watched:
            values = interpreter.get_tensor(number)
            ranges.low[number] = min(ranges.low.get(number, 0.0), float(values.min()))
            ranges.high[number] = max(ranges.high.get(number, 0.0), float(values.max()))
            energy = np.sum(np.square(values, dtype=np.float64), axis=tuple(range(values.ndim - 1)))
            ranges.energy[number] = ranges.energy.get(number, 0) + energy
    return ranges


def _fed(interpreter: Interpreter, clip: np.ndarray) -> None:
    (given,) = interpreter.get_input_details()
    if list(given["shape"]) != list(clip.shape):
        interpreter.resize_tensor_input(given["index"], clip.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], clip)
    interpreter.invoke()


def _estimates(model: schema.ModelT, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All targets' estimates for all clips."""
    interpreter = Interpreter(model_content=to_bytes(model), num_threads=THREADS)
    estimates = []
    for clip in clips:
        _fed(interpreter, clip)
        estimates += [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
    return estimates


def _axis(model: schema.ModelT, product: Product, ranges: Ranges) -> int:
    """Along which axis of the weights scales change the product the least, given how large its inputs are."""
    weights = _weights(model, product)
    shape = [1] * weights.ndim
    shape[AXES[product.kind][1]] = -1
    energy = ranges.energy.get(product.operator.inputs[OF[product.kind]]) if product.graph is model.subgraphs[0] else None
    errors = {}
    for axis in AXES[product.kind]:
        integers, scales = rounded(weights, [axis])
        change = np.square(integers * scales - weights)
        errors[axis] = float(np.sum(change if energy is None else change * energy.reshape(shape)))
    return min(errors, key=lambda axis: errors[axis])


def _rounded(
    model: schema.ModelT, targets: Sequence[str], axes: Sequence[int], ranges: Ranges, layers: Sequence[str], dynamic: bool
) -> schema.ModelT:
    """With int8 weights, and int8 activations in these layers."""
    model = copied(model)
    for product, axis in zip(products(model, targets), axes, strict=True):
        weights = _weights(model, product)
        if product.layer not in layers:
            integers, scales = rounded(weights, [axis])
            _expanded(model, product, integers, Types.INT8, _quantization(scales, axis=axis))
            continue
        integers, scales = rounded(weights, [OUTPUTS], 1e-32 if dynamic else _least(model, product, ranges))
        _packed(model, product, integers, Types.INT8, _quantization(scales))
        if dynamic:
            if product.kind == "FULLY_CONNECTED":
                product.operator.builtinOptions.asymmetricQuantizeInputs = True
        else:
            _integer_product(model, product, scales, ranges)
    return cleared(model)


def _least(model: schema.ModelT, product: Product, ranges: Ranges) -> np.ndarray:
    """The smallest scales of weights with which biases, in steps of weights times inputs, are numbers of 32 bits."""
    weights, inputs = _weights(model, product), product.operator.inputs
    if len(inputs) < 3 or inputs[2] < 0:
        return np.array(1e-32)
    taken = _affine(ranges, inputs[OF[product.kind]])
    bias = np.abs(numbers(model, product.graph.tensors[inputs[2]]), dtype=np.float64)
    return np.maximum(bias / (2**30 * taken.scale), 1e-32).reshape(-1, *[1] * (weights.ndim - 1))


def _affine(ranges: Ranges, number: int) -> schema.QuantizationParametersT:
    """Of a tensor in int8."""
    low, high = ranges.low[number], ranges.high[number]
    scale = max(high - low, 1e-12) / 255
    return _quantization(np.array(scale), int(np.clip(round(-128 - low / scale), -128, 127)))


def _integer_product(model: schema.ModelT, product: Product, scales: np.ndarray, ranges: Ranges) -> None:
    """QUANTIZE before a product, DEQUANTIZE behind it, and its bias in the scale of their product."""
    graph, operator = product.graph, product.operator
    place, given, result = graph.operators.index(operator), OF[product.kind], operator.outputs[0]
    source = operator.inputs[given]
    taken, made = _affine(ranges, source), _affine(ranges, result)
    quantised, new = new_tensor(graph, graph.tensors[source], "int8", Types.INT8, taken)
    integer, _ = new_tensor(graph, graph.tensors[result], "int8", Types.INT8, made)
    inputs = list(operator.inputs)
    inputs[given] = quantised
    if len(inputs) > 2 and inputs[2] >= 0:
        bias = numbers(model, graph.tensors[inputs[2]])
        steps = taken.scale * scales.reshape(-1)
        inputs[2], _ = new_tensor(graph, graph.tensors[inputs[2]], f"int32/{result}", Types.INT32, _quantization(steps))
        graph.tensors[inputs[2]].buffer = new_buffer(model, np.round(bias / steps).astype(np.int32))
    operator.inputs, operator.outputs = inputs, [integer]
    graph.operators[place : place + 1] = [
        *([new_operator(model, Kinds.QUANTIZE, [source], [quantised])] if new else []),
        operator,
        new_operator(model, Kinds.DEQUANTIZE, [integer], [result]),
    ]


def _weights(model: schema.ModelT, product: Product) -> np.ndarray:
    return numbers(model, product.graph.tensors[product.operator.inputs[WEIGHTS]])


def _packed(model: schema.ModelT, product: Product, values: np.ndarray, kind: int, quantization=None) -> int:
    """Let a product take weights of another type; the same for all that take the same."""
    graph, inputs = product.graph, list(product.operator.inputs)
    axis = 0 if quantization is None else quantization.quantizedDimension
    number, new = new_tensor(graph, graph.tensors[inputs[WEIGHTS]], f"{kind}/{axis}", kind, quantization)
    if new:
        graph.tensors[number].buffer = new_buffer(model, values)
    inputs[WEIGHTS] = number
    product.operator.inputs = inputs
    return number


def _expanded(model: schema.ModelT, product: Product, values: np.ndarray, kind: int, quantization=None) -> None:
    """A product's weights in another type, with DEQUANTIZE between them and it."""
    graph, operator = product.graph, product.operator
    packed = _packed(model, product, values, kind, quantization)
    expanded, new = new_tensor(graph, graph.tensors[packed], "expanded", Types.FLOAT32)
    operator.inputs[WEIGHTS] = expanded
    if new:
        graph.operators.insert(graph.operators.index(operator), new_operator(model, Kinds.DEQUANTIZE, [packed], [expanded]))


def _quantization(scales: np.ndarray, zero: int = 0, axis: int = 0) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.scale = scales.reshape(-1).astype(np.float32)
    parameters.zeroPoint = np.full(scales.size, zero, np.int64)
    parameters.quantizedDimension = axis
    return parameters
