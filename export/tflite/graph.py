"""TFLite graphs as objects to change: new operators, tensors and buffers in them, and the file they make.

The objects are those of `tensorflow.lite.python.schema_py_generated`, made by flatc from TFLite's schema. It is private, but
nothing public writes flatbuffers: TensorFlow's and LiteRT's public interfaces convert and run whole files. A test reads and
writes a file with it, and so notices when it moves or changes.
"""

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


def joined(first: schema.ModelT, second: schema.ModelT, links: Mapping[str, str]) -> schema.ModelT:
    """One graph behind another, which is changed. Of the two, one at most may have loops.

    Args:
        first, second: the graphs.
        links: from the first's outputs to all of the second's inputs. The first's other outputs stay outputs.
    """
    graph, other = first.subgraphs[0], second.subgraphs[0]
    head, tail = first.signatureDefs[0], second.signatureDefs[0]
    made = {entry.name.decode(): entry.tensorIndex for entry in head.outputs}
    taken = {entry.name.decode(): entry.tensorIndex for entry in tail.inputs}
    places = {taken[name]: made[output] for output, name in links.items()}
    for number, tensor in enumerate(other.tensors):
        if number not in places:
            places[number] = len(graph.tensors)
            graph.tensors.append(tensor)
    for operator in other.operators:
        operator.inputs = [places.get(number, number) for number in operator.inputs]  # -1: none
        operator.outputs = [places[number] for number in operator.outputs]
    codes = [_code(first, code) for code in second.operatorCodes]
    for part in second.subgraphs:
        for operator in part.operators:
            operator.opcodeIndex = codes[operator.opcodeIndex]
        for tensor in part.tensors:
            tensor.buffer += len(first.buffers) if tensor.buffer else 0
    first.buffers += second.buffers
    graph.operators += other.operators
    first.subgraphs += second.subgraphs[1:]
    for entry in tail.outputs:
        entry.tensorIndex = places[entry.tensorIndex]
    head.outputs = [entry for entry in head.outputs if entry.name.decode() not in links] + tail.outputs
    graph.outputs = [entry.tensorIndex for entry in head.outputs]
    return first


def _code(model: schema.ModelT, code: schema.OperatorCodeT) -> int:
    """The place of an operator code, which is added if it is not there."""
    for place, entry in enumerate(model.operatorCodes):
        if vars(entry) == vars(code):
            return place
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
