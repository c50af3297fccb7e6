"""Several ONNX graphs as one, in which nothing equal is stored or computed twice; names that say where a node belongs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from onnx import GraphProto, NodeProto, TensorProto, helper

from kerasep.conversion.graph import ordered


def merged(graphs: Sequence[GraphProto]) -> GraphProto:
    """Graphs side by side as one in which nothing equal is stored or computed twice.

    Inputs of the same name are shared. So are outputs of the same name, which must be equal: a state of the shared input.
    """
    constants: dict[bytes, TensorProto] = {}
    produced: dict[bytes, Sequence[str]] = {}
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
            before = produced.setdefault(_digest(anonymous), list(node.output))
            if before == list(node.output) or kept & set(node.output):
                nodes.append(node)
            else:
                names.update(zip(node.output, before, strict=True))
    nodes = ordered(nodes, outputs)
    inputs = list({value.name: value for graph in graphs for value in graph.input}.values())
    _name(nodes, constants.values(), {value.name for value in (*inputs, *outputs)})
    weights = sorted(constants.values(), key=lambda tensor: tensor.name)
    return helper.make_graph(nodes, "separator", inputs, outputs, weights)


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
