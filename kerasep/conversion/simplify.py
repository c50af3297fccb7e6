"""ONNX graphs as a person would have drawn them.

A converter that is asked for any batch and any number of frames writes arithmetic on shapes all over the graph. So networks are
traced for one batch and one number of frames, where it is all plain numbers, and here the numbers become free again, after
what is left of the converter's own ways was taken out:

- Reshape, MatMul, Reshape: a product of more than two dimensions needs neither;
- a convolution over frames that is one of pictures a pixel high;
- an LSTM that is told to start from zeros, which it does, and whose directions are cut apart and put together again;
- the same node twice, for two targets.

All of it leaves a graph that does not have these patterns as it is.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from kerasep.errors import KerasepError

# To trace for where they are to be free: primes that no layer has as its size. TensorFlow computes what it can in advance at
# these sizes: ten times as much takes ten times as long.
BATCH, FRAMES = 29, 1009


class Graph:
    """An ONNX graph under change: nodes in order, constants by name, shapes as inferred when it was read."""

    def __init__(self, graph: GraphProto) -> None:
        self.source = graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.shapes = {name: tuple(tensor.dims) for name, tensor in self.constants.items()}
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            self.shapes[value.name] = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)

    def maker(self, name: str, kind: str) -> NodeProto | None:
        """The node of that kind that makes a tensor."""
        return next((node for node in self.nodes if name in node.output and node.op_type == kind), None)

    def takers(self, name: str) -> list[NodeProto]:
        """All nodes that take a tensor."""
        return [node for node in self.nodes if name in node.input]

    def value(self, name: str) -> list[int]:
        """A constant of whole numbers."""
        return numpy_helper.to_array(self.constants[name]).reshape(-1).tolist()

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant."""
        self.constants[name] = numpy_helper.from_array(values, name)
        self.shapes[name] = values.shape
        return name

    def insert(self, before: NodeProto, kind: str, inputs: Sequence[str], output: str, shape: Sequence[int], **options) -> str:
        """Add a node, and say what shape it gives."""
        self.nodes.insert(self.nodes.index(before), helper.make_node(kind, inputs, [output], name=output, **options))
        self.shapes[output] = tuple(shape)
        return output

    def reshape(self, before: NodeProto, name: str, shape: Sequence[int], output: str) -> str:
        """Add a Reshape, where there is anything to reshape."""
        if self.shapes[name] == tuple(shape):
            return name
        target = self.constant(f"{output}_shape", np.array(shape, np.int64))
        return self.insert(before, "Reshape", [name, target], output, shape)

    def replace(self, old: str, new: str) -> None:
        """Let all that take one tensor take another."""
        for node in self.nodes:
            node.input[:] = [new if name == old else name for name in node.input]

    def finished(self) -> GraphProto:
        """With what nothing takes left out."""
        wanted = {value.name for value in self.source.output}
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        constants = [tensor for name, tensor in self.constants.items() if name in wanted]
        return helper.make_graph(kept[::-1], self.source.name, list(self.source.input), list(self.source.output), constants)


def tidied(graph: GraphProto, batch: int, frames: int) -> GraphProto:
    """A traced graph without a converter's detours, free in what it was not asked to be fixed in.

    Args:
        graph: of opset 17; its tensors' first two dimensions are batch and frames.
        batch, frames: that it is to take, 0 for any: it must then have been traced for `BATCH` or `FRAMES`.

    Raises:
        KerasepError: something in it depends on a free number in a way that has no place in the graph.
    """
    work = Graph(graph)
    _nothings(work)
    _products(work)
    _convolutions(work)
    _recurrences(work)
    work = Graph(work.finished())
    _free(work, [marker for marker, number in ((BATCH, batch), (FRAMES, frames)) if not number])
    tidy = work.finished()
    for value in (*tidy.input, *tidy.output):
        dimensions = value.type.tensor_type.shape.dim
        for dimension, number, name in zip(dimensions, (batch, frames), ("batch", "frames"), strict=False):
            if not number:
                dimension.dim_param = name
    return tidy


