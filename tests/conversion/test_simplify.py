"""Exported graphs: equal to Keras at any size, drawn as a person would, and what is no detour is left as it is."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kerasep.conversion.merge import merged
from kerasep.conversion.resize import BATCHES, FRAMES, resizable
from kerasep.conversion.simplify import simplified
from kerasep.conversion.trace import to_onnx
from kerasep.errors import KerasepError
from kerasep.models import build, folded, receptive_field_of, stepped
from kerasep.signal.spectrogram import Spectrogram

STEREO = Spectrogram(fft=256, hop=64)
MONO = Spectrogram(channels=1, fft=256, hop=128, window="blackmanharris", padding="zeros")
TARGETS = ("vocals", "drums")
SMALL = {"vertical": 6, "horizontal": 5, "hidden": 8}
NORM = {"standardise": True, "batch_norm": True, "padding": "same"}


class Case(NamedTuple):
    """A small network, and the operators that it is to come down to for both of its targets."""

    network: str
    options: dict[str, Any]
    operators: str
    spectrogram: Spectrogram = STEREO
    counts: dict[str, int] = {}  # noqa: RUF012


CONV = "Reshape MatMul Add Relu Transpose Conv Mul"
UNMIX = "Slice Reshape MatMul Add Tanh Transpose LSTM Concat Relu Mul"
BANDS = "Reshape Mul Slice MatMul Concat Add Pow Transpose Pad LSTM Squeeze Relu Softmax"
UNET = "Slice Transpose Conv ConvTranspose Mul Add Concat Pad"
CASES = {
    "bands": Case(
        "bands",
        {"layout": [[1, 1], [2, 2], [1, 3]], "size": 6, "blocks": 2, "ahead": 3},
        BANDS,
        counts={"LSTM": 2, "Pow": 1, "Softmax": 1, "MatMul": 3 + 2 + 4 * 2 + 3 * 2},
    ),
    "conv": Case("conv", SMALL, f"{CONV} Pad", counts={"MatMul": 8, "Conv": 4, "Mul": 2}),
    "conv-norm": Case("conv", SMALL | NORM, CONV, counts={"MatMul": 8, "Conv": 4, "Mul": 2}),
    "conv-power": Case("conv", SMALL | NORM | {"power": 0.3}, f"{CONV} Pow Sub", counts={"Pow": 1}),
    "openunmix": Case("openunmix", {"hidden": 16, "depth": 2}, UNMIX, counts={"LSTM": 4, "Slice": 1, "MatMul": 6}),
    "openunmix-unidirectional": Case(
        "openunmix",
        {"hidden": 16, "depth": 2, "bidirectional": False},
        f"{UNMIX} Squeeze",  # of the one direction
        counts={"LSTM": 4, "Slice": 1, "Squeeze": 4},
    ),
    "deepconvsep": Case(
        "deepconvsep",
        {"filters": 8, "hidden": 16},
        "Mul Reshape MatMul Add Transpose Conv Gemm Relu Pad Div",
        MONO,
        {"Conv": 3, "Gemm": 3, "Div": 2},
    ),
    "spleeter": Case(
        "spleeter",
        {"bins": 64, "frames": 64, "elu": True, "filters": [2, 3, 4, 5, 6, 7]},
        f"{UNET} Elu Sigmoid",
        counts={"Conv": 14, "ConvTranspose": 12, "Slice": 1},
    ),
    "spleeter-softmax": Case(
        "spleeter",
        {"bins": 64, "frames": 64, "softmax": True, "filters": [2, 3]},
        f"{UNET} LeakyRelu Relu Softmax Unsqueeze Squeeze",  # of the axis that targets are stacked on
        counts={"Softmax": 1},
    ),
}
WINDOWED = {"deepconvsep", "spleeter", "spleeter-softmax"}
SIZES = ((0, 0), (100, 0), (0, 2), (100, 2))  # frames and batch, 0 for any
FEWER = {"conv-power": SIZES[:1], "openunmix-unidirectional": SIZES[::3]}  # others of their kind have them all
SLOW = {*FEWER, "openunmix"}
GRAPHS = [
    pytest.param(name, *size, marks=[pytest.mark.slow] if name in SLOW or (size in SIZES[1:] and name != "conv-norm") else [])
    for name in CASES
    for size in FEWER.get(name, SIZES)
    if not (size[0] and name in WINDOWED)
]
AGAIN = ("conv-norm", pytest.param("openunmix", marks=pytest.mark.slow), "deepconvsep", "spleeter-softmax")


def trained(case: Case, targets: tuple[str, ...] = TARGETS, seed: int = 2) -> keras.Model:
    """A network in which every weight matters: no bias of zeros, no statistics of zeros and ones."""
    keras.utils.set_random_seed(seed)
    model = build(case.network, case.spectrogram, case.options, targets)
    random = np.random.default_rng(seed)
    for variable in model.weights:
        name = variable.path.split("/")[-1]
        if name in ("gamma", "scale", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "bias", "mean", "moving_mean"):
            variable.assign(random.normal(0.2, 0.3, variable.shape))  # mostly positive: else ReLUs leave nothing to compare
    return model


@cache
def network(name: str) -> keras.Model:
    return trained(CASES[name])


@cache
def mixture(name: str, frames: int) -> np.ndarray:
    """Noise with music's slope, for as large a batch as is tried."""
    bins, channels = CASES[name].spectrogram.bins, CASES[name].spectrogram.channels
    noise = np.random.default_rng(frames).rayleigh(size=(3, frames, bins, channels))
    return (noise * 100 / (1 + np.arange(bins))[:, None]).astype(np.float32)


