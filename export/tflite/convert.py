"""Keras networks to TFLite: built-in operators alone, names, and the manifest in the file's metadata."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.tflite.graph import cleared, kind, new_buffer, new_operator, new_tensor, numbers, to_bytes
from export.tflite.lstm import looped
from kerasep.conversion.resize import merged_sizes
from kerasep.conversion.trace import traceable
from kerasep.errors import KerasepError
from kerasep.inference.graphs import INPUT, StepGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.runtime import KEY
from kerasep.inference.seal import sealable
from kerasep.inference.usage import described

SPLITS = 4  # that XNNPACK makes at most
FRAMES = (300, 301)  # to convert for where any number is to be taken
LOOP_FRAMES = 512  # that a file takes whose loops need one number of them, if none was asked for


def to_tflite(networks: Sequence[keras.Model], manifest: Manifest, shape: tuple[int, ...] | None = None) -> schema.ModelT:
    """One float32 graph for several networks, its inputs and outputs named as the manifest has them.

    A converter that is asked for any number of frames writes arithmetic on shapes all over the graph. So what is to take any
    is converted for two numbers of them, and where the two graphs differ, there are the frames.

    Args:
        networks: for inference alone.
        manifest: of the graph.
        shape: of the mixture, where it is not as the manifest has it.

    Raises:
        KerasepError: the two graphs differ in something else.
    """
    batch, given, *rest = shape or manifest.graph.shape
    sizes = [given] if given else FRAMES
    if not isinstance(manifest.graph, StepGraph):  # its LSTMs are cells already
        networks = [looped(network) for network in networks]
    models = [converted(networks, manifest.inputs() | {INPUT: (batch, frames, *rest)}) for frames in sizes]
    models = [cleared(_join(model)) for model in models]
    return models[0] if given else resizable(*models)


def converted(networks: Sequence[keras.Model], shapes: Mapping[str, Sequence[int | None]]) -> schema.ModelT:
    """Networks on the same inputs of these shapes, for these alone."""
    function = traceable(networks, shapes)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)
    names = sorted(name for network in networks for name in network.output)  # as TensorFlow takes a dict apart

    @tf.function(input_signature=function.input_signature, autograph=False)
    def named(*inputs):
        return dict(zip(names, frozen(*inputs), strict=True))

    module = tf.Module()
    module.named = named
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": named.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def _join(model: schema.ModelT) -> schema.ModelT:
    """Narrow products of one input, a target's each, as one and a SPLIT: the input is read once, not once for each.

    It takes a sixth off what the thesis' four networks take. (ONNX Runtime's products gain nothing by it.)
    """
    graph = model.subgraphs[0]
    alike: dict[tuple[Any, ...], list[schema.OperatorT]] = {}
    for operator in graph.operators:
        if kind(model, operator) == "FULLY_CONNECTED" and len(operator.inputs) == 3:
            source, weights, bias = operator.inputs
            shape, options = tuple(graph.tensors[weights].shape), operator.builtinOptions
            constant = bias >= 0 and model.buffers[graph.tensors[weights].buffer].data is not None
            if constant and shape[0] < shape[1]:
                key = (source, shape, options.fusedActivationFunction, options.keepNumDims)
                alike.setdefault(key, []).append(operator)
    for count, operators in enumerate(operators for operators in alike.values() if 1 < len(operators) <= SPLITS):
        first, outputs = operators[0], [operator.outputs[0] for operator in operators]
        for place in (1, 2):
            parts = [graph.tensors[operator.inputs[place]] for operator in operators]
            values = np.concatenate([numbers(model, part) for part in parts])
            parts[0].buffer, parts[0].shape = new_buffer(model, values), values.shape
        whole, _ = new_tensor(graph, graph.tensors[outputs[0]], "whole", schema.TensorType.FLOAT32)
        tensor = graph.tensors[whole]
        tensor.name, tensor.shape = f"joined{count}".encode(), np.array([*tensor.shape[:-1], len(values)], np.int32)
        axis, _ = new_tensor(graph, tensor, "axis", schema.TensorType.INT32)
        graph.tensors[axis].shape, graph.tensors[axis].buffer = [], new_buffer(model, np.array(-1, np.int32))
        split = new_operator(model, schema.BuiltinOperator.SPLIT, [axis, whole], outputs)
        split.builtinOptionsType, split.builtinOptions = schema.BuiltinOptions.SplitOptions, schema.SplitOptionsT()
        split.builtinOptions.numSplits = len(operators)
        first.outputs = [whole]
        graph.operators.insert(graph.operators.index(first) + 1, split)
        for operator in operators[1:]:
            graph.operators.remove(operator)
    return model


def resizable(first: schema.ModelT, second: schema.ModelT) -> schema.ModelT:
    """A graph of any number of frames, from the graphs at two numbers of them, as `kerasep.conversion.resize` has it for ONNX.

    Raises:
        KerasepError: they differ in something that a graph of any size cannot express.
    """
    tensors = list(zip(first.subgraphs[0].tensors, second.subgraphs[0].tensors, strict=True))
    for one, other in tensors:
        if not np.array_equal(one.shape, other.shape):
            one.shapeSignature = np.where(one.shape == other.shape, one.shape, -1)
    reshapes = [operator for operator in first.subgraphs[0].operators if kind(first, operator) == "RESHAPE"]
    targets = {number for operator in reshapes for number in operator.inputs[1:]}
    for number, (one, other) in enumerate(tensors):
        given, changed = (model.buffers[tensor.buffer].data for model, tensor in ((first, one), (second, other)))
        if given is None or np.array_equal(given, changed):
            continue
        sizes = merged_sizes(given.view(np.int32), changed.view(np.int32)) if number in targets else None
        if sizes is None:
            raise KerasepError(f"{one.name.decode()} depends on the number of frames: fix it with --frames")
        first.buffers[one.buffer].data = sizes.astype(np.int32).view(np.uint8)
    for operator in reshapes:
        if operator.builtinOptions is not None:
            operator.builtinOptions.newShape = None  # a second copy of the target, which would have to agree with it
    return first


def save_tflite(model: schema.ModelT, manifest: Manifest, path: Path) -> None:
    """Write a graph with its manifest inside."""
    path.write_bytes(to_bytes(model, {KEY: sealable(described(manifest))}))


def operators(path: Path) -> dict[str, int]:
    """How often a file has each operator; those that are not built in as CUSTOM and their own name."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
    return dict(Counter(kind(model, operator) for graph in model.subgraphs for operator in graph.operators))
