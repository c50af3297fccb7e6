"""Graphs of any size out of two graphs of fixed sizes.

A converter that is asked for any batch and any number of frames writes arithmetic on shapes all over the graph. So what is to
take any size is converted at two fixed sizes, where shapes are plain numbers: where the two graphs differ, there is the batch
or the frames. Reshape can say so, with -1; a difference anywhere else (a Slice to the last frame, a mean that was folded into
1 / frames) has no place in a graph of any size, and is an error. TFLite files are made the same way
(`export.tflite.convert.resizable`).

The alternative, one conversion at primes that no layer has as a size, takes two thirds of the time (`bands`: 6 s, not 9), but
misses numbers that are computed from a size, and the waveform graphs have nothing but those: samples, hops, hops with padding.
"""

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from kerasep.conversion.graph import Graph, ordered
from kerasep.errors import KerasepError

# To convert at. Primes, so that no size is a layer's by chance, which the rewrites of `simplify` might take for a pattern.
# TensorFlow folds constants at these sizes: ten times as many frames take ten times as long.
BATCHES = (5, 7)
FRAMES = (307, 311)

Shape = tuple[int, ...]


def merged_sizes(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """A shape that two shapes agree on, -1 where they differ; None where a Reshape cannot express it.

    Example:
        >>> merged_sizes(np.array([2, 307, 10]), np.array([2, 311, 10]))
        array([ 2, -1, 10])
        >>> merged_sizes(np.array([5, 307]), np.array([7, 311])) is None
        True
    """
    sizes = np.where(first == second, first, -1)
    return sizes if np.count_nonzero(sizes == -1) <= 1 else None


def resizable(first: GraphProto, second: GraphProto, names: Sequence[str] = ("batch", "frames")) -> GraphProto:
    """A graph of any size, from the same network's graphs at two sizes.

    Args:
        first, second: of opset 17, `simplified`.
        names: of the dimensions of inputs and outputs, for those that are free.

    Raises:
        KerasepError: the graphs differ in something that a graph of any size cannot express.
    """
    graph, other = Graph(first), Graph(second)
    nodes, twins = (ordered(part.nodes, part.source.output) for part in (graph, other))
    if len(nodes) != len(twins):
        raise _dependent(first.name)
    for node, twin in zip(nodes, twins, strict=True):
        if (node.op_type, list(node.attribute), len(node.input)) != (twin.op_type, list(twin.attribute), len(twin.input)):
            raise _dependent(node.name)
        if node.op_type == "Reshape":
            target = _target(_shapes(graph, node), _shapes(other, twin))
            if target is None:
                raise _dependent(node.name)
            node.input[1] = graph.constant(f"{node.output[0]}_shape", target)
        elif not all(
            _equal(graph.constants.get(a), other.constants.get(b)) for a, b in zip(node.input, twin.input, strict=True)
        ):
            raise _dependent(node.name)
    resized = graph.finished()
    for value, twin in zip((*resized.input, *resized.output), (*second.input, *second.output), strict=True):
        dimensions = (part.type.tensor_type.shape.dim for part in (value, twin))
        for size, other_size, name in zip(*dimensions, names, strict=False):
            if size.dim_value != other_size.dim_value:
                size.dim_param = name
    return resized


def _dependent(name: str) -> KerasepError:
    return KerasepError(f"{name} depends on the number of frames or the batch: fix both, with --frames and --batch")


def _shapes(graph: Graph, node: NodeProto) -> tuple[Shape, Shape]:
    """Of a Reshape's input and output."""
    return graph.shapes[node.input[0]], graph.shapes[node.output[0]]


def _equal(constant: TensorProto | None, other: TensorProto | None) -> bool:
    if constant is None or other is None:
        return constant is other
    return constant.dims == other.dims and numpy_helper.to_array(constant).tobytes() == numpy_helper.to_array(other).tobytes()


def _target(first: tuple[Shape, Shape], second: tuple[Shape, Shape]) -> np.ndarray | None:
    """The constant of a Reshape, from its input's and output's shapes at two sizes; None where there is none.

    0 stands for a dimension that stays as it is, -1 for the one that takes whatever is left.
    """
    wanted, other_wanted = first[1], second[1]
    if len(wanted) != len(other_wanted):
        return None
    kept = [a == b and c == d for a, b, c, d in zip(*first, *second, strict=False)]
    leading = kept.index(False) if False in kept else len(kept)
    rest = merged_sizes(np.array(wanted[leading:]), np.array(other_wanted[leading:]))
    return None if rest is None else np.array([0] * leading + [*rest], np.int64)