@cache
def expected(name: str, frames: int) -> dict[str, np.ndarray]:
    """Keras' answer, as a graph: an LSTM called as it is takes many times as long."""
    model = network(name)
    compiled = tf.function(lambda given: model(given, training=False))
    return {target: output.numpy() for target, output in compiled(mixture(name, frames)).items()}


@cache
def exported(name: str, frames: int, batch: int) -> ModelProto:
    case = CASES[name]
    return to_onnx([folded(case.network, case.spectrogram, network(name))], case.spectrogram, frames, batch)


def run(model: ModelProto | GraphProto, mixture: np.ndarray) -> dict[str, np.ndarray]:
    if isinstance(model, GraphProto):
        model = helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # sizes that are only names agree with any that are inferred
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"mixture": mixture}), strict=True))


@pytest.mark.parametrize(("name", "frames", "batch"), GRAPHS)
def test_equal_to_keras(name, frames, batch):
    case, graph = CASES[name], exported(name, frames, batch)
    needed = receptive_field_of(case.network, case.options)
    fixed = needed.window or frames
    for value in (*graph.graph.input, *graph.graph.output):
        sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        assert sizes == [batch or "batch", fixed or "frames", case.spectrogram.bins, case.spectrogram.channels]
    for length in [fixed] if fixed else [needed.minimum, 31, 100]:
        for count in [batch] if batch else [1, 3]:
            outputs = run(graph, mixture(name, length)[:count])
            assert set(outputs) == set(TARGETS)
            for target, keras_has in expected(name, length).items():
                assert np.count_nonzero(keras_has) > 0.1 * keras_has.size  # else there would be nothing to compare
                close(outputs[target], keras_has[:count])


def close(output: np.ndarray, keras_has: np.ndarray) -> None:
    """To 1e-5. Biases keep deepconvsep's sums of estimates from zero: near it shares of them would be ill-conditioned."""
    assert output.shape == keras_has.shape
    assert error(output, keras_has) <= 1e-5


def error(output: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(output - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in FEWER else []) for name in CASES])
def test_outputs_are_in_the_order_of_targets(name):
    """`Manifest.targets` says so, and who runs a graph by hand gets them as a list."""
    assert [output.name for output in exported(name, 0, 0).graph.output] == list(TARGETS)


