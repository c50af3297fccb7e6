"""Keras networks to one ONNX graph."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import keras
import onnx
import onnx.compose
import tensorflow as tf
import tf2onnx
from onnx import helper

import kerasep
from kerasep.conversion.merge import merged
from kerasep.conversion.resize import BATCHES, FRAMES, resizable
from kerasep.conversion.simplify import simplified
from kerasep.inference.graphs import INPUT
from kerasep.signal.spectrogram import Spectrogram

OPSET = 17  # the newest that ONNX Runtime 1.13 to today, its web build and TensorRT 8.6 all read


def to_onnx(networks: Sequence[keras.Model], spectrogram: Spectrogram, frames: int = 0, batch: int = 0) -> onnx.ModelProto:
    """One graph for several networks on the same input, its outputs named by target.

    Args:
        networks: from mixture to a dict of targets, or from a dict of inputs, for one frame at a time.
        spectrogram: what goes in.
        frames, batch: that the graph is to take, 0 for any; networks that take windows decide on frames themselves.
    """
    return model_of(merged([_traced(part, spectrogram, frames, batch) for network in networks for part in _parts(network)]))


def waveform_to_onnx(network: keras.Model) -> onnx.ModelProto:
    """A network on waveforms as a graph with axes batch, channels, samples at its edge, for one segment.

    Args:
        network: from (batch, samples, channels) to a dict of targets of that shape.
    """
    _, samples, channels = network.input_shape
    mixture = keras.Input((channels, samples), name=INPUT)
    stems = network(keras.ops.transpose(mixture, (0, 2, 1)))
    edge = keras.Model(mixture, {target: keras.ops.transpose(stem, (0, 2, 1)) for target, stem in stems.items()})
    return model_of(traced(edge, {INPUT: (1, channels, samples)}, "network/"))


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A graph as a model of our opset, checked."""
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="kerasep",
        producer_version=kerasep.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _parts(network: keras.Model) -> list[keras.Model]:
    """A network a target, where targets share no weights: converting one at a time takes a fraction of the memory."""
    if isinstance(network.input, dict):
        return [network]
    parts = [keras.Model(network.input, {target: output}) for target, output in network.output.items()]
    return parts if sum(part.count_params() for part in parts) == network.count_params() else [network]


def _traced(network: keras.Model, spectrogram: Spectrogram, frames: int, batch: int) -> onnx.GraphProto:
    """A network's graph. All names in it but those of input and outputs begin with its target's, or the network's."""
    targets = list(network.output)
    prefix = f"{targets[0]}/" if len(targets) == 1 else f"{network.name}-{targets[0]}/"
    if isinstance(network.input, dict):
        return traced(network, {name: tuple(tensor.shape) for name, tensor in network.input.items()}, prefix)
    frames = network.input_shape[1] or frames
    # For a batch of 1 TensorFlow makes of an LSTM what tf2onnx does not know: it is traced for any, and fixed at the end.
    batches = (batch, batch) if batch > 1 else BATCHES
    lengths = (frames, frames) if frames else FRAMES
    sizes = [(*size, spectrogram.bins, spectrogram.channels) for size in zip(batches, lengths, strict=True)]
    graphs = [traced(network, {INPUT: size}, prefix) for size in dict.fromkeys(sizes)]
    graph = graphs[0] if len(graphs) == 1 else resizable(*graphs)
    if batch == 1:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    return graph


def traced(network: keras.Model, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> onnx.GraphProto:
    """A network's graph for inputs of these shapes, simplified; names inside it begin with a prefix."""
    graph = converted(traceable([network], shapes))
    graph = onnx.compose.add_prefix_graph(graph, prefix, rename_inputs=False, rename_outputs=False)
    outputs = {output.name: output for output in graph.output}
    del graph.output[:]
    graph.output.extend(outputs[target] for target in network.output)
    return simplified(graph)


def converted(function: tf.types.experimental.PolymorphicFunction) -> onnx.GraphProto:
    """A TensorFlow function as tf2onnx converts it."""
    with _errors_raised():
        model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    return model.graph


@contextmanager
def _errors_raised() -> Iterator[None]:
    """tf2onnx without its copies of all weights before each of its steps, to go back to on an error: half the time and memory.

    It takes this from the environment alone.
    """
    name = tf2onnx.constants.ENV_TF2ONNX_CATCH_ERRORS
    before = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def traceable(
    networks: Sequence[keras.Model], shapes: Mapping[str, Sequence[int | None]]
) -> tf.types.experimental.PolymorphicFunction:
    """All networks on the same inputs, as a TensorFlow function from inputs of these names and shapes to a dict."""
    signature = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]

    @tf.function(input_signature=signature, autograph=False)
    def function(*inputs):
        given = dict(zip(shapes, inputs, strict=True))
        outputs = {}
        for network in networks:
            wanted = {name: given[name] for name in network.input} if isinstance(network.input, dict) else given[INPUT]
            outputs |= network(wanted, training=False)
        return outputs

    return function
