"""TFLite graphs under change: flatbuffers as objects, new operators, tensors and numbers in them."""

import copy
from collections.abc import Mapping

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """What an operator is."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return f"CUSTOM {code.customCode.decode()}"
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def to_bytes(model: schema.ModelT, metadata: Mapping[str, str] = {}) -> bytes:
    """A file's content, with these metadata in place of the converter's own."""
    buffers, entries = model.buffers, model.metadata
    model.buffers, model.metadata = list(buffers), []
    for name, text in metadata.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        entry.name, entry.buffer = name, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    model.buffers, model.metadata = buffers, entries
    return bytes(builder.Output())


def numbers(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    """Of a float32 constant."""
    return np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), np.float32).reshape(tensor.shape)


def copied(model: schema.ModelT) -> schema.ModelT:
    """A copy that can be changed, but for the numbers in its buffers."""
    return copy.deepcopy(model, {id(buffer): buffer for buffer in model.buffers})


def cleared(model: schema.ModelT) -> schema.ModelT:
    """Without the numbers that nothing takes any more."""
    taken = {
        graph.tensors[number].buffer
        for graph in model.subgraphs
        for operator in graph.operators
        for number in operator.inputs
        if number >= 0
    }
    model.buffers = [buffer if number in taken else schema.BufferT() for number, buffer in enumerate(model.buffers)]
    return model


def new_tensor(graph: schema.SubGraphT, like: schema.TensorT, name: str, kind: int, quantization=None) -> tuple[int, bool]:
    """A tensor of another's shape and name, with this behind it, and whether there was none."""
    full = like.name + f"/{name}".encode()
    for number in range(len(graph.tensors) - 1, -1, -1):
        if graph.tensors[number].name == full:
            return number, False
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.shapeSignature, tensor.hasRank = full, like.shape, like.shapeSignature, like.hasRank
    tensor.type, tensor.buffer, tensor.quantization = kind, 0, quantization
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1, True


def new_buffer(model: schema.ModelT, values: np.ndarray) -> int:
    """A place for numbers."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def new_operator(model: schema.ModelT, code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
    """An operator of `schema.BuiltinOperator`, for a graph's list of them."""
    codes = [max(entry.builtinCode, entry.deprecatedBuiltinCode) for entry in model.operatorCodes]
    if code not in codes:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 5
        model.operatorCodes.append(entry)
        codes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(code), inputs, outputs
    return operator