@pytest.mark.parametrize(("name", "frames", "batch"), GRAPHS)
def test_as_a_person_would_have_drawn_it(name, frames, batch):
    model = exported(name, frames, batch)
    counts = Counter(node.op_type for node in model.graph.node)
    assert set(counts) <= set(CASES[name].operators.split())
    assert {kind: counts[kind] for kind in CASES[name].counts} == CASES[name].counts
    assert len({signature(node) for node in model.graph.node}) == len(model.graph.node)
    constants = {(tensor.data_type, tuple(tensor.dims), tensor.raw_data) for tensor in model.graph.initializer}
    assert len(constants) == len(model.graph.initializer)
    shapes = sizes_at(model, batch or 3, frames or CASES[name].options.get("frames", 30))
    for node in model.graph.node:
        assert node.op_type != "Reshape" or shapes[node.input[0]] != shapes[node.output[0]]


def signature(node: NodeProto) -> tuple:
    return (node.op_type, *node.input, *sorted(attribute.SerializeToString() for attribute in node.attribute))


def sizes_at(model: ModelProto, batch: int, frames: int) -> dict[str, list[int]]:
    """Sizes of all tensors, given the two that are free."""
    fixed = ModelProto.FromString(model.SerializeToString())
    for value in (*fixed.graph.input, *fixed.graph.output):
        for size, number in zip(value.type.tensor_type.shape.dim, (batch, frames), strict=False):
            size.dim_value = number
    inferred = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.output, *inferred.value_info)
    }


@cache
def again(name: str) -> ModelProto:
    """The same network once more: Keras and the converter count layers and nodes from the process' start."""
    case = CASES[name]
    return to_onnx([folded(case.network, case.spectrogram, trained(case))], case.spectrogram)


@pytest.mark.parametrize("name", AGAIN)
def test_the_same_network_gives_the_same_graph(name):
    first, second = exported(name, 0, 0).graph, again(name).graph
    assert list(first.node) == list(second.node)
    constants, others = ({tensor.name: tensor for tensor in graph.initializer} for graph in (first, second))
    assert constants == others


@pytest.mark.parametrize("name", AGAIN)
def test_the_same_network_gives_the_same_bytes(name):
    """So that a file's hash says whether it is another one."""
    assert again(name).SerializeToString(deterministic=True) == exported(name, 0, 0).SerializeToString(deterministic=True)


def test_what_targets_have_in_common_is_there_once():
    case = CASES["conv-norm"]
    twins = trained(case)
    twins.get_layer("drums").set_weights(twins.get_layer("vocals").get_weights())
    graph = to_onnx([folded("conv", STEREO, twins)], STEREO)
    assert Counter(node.op_type for node in graph.graph.node)["MatMul"] == 4
    outputs = run(graph, mixture("conv-norm", 40))
    assert np.array_equal(outputs["vocals"], outputs["drums"])
    close(outputs["drums"], np.asarray(twins(mixture("conv-norm", 40))["vocals"]))


@pytest.mark.parametrize(
    "name", ["spleeter-softmax", *(pytest.param(name, marks=pytest.mark.slow) for name in ("conv-norm", "deepconvsep"))]
)
def test_two_runs_of_a_network_in_one_file(name):
    """Of other targets each, also where a run's targets share layers, so that the network lends the graph its name."""
    case = CASES[name]
    networks = [trained(case, ("vocals", "drums"), 2), trained(case, ("bass", "other"), 3)]
    graph = to_onnx([folded(case.network, case.spectrogram, model) for model in networks], case.spectrogram)
    noise = mixture(name, receptive_field_of(case.network, case.options).window or 40)
    outputs = run(graph, noise)
    for model in networks:
        for target, keras_has in model(noise, training=False).items():
            close(outputs[target], np.asarray(keras_has))


def test_step_graphs_of_two_runs_share_the_mixture_that_waits():
    options = SMALL | {"padding": "same"}
    steps = [stepped("conv", STEREO, options, build("conv", STEREO, options, (target,))) for target in TARGETS]
    model = to_onnx(steps, STEREO)
    for names in ([value.name for value in model.graph.input], [value.name for value in model.graph.output]):
        assert len(set(names)) == len(names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {given.name: values(*given.shape) for given in session.get_inputs()}
    outputs = dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))
    assert np.array_equal(outputs["waiting_next"], np.concatenate([feeds["waiting"], feeds["mixture"]], axis=1)[:, 1:])
    for step in steps:
        for name, keras_has in step({name: feeds[name] for name in step.input}).items():
            close(outputs[name], np.asarray(keras_has))