def merged(graphs: Sequence[GraphProto]) -> GraphProto:
    """Graphs side by side as one in which nothing equal is stored or computed twice.

    Inputs of the same name are shared. So are outputs of the same name, which must be equal: a state of the shared input.
    """
    constants: dict[bytes, TensorProto] = {}
    made: dict[bytes, Sequence[str]] = {}
    outputs = list({output.name: output for graph in graphs for output in graph.output}.values())
    kept = {output.name for output in outputs}
    nodes = []
    for graph in graphs:
        names: dict[str, str] = {}
        for tensor in graph.initializer:
            anonymous = TensorProto()
            anonymous.CopyFrom(tensor)
            anonymous.name = ""
            names[tensor.name] = constants.setdefault(_digest(anonymous), tensor).name
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            anonymous = NodeProto()
            anonymous.CopyFrom(node)
            anonymous.name = ""
            del anonymous.output[:]
            before = made.setdefault(_digest(anonymous), list(node.output))
            if before == list(node.output) or kept & set(node.output):
                nodes.append(node)
            else:
                names.update(zip(node.output, before, strict=True))
    nodes = _ordered(nodes, outputs)
    inputs = list({value.name: value for graph in graphs for value in graph.input}.values())
    _name(nodes, constants.values(), {value.name for value in (*inputs, *outputs)})
    weights = sorted(constants.values(), key=lambda tensor: tensor.name)
    return helper.make_graph(nodes, "separator", inputs, outputs, weights)


def _ordered(nodes: Sequence[NodeProto], outputs: Sequence[onnx.ValueInfoProto]) -> list[NodeProto]:
    """Nodes as the outputs need them, one output after the other: the same order whatever a converter made of it."""
    makers = {name: node for node in nodes for name in node.output}
    placed: dict[int, NodeProto] = {}
    waiting = [makers[output.name] for output in reversed(outputs)]
    while waiting:
        node = waiting[-1]
        needed = [makers[name] for name in node.input if name in makers and id(makers[name]) not in placed]
        if needed:
            waiting += reversed(needed)
        else:
            placed.setdefault(id(waiting.pop()), node)
    return list(placed.values())


def _name(nodes: Sequence[NodeProto], constants: Iterable[TensorProto], fixed: set[str]) -> None:
    """Short names, the same whenever the graph is: TARGET/conv2 for a node and its output, TARGET/conv2/1 for its constant."""
    counts: Counter[str] = Counter()
    names = {name: name for name in fixed} | {"": ""}
    for node in nodes:
        kind = f"{node.output[0].split('/')[0]}/{node.op_type.lower()}"
        counts[kind] += 1
        node.name = f"{kind}{counts[kind]}"
        for place, name in enumerate(node.input):
            node.input[place] = names.setdefault(name, f"{node.name}/{place}")
        for place, name in enumerate(node.output):
            node.output[place] = names.setdefault(name, f"{node.name}:{place}" if place else node.name)
    for tensor in constants:
        tensor.name = names[tensor.name]


def _digest(message) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()


def _nothings(work: Graph) -> None:
    """Reshapes to the shape that is there."""
    for node in [node for node in work.nodes if node.op_type == "Reshape"]:
        if work.shapes[node.input[0]] == work.shapes[node.output[0]]:
            work.replace(node.output[0], node.input[0])


def _products(work: Graph) -> None:
    """(..., K) -> (N, K) -> product -> (N, M) -> (..., M): the product alone."""
    for node in [node for node in work.nodes if node.op_type == "MatMul" and node.input[1] in work.constants]:
        before = work.maker(node.input[0], "Reshape")
        after = work.takers(node.output[0])
        if before is None or len(after) != 1 or after[0].op_type != "Reshape":
            continue
        inner, width = work.shapes[node.input[1]]
        whole = work.shapes[after[0].output[0]]
        rows, source = work.shapes[before.output[0]], work.shapes[before.input[0]]
        fitting = [shape for shape in (whole[:-1], source[:-1], whole[:2]) if rows == (math.prod(shape), inner)]
        if not fitting or len(whole) < 3:
            continue
        leading, product = fitting[0], node.output[0]
        node.input[0] = work.reshape(node, before.input[0], (*leading, inner), f"{before.output[0]}_rows")
        work.shapes[product] = (*leading, width)
        if work.shapes[product] == whole:
            work.replace(after[0].output[0], product)


