"""Half precision: an ONNX graph with weights and arithmetic in float16, inputs and outputs in float32.

Why not `onnxruntime.transformers.float16` (1.32): on four of five kinds of network it gives the same graph, in nodes that still
have to be sorted. DeepConvSep's masks it breaks: by default 1e-18 becomes 1e-7; with `fragile` as its block list there are 18
casts for our 3, also between blocked nodes, where 1e-18 then vanishes and estimates are NaN.
"""

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LARGEST = float(np.finfo(np.float16).max)


def to_half(model: ModelProto) -> ModelProto:
    """A float32 graph in float16. What `fragile` names stays float32."""
    copy = ModelProto.FromString(model.SerializeToString())
    graph = copy.graph
    kept = set(fragile(model))
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    whole = {tensor.name for tensor in graph.initializer if tensor.name not in constants}
    outputs = {value.name for value in graph.output}
    is_half: dict[str, bool] = {value.name: False for value in graph.input}  # of every tensor that is not constant
    nodes: list[NodeProto] = []
    casts: set[str] = set()  # tensors that there are in their other precision too

    def taken(name: str, half: bool) -> str:
        """The name under which a node finds a tensor in its own precision."""
        if not name or name in whole:
            return name
        if name in constants:
            if half and f"{name}/half" not in casts:
                values = numpy_helper.to_array(constants[name]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(values, f"{name}/half"))
                casts.add(f"{name}/half")
            return f"{name}/half" if half else name
        if is_half[name] == half:
            return name
        other = f"{name}/{'half' if half else 'float'}"
        if other not in casts:
            casts.add(other)
            nodes.append(_cast(name, other, TensorProto.FLOAT16 if half else TensorProto.FLOAT))
        return other

    for node in graph.node:
        half = node.name not in kept
        node.input[:] = [taken(name, half) for name in node.input]
        nodes.append(node)
        for place, name in enumerate(node.output):
            is_half[name] = half
            if half and name in outputs:
                node.output[place] = f"{name}/half"
                nodes.append(_cast(f"{name}/half", name, TensorProto.FLOAT))
                is_half[name] = False
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    return copy


def _cast(name: str, other: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [name], [other], name=f"{name} to {other}", to=kind)


def fragile(model: ModelProto) -> list[str]:
    """Nodes with a constant that float16 does not hold, and all that follow them.

    DeepConvSep's masks are the one case here: 1e-18 keeps them from dividing nothing by nothing, and would itself be nothing.
    """
    unheld = set()
    for tensor in model.graph.initializer:
        values = np.abs(numpy_helper.to_array(tensor)) if tensor.data_type == TensorProto.FLOAT else np.zeros(1)
        if values.max(initial=0) > LARGEST or (values.size == 1 and values > 0 and np.float16(values.item()) == 0):
            unheld.add(tensor.name)
    names = []
    for node in model.graph.node:
        if unheld & set(node.input):
            names.append(node.name)
            unheld |= set(node.output)
    return names


def as_hardware(model: ModelProto) -> ModelProto:
    """A float16 graph as hardware that has float16 runs it: every result rounded to it.

    ONNX Runtime's CPU computes such a graph in float32 throughout, and would hide what overflows or vanishes on a GPU. This
    is a float32 graph of the same nodes, with a cast to float16 and back behind each.
    """
    copy = onnx.shape_inference.infer_shapes(ModelProto.FromString(model.SerializeToString()), strict_mode=True)
    graph = copy.graph
    halves = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast":
            node.attribute[0].i = TensorProto.FLOAT
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in halves:
                node.output[place] = f"{name}/exact"
                nodes.append(_cast(f"{name}/exact", f"{name}/rounded", TensorProto.FLOAT16))
                nodes.append(_cast(f"{name}/rounded", name, TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return copy