# Graphs made by hand, of any sizes; those that are to take any size are made at two.

SHAPE = (2, 7, 5, 2)
PAIR = list(zip(BATCHES, FRAMES, strict=True))  # batch and frames of a graph that is to take any


def drawn(nodes: list[NodeProto], constants: dict[str, Any], shape: tuple[int, ...] = SHAPE, out=None) -> GraphProto:
    """A graph from `mixture` to `vocals`."""
    for number, node in enumerate(nodes):
        node.name = f"node{number}"
    return helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("mixture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vocals", TensorProto.FLOAT, out or shape)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )


def copy(graph: GraphProto) -> GraphProto:
    return GraphProto.FromString(graph.SerializeToString())


def node(kind: str, inputs: str, output: str, **attributes) -> NodeProto:
    """Inputs are separated by blanks; "-" is one that is left out."""
    return helper.make_node(kind, [name.strip("-") for name in inputs.split()], output.split(), **attributes)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def unchanged(graph: GraphProto, shape: tuple[int, ...] = SHAPE) -> GraphProto:
    """Simplifies a graph of fixed sizes, whose results must stay what they were."""
    mixture = np.abs(values(*shape))
    before = run(graph, mixture)["vocals"]
    tidy = simplified(copy(graph))
    after = run(tidy, mixture)["vocals"]
    assert before.shape == after.shape and np.ptp(before) > 0
    assert error(after, before) <= 1e-6
    return tidy


def kinds(graph: GraphProto) -> list[str]:
    return [node.op_type for node in graph.node]


def resized(draw: Callable[[int, int], GraphProto], sizes: Sequence[tuple[int, int]] = PAIR) -> GraphProto:
    """What becomes of a graph, drawn by batch and frames, that is to take any size."""
    return resizable(*(simplified(draw(*size)) for size in sizes))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", ["Slice", "Expand", "Mul"])
def test_what_depends_on_a_free_number_is_refused(kind, size):
    def draw(batch, frames):
        number = (batch, frames)[size]
        shape = [1, 1, 5, 2]
        shape[size] = number
        nodes = {
            "Slice": [node("Slice", "mixture start end axis", "vocals")],
            "Expand": [
                node("Slice", "mixture starts ends axes", "one"),
                node("Expand", "one shape", "spread"),
                node("Mul", "mixture spread", "vocals"),
            ],
            "Mul": [node("Mul", "mixture share", "vocals")],  # a mean, say
        }[kind]
        constants = {
            "Slice": {"start": whole(0), "end": whole(number), "axis": whole(size)},
            "Expand": {"starts": whole(0, 0), "ends": whole(1, 1), "axes": whole(0, 1), "shape": whole(*shape)},
            "Mul": {"share": np.float32(1 / number)},
        }[kind]
        return drawn(nodes, constants, (batch, frames, 5, 2))

    with pytest.raises(KerasepError, match="depends on the number of frames or the batch: fix both") as caught:
        resized(draw)
    assert "\n" not in str(caught.value)
    fixed = [list(pair) for pair in PAIR]
    fixed[1][size] = fixed[0][size]
    assert kinds(resized(draw, fixed)) == kinds(draw(*PAIR[0]))  # with that number fixed it has a place
    fixed = [list(pair) for pair in PAIR]
    fixed[1][1 - size] = fixed[0][1 - size]
    with pytest.raises(KerasepError, match="fix both"):
        resized(draw, fixed)