def _convolutions(work: Graph) -> None:
    """Unsqueeze, Transpose, Conv with a kernel 1 x n, Squeeze: Transpose and Conv with a kernel of n."""
    for node in [node for node in work.nodes if node.op_type == "Conv"]:
        transpose = work.maker(node.input[0], "Transpose")
        unsqueeze = transpose and work.maker(transpose.input[0], "Unsqueeze")
        squeeze = work.takers(node.output[0])
        kernel = work.shapes[node.input[1]]
        if not transpose or not unsqueeze or len(squeeze) != 1 or squeeze[0].op_type != "Squeeze" or kernel[2] != 1:
            continue
        if work.value(unsqueeze.input[1])[0] not in (1, -3) or work.value(squeeze[0].input[1])[0] not in (2, -2):
            continue
        if helper.get_node_attr_value(transpose, "perm") != [0, 3, 1, 2]:
            continue
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        pads = attributes.get("pads", [0, 0, 0, 0])
        flat = {
            "kernel_shape": [kernel[3]],
            "strides": attributes.get("strides", [1, 1])[1:],
            "dilations": attributes.get("dilations", [1, 1])[1:],
            "pads": [pads[1], pads[3]],
            "group": attributes.get("group", 1),
        }
        weights = numpy_helper.to_array(work.constants[node.input[1]])[:, :, 0]
        inputs = [
            work.insert(
                node,
                "Transpose",
                [unsqueeze.input[0]],
                f"{transpose.output[0]}_flat",
                [work.shapes[unsqueeze.input[0]][axis] for axis in (0, 2, 1)],
                perm=[0, 2, 1],
            ),
            work.constant(f"{node.input[1]}_flat", weights),
            *node.input[2:],
        ]
        output = squeeze[0].output[0]
        work.insert(node, "Conv", inputs, f"{output}_flat", work.shapes[output], **flat)
        work.replace(output, f"{output}_flat")


def _recurrences(work: Graph) -> None:
    """LSTMs without states of zeros to start from; and their directions, side by side in the features, in two nodes."""
    for node in [node for node in work.nodes if node.op_type == "LSTM"]:
        for place in (5, 6):
            state = work.constants.get(node.input[place]) if len(node.input) > place else None
            if state is not None and not numpy_helper.to_array(state).any():
                node.input[place] = ""
        while not node.input[-1]:
            node.input.pop()
        while len(node.output) > 1 and not work.takers(node.output[-1]):
            node.output.pop()
        if work.shapes[node.output[0]][1] == 2:
            _directions(work, node.output[0])


def _directions(work: Graph, hidden: str) -> None:
    """Slice and Squeeze for each direction, Transpose perhaps, and Concat: one Transpose and a Reshape."""
    _, directions, _, units = work.shapes[hidden]
    parts: dict[str, tuple[int, bool]] = {}  # a direction's hidden states: which, and whether the batch comes first
    for cut in work.takers(hidden):
        if cut.op_type != "Slice" or work.value(cut.input[3]) != [1]:
            return
        direction = work.value(cut.input[1])[0]
        for squeeze in work.takers(cut.output[0]):
            parts[squeeze.output[0]] = (direction, False)
            for transpose in work.takers(squeeze.output[0]):
                if transpose.op_type == "Transpose":
                    parts[transpose.output[0]] = (direction, True)
    for node in [node for node in work.nodes if node.op_type == "Concat" and set(node.input) & set(parts)]:
        places = [place for place, name in enumerate(node.input) if name in parts]
        first, second = (parts[node.input[place]] for place in (places[0], places[-1]))
        adjacent = len(places) == 2 and places[1] == places[0] + 1 and (first[0], second[0]) == (0, 1)
        if not adjacent or first[1] != second[1] or helper.get_node_attr_value(node, "axis") not in (-1, 2):
            continue
        order = (2, 0, 1, 3) if first[1] else (0, 2, 1, 3)
        turned = [work.shapes[hidden][axis] for axis in order]
        name = work.insert(node, "Transpose", [hidden], f"{node.output[0]}_turned", turned, perm=order)
        both = work.reshape(node, name, (*turned[:2], directions * units), f"{node.output[0]}_both")
        node.input[:] = [*node.input[: places[0]], both, *node.input[places[1] + 1 :]]
        if len(node.input) == 1:
            work.replace(node.output[0], both)


def _free(work: Graph, markers: Sequence[int]) -> None:
    """Shapes in which the numbers a graph was traced for are free."""
    for node in work.nodes if markers else ():
        whole = [name for name in node.input if name in work.constants and work.constants[name].data_type == TensorProto.INT64]
        if node.op_type == "Reshape":
            given, wanted = work.shapes[node.input[0]], work.shapes[node.output[0]]
            same = [a == b for a, b in zip(given, wanted, strict=False)]
            leading = same.index(False) if False in same else len(same)
            values = [0] * leading + list(wanted[leading:])  # 0: as it comes
            loose = [place for place, number in enumerate(values) if number and any(number % marker == 0 for marker in markers)]
            if len(loose) == 1:
                values[loose[0]] = -1  # whatever it is
            node.input[1] = work.constant(f"{node.output[0]}_shape", np.array(values, np.int64))
            fits = len(loose) < 2
        else:
            fits = not {number for name in whole for number in work.value(name)} & set(markers)
        if not fits:
            raise KerasepError(f"{node.name} depends on the number of frames or the batch: fix both, with --frames and --batch")
