"""Half precision: an ONNX graph whose weights and arithmetic are float16, float32 going in and coming out."""

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

LARGEST = float(np.finfo(np.float16).max)


def to_half(model: ModelProto) -> ModelProto:
    """A float32 graph in float16. What `fragile` names stays float32."""
    copy = ModelProto.FromString(model.SerializeToString())  # the converter changes what it is given
    return convert_float_to_float16(copy, keep_io_types=True, node_block_list=fragile(model))


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
                nodes.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return copy