def test_reshapes_are_freed_or_refused():
    noise = np.abs(values(3, 11, 5, 2))
    logistic = 1 / (1 + np.exp(-noise))
    nodes = [node("Reshape", "mixture there", "a"), node("Sigmoid", "a", "b"), node("Reshape", "b back", "vocals")]

    def through(shape: Callable[[int, int], tuple[int, ...]]) -> Callable[[int, int], GraphProto]:
        def draw(batch, frames):
            back = (batch, frames, 5, 2)
            return drawn(nodes, {"there": whole(*shape(batch, frames)), "back": whole(*back)}, back)

        return draw

    for shape in (lambda b, f: (b, f, 10), lambda b, f: (b, f * 10), lambda b, f: (b, 5, f, 2)):
        assert error(run(resized(through(shape)), noise)["vocals"], logistic) <= 1e-6
    flat = through(lambda b, f: (b * f * 10,))
    with pytest.raises(KerasepError, match="fix both"):
        resized(flat)  # two free numbers, neither of which is there to be read off
    (batch, frames), (other, _) = PAIR
    assert kinds(resized(flat, [(batch, frames), (other, frames)])) == kinds(
        flat(batch, frames)
    )  # the batch is whatever is left


def test_graphs_that_differ_in_more_than_sizes_are_refused():
    """As a converter makes them that takes other ways for other sizes."""
    first = drawn([node("Sigmoid", "mixture", "vocals")], {})
    longer = drawn([node("Sigmoid", "mixture", "a"), node("Relu", "a", "vocals")], {}, (2, 8, 5, 2))
    other = drawn([node("Relu", "mixture", "vocals")], {}, (2, 8, 5, 2))
    for second in (longer, other):
        with pytest.raises(KerasepError, match="fix both"):
            resizable(first, second)


def test_a_graph_without_detours_stays_as_it_is():
    nodes = [
        node("Transpose", "mixture", "image", perm=[0, 3, 1, 2]),
        node("Conv", "image kernel bias", "features", kernel_shape=[1, 3], pads=[0, 1, 0, 1]),
        node("Relu", "features", "some"),
        node("Slice", "some start end axis step", "low"),
        node("Pad", "low pads", "padded"),
        node("Transpose", "padded", "back", perm=[0, 2, 3, 1]),
        node("MatMul", "back product", "sum"),
        node("Mul", "sum mixture", "vocals"),
    ]
    constants = {"kernel": values(4, 2, 1, 3), "bias": values(4), "product": values(4, 2)}
    constants |= {"start": whole(0), "end": whole(4), "axis": whole(3), "step": whole(1), "pads": whole(0, 0, 0, 0, 0, 0, 0, 1)}
    graph, other = (drawn(nodes, constants, (*size, 5, 2)) for size in PAIR)
    tidy = resizable(simplified(copy(graph)), simplified(other))
    assert list(tidy.node) == list(graph.node) and list(tidy.initializer) == list(graph.initializer)
    assert [size.dim_param or size.dim_value for size in tidy.output[0].type.tensor_type.shape.dim] == ["batch", "frames", 5, 2]
    merge = merged([copy(tidy)])
    assert kinds(merge) == kinds(graph)
    mixture = np.abs(values(3, 11, 5, 2))
    assert np.array_equal(run(merge, mixture)["vocals"], run(tidy, mixture)["vocals"])


def test_products_of_rows():
    nodes = [
        node("Reshape", "mixture rows", "a"),
        node("MatMul", "a weights", "b"),
        node("Reshape", "b shape", "c"),
        node("Mul", "c mixture", "vocals"),
    ]
    constants = {"rows": whole(14, 10), "weights": values(10, 10), "shape": whole(*SHAPE)}
    assert kinds(unchanged(drawn(nodes, constants))) == ["Reshape", "MatMul", "Reshape", "Mul"]  # 10 are not (5, 2)
    constants = {"rows": whole(70, 2), "weights": values(2, 2), "shape": whole(*SHAPE)}
    assert kinds(unchanged(drawn(nodes, constants))) == ["MatMul", "Mul"]  # rows of bins
    nodes = [node("Reshape", "mixture flat", "z"), node("Reshape", "z rows", "a"), *nodes[1:2]]
    nodes += [node("Reshape", "b deep", "c"), node("Relu", "c", "d"), node("Reshape", "d shape", "vocals")]
    constants = {"flat": whole(2, 7, 10), "rows": whole(14, 10), "weights": values(10, 10), "deep": whole(2, 7, 10)}
    graph = drawn(nodes, constants | {"shape": whole(*SHAPE)})
    assert kinds(unchanged(graph)) == ["Reshape", "MatMul", "Relu", "Reshape"]


