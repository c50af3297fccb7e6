"""An ONNX graph as something to rewrite: nodes, constants and shapes by name."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper


class Graph:
    """An ONNX graph under change.

    Attributes:
        nodes: in topological order.
        constants: initializers by name.
        shapes: of every tensor, as inferred when the graph was read; what changes a tensor keeps its shape up to date.

    Raises:
        onnx.shape_inference.InferenceError: shapes do not fit together.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.source = graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.shapes = {name: tuple(tensor.dims) for name, tensor in self.constants.items()}
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            self.shapes[value.name] = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)

    def producer(self, name: str, kind: str) -> NodeProto | None:
        """The node of that kind whose output a tensor is, or None."""
        return next((node for node in self.nodes if name in node.output and node.op_type == kind), None)

    def consumers(self, name: str) -> list[NodeProto]:
        """All nodes that read a tensor."""
        return [node for node in self.nodes if name in node.input]

    def integers(self, name: str) -> list[int]:
        """The values of an integer constant, flat."""
        return numpy_helper.to_array(self.constants[name]).reshape(-1).tolist()

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant."""
        self.constants[name] = numpy_helper.from_array(values, name)
        self.shapes[name] = values.shape
        return name

    def insert(self, before: NodeProto, kind: str, inputs: Sequence[str], output: str, shape: Sequence[int], **options) -> str:
        """Add a node whose output has this shape."""
        self.nodes.insert(self.nodes.index(before), helper.make_node(kind, inputs, [output], name=output, **options))
        self.shapes[output] = tuple(shape)
        return output

    def reshape(self, before: NodeProto, name: str, shape: Sequence[int], output: str) -> str:
        """Add a Reshape, unless the tensor has that shape already."""
        if self.shapes[name] == tuple(shape):
            return name
        target = self.constant(f"{output}_shape", np.array(shape, np.int64))
        return self.insert(before, "Reshape", [name, target], output, shape)

    def replace(self, old: str, new: str) -> None:
        """Let all consumers of one tensor read another."""
        for node in self.nodes:
            node.input[:] = [new if name == old else name for name in node.input]

    def finished(self) -> GraphProto:
        """The graph, without nodes and constants that no output needs."""
        wanted = {value.name for value in self.source.output}
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        constants = [tensor for name, tensor in self.constants.items() if name in wanted]
        return helper.make_graph(kept[::-1], self.source.name, list(self.source.input), list(self.source.output), constants)


def ordered(nodes: Sequence[NodeProto], outputs: Sequence[onnx.ValueInfoProto]) -> list[NodeProto]:
    """Nodes in the order in which a walk back from each output meets them: equal graphs give equal orders."""
    producers = {name: node for node in nodes for name in node.output}
    placed: dict[int, NodeProto] = {}
    waiting = [producers[output.name] for output in reversed(outputs)]
    while waiting:
        node = waiting[-1]
        needed = [producers[name] for name in node.input if name in producers and id(producers[name]) not in placed]
        if needed:
            waiting += reversed(needed)
        else:
            placed.setdefault(id(waiting.pop()), node)
    return list(placed.values())
