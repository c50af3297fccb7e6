"""Takes a converter's detours out of an ONNX graph, until it reads as if it had been drawn by hand.

- Reshape, MatMul, Reshape: a MatMul takes more than two dimensions as it is.
- A convolution over frames that tf2onnx writes as one over images one pixel high.
- An LSTM with initial states of zeros (ONNX's default), its directions sliced apart and concatenated again.

Shapes must be numbers: `kerasep.conversion.resize` makes them free again. A graph without these patterns stays as it is.
"""

import math

from onnx import GraphProto, helper, numpy_helper

from kerasep.conversion.graph import Graph


def simplified(graph: GraphProto) -> GraphProto:
    """A graph of opset 17 without a converter's detours; it computes the same."""
    work = Graph(graph)
    _drop_identity_reshapes(work)
    _unflatten_products(work)
    _flatten_convolutions(work)
    _tidy_lstms(work)
    return work.finished()


def _drop_identity_reshapes(graph: Graph) -> None:
    """Reshapes to the shape that a tensor has already."""
    for node in [node for node in graph.nodes if node.op_type == "Reshape"]:
        if graph.shapes[node.input[0]] == graph.shapes[node.output[0]]:
            graph.replace(node.output[0], node.input[0])


def _unflatten_products(graph: Graph) -> None:
    """Reshape (..., K) to (N, K), MatMul, Reshape (N, M) to (..., M): the MatMul alone."""
    for node in [node for node in graph.nodes if node.op_type == "MatMul" and node.input[1] in graph.constants]:
        before = graph.producer(node.input[0], "Reshape")
        after = graph.consumers(node.output[0])
        if before is None or len(after) != 1 or after[0].op_type != "Reshape":
            continue
        inner, width = graph.shapes[node.input[1]]
        whole = graph.shapes[after[0].output[0]]
        rows, source = graph.shapes[before.output[0]], graph.shapes[before.input[0]]
        fitting = [shape for shape in (whole[:-1], source[:-1], whole[:2]) if rows == (math.prod(shape), inner)]
        if not fitting or len(whole) < 3:
            continue
        leading, product = fitting[0], node.output[0]
        node.input[0] = graph.reshape(node, before.input[0], (*leading, inner), f"{before.output[0]}_rows")
        graph.shapes[product] = (*leading, width)
        if graph.shapes[product] == whole:
            graph.replace(after[0].output[0], product)


def _flatten_convolutions(graph: Graph) -> None:
    """Unsqueeze, Transpose, Conv with a 1 x n kernel, Squeeze: Transpose and a one-dimensional Conv."""
    for node in [node for node in graph.nodes if node.op_type == "Conv"]:
        transpose = graph.producer(node.input[0], "Transpose")
        unsqueeze = transpose and graph.producer(transpose.input[0], "Unsqueeze")
        squeeze = graph.consumers(node.output[0])
        kernel = graph.shapes[node.input[1]]
        if not transpose or not unsqueeze or len(squeeze) != 1 or squeeze[0].op_type != "Squeeze" or kernel[2] != 1:
            continue
        if graph.integers(unsqueeze.input[1])[0] not in (1, -3) or graph.integers(squeeze[0].input[1])[0] not in (2, -2):
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
        weights = numpy_helper.to_array(graph.constants[node.input[1]])[:, :, 0]
        inputs = [
            graph.insert(
                node,
                "Transpose",
                [unsqueeze.input[0]],
                f"{transpose.output[0]}_flat",
                [graph.shapes[unsqueeze.input[0]][axis] for axis in (0, 2, 1)],
                perm=[0, 2, 1],
            ),
            graph.constant(f"{node.input[1]}_flat", weights),
            *node.input[2:],
        ]
        output = squeeze[0].output[0]
        graph.insert(node, "Conv", inputs, f"{output}_flat", graph.shapes[output], **flat)
        graph.replace(output, f"{output}_flat")


def _tidy_lstms(graph: Graph) -> None:
    """LSTMs without initial states of zeros and unused outputs, their two directions joined in two nodes."""
    for node in [node for node in graph.nodes if node.op_type == "LSTM"]:
        for place in (5, 6):
            state = graph.constants.get(node.input[place]) if len(node.input) > place else None
            if state is not None and not numpy_helper.to_array(state).any():
                node.input[place] = ""
        while not node.input[-1]:
            node.input.pop()
        while len(node.output) > 1 and not graph.consumers(node.output[-1]):
            node.output.pop()
        if graph.shapes[node.output[0]][1] == 2:
            _join_directions(graph, node.output[0])


def _join_directions(graph: Graph, hidden: str) -> None:
    """Slice and Squeeze for each direction, an optional Transpose, and Concat: one Transpose and a Reshape."""
    _, directions, _, units = graph.shapes[hidden]
    parts: dict[str, tuple[int, bool]] = {}  # by tensor: its direction, and whether it is batch-first
    for cut in graph.consumers(hidden):
        if cut.op_type != "Slice" or graph.integers(cut.input[3]) != [1]:
            return
        direction = graph.integers(cut.input[1])[0]
        for squeeze in graph.consumers(cut.output[0]):
            parts[squeeze.output[0]] = (direction, False)
            for transpose in graph.consumers(squeeze.output[0]):
                if transpose.op_type == "Transpose":
                    parts[transpose.output[0]] = (direction, True)
    for node in [node for node in graph.nodes if node.op_type == "Concat" and set(node.input) & set(parts)]:
        places = [place for place, name in enumerate(node.input) if name in parts]
        first, second = (parts[node.input[place]] for place in (places[0], places[-1]))
        adjacent = len(places) == 2 and places[1] == places[0] + 1 and (first[0], second[0]) == (0, 1)
        if not adjacent or first[1] != second[1] or helper.get_node_attr_value(node, "axis") not in (-1, 2):
            continue
        order = (2, 0, 1, 3) if first[1] else (0, 2, 1, 3)
        transposed = [graph.shapes[hidden][axis] for axis in order]
        name = graph.insert(node, "Transpose", [hidden], f"{node.output[0]}_transposed", transposed, perm=order)
        both = graph.reshape(node, name, (*transposed[:2], directions * units), f"{node.output[0]}_both")
        node.input[:] = [*node.input[: places[0]], both, *node.input[places[1] + 1 :]]
        if len(node.input) == 1:
            graph.replace(node.output[0], both)