def test_rows_that_something_else_takes_stay():
    nodes = [
        node("Reshape", "mixture rows", "a"),
        node("MatMul", "a weights", "b"),
        node("Reshape", "b shape", "c"),
        node("Softmax", "b", "over", axis=0),  # over batch and frames: it needs the rows
        node("Reshape", "over shape", "d"),
        node("Add", "c d", "vocals"),
    ]
    constants = {"rows": whole(14, 10), "weights": values(10, 10), "shape": whole(*SHAPE)}
    assert kinds(unchanged(drawn(nodes, constants))) == kinds(drawn(nodes, constants))


@pytest.mark.parametrize("attributes", [{}, {"pads": [0, 1, 0, 2]}, {"dilations": [1, 2], "pads": [0, 2, 0, 2]}, {"group": 2}])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_over_frames(attributes, bias):
    """Of pictures a frame wide and a pixel high, as TensorFlow has them."""
    groups = attributes.get("group", 1)
    taps, pads = 3, attributes.get("pads", [0, 0, 0, 0])
    length = 7 + pads[1] + pads[3] - attributes.get("dilations", [1, 1])[1] * (taps - 1)
    nodes = [
        node("Reshape", "mixture flat", "sequence"),
        node("Unsqueeze", "sequence one", "a"),
        node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Conv", "b kernel bias" if bias else "b kernel", "c", **attributes),
        node("Squeeze", "c two", "d"),
        node("Transpose", "d", "e", perm=[0, 2, 1]),
        node("Reshape", "e shape", "vocals"),
    ]
    constants = {"flat": whole(2, 7, 10), "one": whole(1), "two": whole(2), "shape": whole(2, length, 4, 2)}
    constants |= {"kernel": values(8, 10 // groups, 1, taps)} | ({"bias": values(8)} if bias else {})
    tidy = unchanged(drawn(nodes, constants, out=(2, length, 4, 2)))
    assert kinds(tidy) == ["Reshape", "Transpose", "Conv", "Transpose", "Reshape"]


def test_convolutions_that_only_look_so():
    """A kernel of three along an axis of one, whose frames are pixels on top of each other."""
    nodes = [
        node("Reshape", "mixture flat", "sequence"),
        node("Unsqueeze", "sequence two", "a"),
        node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Conv", "b kernel", "c", pads=[0, 1, 0, 1]),
        node("Squeeze", "c three", "d"),
        node("Transpose", "d", "e", perm=[0, 2, 1]),
        node("Reshape", "e shape", "vocals"),
    ]
    constants = {"flat": whole(2, 7, 10), "two": whole(2), "three": whole(3), "shape": whole(*SHAPE)}
    unchanged(drawn(nodes, constants | {"kernel": values(10, 10, 1, 3)}))


def lstm(directions: int, states: dict[str, np.ndarray], after: list[NodeProto], features: int, **more) -> GraphProto:
    """mixture -> sequence -> LSTM of four units -> `after`, which makes `e` (batch, frames, features) of `hidden`."""
    nodes = [
        node("Reshape", "mixture flat", "a"),
        node("Transpose", "a", "b", perm=[1, 0, 2]),
        node(
            "LSTM",
            f"b w r bias - {'h' if 'h' in states else '-'} {'c' if 'c' in states else '-'}",
            "hidden last cell",
            hidden_size=4,
            direction="bidirectional" if directions == 2 else "forward",
        ),
        *after,
        node("MatMul", "e out", "f"),
        node("Reshape", "f shape", "vocals"),
    ]
    constants = {"flat": whole(2, 7, 10), "shape": whole(*SHAPE), "out": values(features, 10), **states, **more}
    constants |= {"w": values(directions, 16, 10), "r": values(directions, 16, 4), "bias": values(directions, 32)}
    return drawn(nodes, constants)


ONE = [node("Squeeze", "hidden axis", "d"), node("Transpose", "d", "e", perm=[1, 0, 2])]
ZEROS = np.zeros((1, 2, 4), np.float32)


@pytest.mark.parametrize("h", [None, ZEROS, 3 * values(1, 2, 4)], ids=["none", "zeros", "some"])
@pytest.mark.parametrize("c", [None, ZEROS, 3 * values(1, 2, 4)], ids=["none", "zeros", "some"])
def test_what_an_lstm_starts_from(h, c):
    states = {name: state for name, state in (("h", h), ("c", c)) if state is not None}
    tidy = unchanged(lstm(1, states, ONE, 4, axis=whole(1)))
    (found,) = (node for node in tidy.node if node.op_type == "LSTM")
    kept = {name for name, state in states.items() if state.any()}
    assert {name for name in found.input if name in ("h", "c")} == kept
    assert len(found.input) == (7 if "c" in kept else 6 if "h" in kept else 4)
    assert len(found.output) == 1


def test_the_last_state_stays_where_it_is_taken():
    after = [*ONE[:1], node("Add", "d last", "both"), node("Transpose", "both", "e", perm=[1, 0, 2])]
    tidy = unchanged(lstm(1, {}, after, 4, axis=whole(1)))
    (found,) = (node for node in tidy.node if node.op_type == "LSTM")
    assert list(found.output) == ["hidden", "last"]


def directions(order: str, batch_first: bool) -> list[NodeProto]:
    """As converters put directions together: cut, squeezed, turned round perhaps, and side by side in that order."""
    nodes = []
    for name, place in (("forward", 0), ("backward", 1)):
        nodes += [node("Slice", f"hidden at{place} at{place + 1} at1", f"{name}_cut")]
        nodes += [node("Squeeze", f"{name}_cut at1", name)]
        nodes += [node("Transpose", name, f"{name}_turned", perm=[1, 0, 2])] if batch_first else []
    names = " ".join(f"{name}_turned" if batch_first else name for name in order.split())
    if batch_first:
        return [*nodes, node("Concat", names, "e", axis=2)]
    return [*nodes, node("Concat", names, "d", axis=-1), node("Transpose", "d", "e", perm=[1, 0, 2])]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("order", ["forward backward", "backward forward", "forward", "forward forward", "backward backward"])
def test_directions_side_by_side(order, batch_first):
    features = 4 * len(order.split())
    constants = {"at0": whole(0), "at1": whole(1), "at2": whole(2)}
    tidy = unchanged(lstm(2, {}, directions(order, batch_first), features, **constants))
    assert ("Slice" in kinds(tidy)) == (order != "forward backward")  # no other order is the LSTM's own


@pytest.mark.parametrize("order", ["sequence forward backward", "forward backward sequence", "forward sequence backward"])
def test_directions_beside_something_else(order):
    """As Open-Unmix has its skip connection."""
    after = directions(order, batch_first=False)
    after.insert(0, node("Identity", "b", "sequence"))
    constants = {"at0": whole(0), "at1": whole(1), "at2": whole(2)}
    tidy = unchanged(lstm(2, {}, after, 18, **constants))
    assert ("Slice" in kinds(tidy)) == (order == "forward sequence backward")
    assert "Concat" in kinds(tidy)


def test_states_of_both_directions():
    constants = {"at0": whole(0), "at1": whole(1), "at2": whole(2)}
    states = {"h": values(2, 2, 4), "c": 2 * values(2, 2, 4)}
    tidy = unchanged(lstm(2, states, directions("forward backward", True), 8, **constants))
    assert {"h", "c"} <= {tensor.name for tensor in tidy.initializer}


def test_nothing_is_reshaped_to_what_it_is():
    nodes = [
        node("Reshape", "mixture shape", "a"),
        node("Sigmoid", "a", "b"),
        node("Reshape", "b shape", "c"),
        node("Mul", "c mixture", "vocals"),
    ]
    assert kinds(unchanged(drawn(nodes, {"shape": whole(*SHAPE)}))) == ["Sigmoid", "Mul"]
    last = [node("Sigmoid", "mixture", "a"), node("Reshape", "a shape", "vocals")]
    unchanged(drawn(last, {"shape": whole(*SHAPE)}))  # an output keeps its name
