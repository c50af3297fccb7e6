"""Exported files: what they hold, that they are verified, and that nothing is left of those that fail."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from conftest import agreement
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export import __main__ as command
from export import verify
from export.onnx.exporter import OnnxExporter
from export.onnx.float16 import as_hardware, fragile, to_half
from export.onnx.int8 import _axes, _weights, to_int8
from export.options import ExportOptions, Precision
from export.pipeline import export
from kerasep.conversion import pack as packing
from kerasep.conversion.freeze import freeze
from kerasep.conversion.pack import pack
from kerasep.conversion.trace import to_onnx
from kerasep.errors import KerasepError, UsageError
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact
from kerasep.inference.chunking import cut, middles
from kerasep.inference.graphs import Windows
from kerasep.inference.open import open_separator
from kerasep.inference.runtime import KEY
from kerasep.inference.seal import KEY as SEALED
from kerasep.models import build, folded
from kerasep.signal.masks import apply, ratio_gains
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import istft, stft
from kerasep.training.recipe import Augment, Recipe
from kerasep.training.runs import load_run

pytestmark = pytest.mark.usefixtures("excerpt")
STEREO = Spectrogram(fft=256, hop=64)
MONO = Spectrogram(channels=1, fft=256, hop=128, window="blackmanharris", padding="zeros")
FIXED = {"frames": 100, "batch": 2}


@pytest.fixture(scope="module")
def exported(runs, hq_root, tmp_path_factory) -> dict[str, Path]:
    """A file of each precision."""
    folder = tmp_path_factory.mktemp("exported")
    return dict(
        zip(
            Precision.portable(),
            export([*runs.values()], folder, ExportOptions(precisions=Precision.portable(), root=hq_root)),
            strict=True,
        )
    )


@pytest.fixture(scope="module")
def fixed(runs, hq_root, tmp_path_factory) -> Path:
    (path,) = export([*runs.values()], tmp_path_factory.mktemp("fixed"), ExportOptions(root=hq_root, **FIXED))
    return path


def beside(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text())


def left(folder: Path) -> list[str]:
    """All that is in a folder, hidden files too."""
    return sorted(path.name for path in folder.rglob("*")) if folder.is_dir() else []


def magnitudes(frames: int, *batch: int) -> np.ndarray:
    """Noise with music's slope."""
    noise = np.random.default_rng(frames).rayleigh(size=(*batch, frames, STEREO.bins, 2))
    return (noise * 100 / (1 + np.arange(STEREO.bins))[:, None]).astype(np.float32)


def error(output: np.ndarray, truth: np.ndarray) -> float:
    assert output.shape == truth.shape
    return float(np.abs(output - truth).max() / np.abs(truth).max())


# Files


def test_four_files_with_their_manifests(exported):
    folder = exported["float32"].parent
    names = {"float32": "conv", "float16": "conv-float16", "int8": "conv-int8", "int8-dynamic": "conv-int8-dynamic"}
    assert {precision: path.name for precision, path in exported.items()} == {p: f"{name}.onnx" for p, name in names.items()}
    assert left(folder) == sorted(f"{name}.{end}" for name in names.values() for end in ("json", "onnx"))
    for precision, path in exported.items():
        said, content = beside(path), path.read_bytes()
        assert (said["sha256"], said["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (said["name"], said["precision"], said["targets"]) == ("conv", precision, ["vocals", "drums"])
        details = said["details"]
        assert set(details["parity"]) >= {"max_relative_error", "noise", "music", "frames", "batches"}
        assert len(details["parity"]["frames"]) == 3 and details["parity"]["batches"] == [1, 3]
        assert details["verified_on"] == 1 and set(details["sdr"]) == {"vocals", "drums"}
        if precision == "float32":
            assert details["parity"]["max_relative_error"] <= 1e-5 and "agreement_db" not in details
        else:
            assert details["agreement_db"]["median"] >= verify.AGREEMENT[precision] >= 20
            assert all(row["median_loss"] <= verify.LOSS[precision] <= 0.1 for row in details["sdr"].values())
        assert ("int8_activations" in details) == precision.startswith("int8")
        assert ("rounded_like_hardware" in details) == (precision == "float16")


def test_the_manifest_inside_is_the_one_beside_but_for_what_only_the_latter_can_tell(exported, runs):
    for path in exported.values():
        inside = json.loads(Artifact(path).runtime.session.get_modelmeta().custom_metadata_map[KEY])
        outside = beside(path)
        assert len(inside.pop(SEALED)) == 64
        assert set(outside) - set(inside) == {"sha256", "bytes", "sources"}
        assert inside == {key: outside[key] for key in inside}
        sources = [(path.parent / source).resolve() for source in outside["sources"]]
        assert sources == [run.resolve() for run in runs.values()]


def test_each_opens_and_separates(exported, mixture):
    reference = open_separator(Artifact(exported["float32"]))(mixture[:44100], 44100)
    for precision, path in exported.items():
        stems = open_separator(Artifact(path))(mixture[:44100], 44100)
        for target, stem in stems.items():
            assert stem.shape == (44100, 2) and np.abs(stem).max() > 0.01
            assert agreement(reference[target], stem) > {"float32": 200, "float16": 35}.get(precision, 12)


def test_the_file_measures_what_its_manifest_says(exported, runs, mixture):
    """Parity on noise, by hand: the networks as they were trained against the file."""
    artifact = Artifact(exported["float16"])
    networks = freeze([*runs.values()], "x").networks
    worst = 0.0
    for frames in (1, 100, 300):
        size = (400, 129, 2)
        noise = np.random.default_rng(0).rayleigh(size=size) * (100 / (1 + np.arange(129)))[:, None]
        sound = noise.astype(np.float32)[-frames:]
        outputs = artifact.estimate(sound)
        for network in networks:
            for target, expected in network(sound[None], training=False).items():
                worst = max(worst, error(outputs[target], np.asarray(expected)[0]))
    assert beside(exported["float16"])["details"]["parity"]["noise"] >= worst * 0.999
    assert worst > 1e-4  # float16 is what it says it is


def test_operators_are_those_that_every_runtime_has(exported):
    for precision, path in exported.items():
        found = {node.op_type for node in onnx.load(path).graph.node}
        assert found <= verify.OPERATORS["onnx"]["float32"] | verify.OPERATORS["onnx"][precision]
        assert all(not node.domain for node in onnx.load(path).graph.node)


def test_weights_shrink(exported):
    """Of these small networks the graph itself takes much of the file; so it is the constants that are counted."""
    numbers = {}
    for precision, path in exported.items():
        tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.data_type != TensorProto.INT64]
        numbers[precision] = sum(numpy_helper.to_array(tensor).nbytes for tensor in tensors)
        weights = [tensor for tensor in tensors if sum(size > 1 for size in tensor.dims) > 1 and np.prod(tensor.dims) >= 256]
        kinds = {tensor.data_type for tensor in weights}
        assert kinds == {"float32": {TensorProto.FLOAT}, "float16": {TensorProto.FLOAT16}}.get(precision, {TensorProto.INT8})
    assert numbers["float16"] == numbers["float32"] / 2
    for precision in ("int8", "int8-dynamic"):
        assert numbers["float32"] / 4 < numbers[precision] < numbers["float32"] / 2  # a quarter, scales, and what is small
        assert exported[precision].stat().st_size < exported["float32"].stat().st_size


def test_activations_are_int8_where_the_manifest_says_so(exported):
    for precision, kind in (("int8", "QuantizeLinear"), ("int8-dynamic", "DynamicQuantizeLinear")):
        layers = beside(exported[precision])["details"]["int8_activations"]
        assert (kind in {node.op_type for node in onnx.load(exported[precision]).graph.node}) == bool(layers)


def test_a_name_and_terms(runs, hq_root, tmp_path):
    options = {"name": "singer", "licence": "mine alone", "precisions": ["float32", "float32"], "root": hq_root}
    (path,) = export([runs["vocals"]], tmp_path, ExportOptions(**options))
    assert left(tmp_path) == ["singer.json", "singer.onnx"]
    said = beside(path)
    assert (said["name"], said["licence"], said["graph"]["masking"]["mask"]) == ("singer", "mine alone", "none")


def test_a_later_failure_leaves_the_earlier_files(runs, hq_root, tmp_path, monkeypatch):
    export_all = export([runs["vocals"]], tmp_path, ExportOptions(precisions=["float32", "float16"], root=hq_root))
    first = next(export_all)
    monkeypatch.setitem(verify.AGREEMENT, "float16", 1000.0)
    with pytest.raises(KerasepError, match="agree with float32's to"):
        next(export_all)
    assert left(tmp_path) == ["conv.json", "conv.onnx"]
    Artifact(first)


# Fixed sizes


def test_sizes_are_fixed(fixed):
    artifact = Artifact(fixed)
    tensors = (*artifact.runtime.session.get_inputs(), *artifact.runtime.session.get_outputs())
    assert [tensor.name for tensor in tensors] == ["mixture", "vocals", "drums"]
    assert all(tensor.shape == [2, 100, 129, 2] for tensor in tensors)
    assert (artifact.manifest.graph.batch, artifact.manifest.graph.windows) == (2, Windows(100, 72, 14))


@pytest.mark.parametrize("frames", [1, 14, 50, 100, 101, 172, 244, 333])
def test_a_fixed_file_gives_what_a_free_one_does(fixed, exported, frames):
    """Every frame's 14 neighbours are in its window: only where a song ends within 14 frames of it, and zeros are filled up
    after that, does it see these instead of the end. Filled up by hand the song is the same throughout."""
    sound = magnitudes(frames)
    ours, free = Artifact(fixed).estimate(sound), Artifact(exported["float32"])
    windows = 1 + max(0, -(-(frames - 100) // 72))
    missing = 72 * (windows - 1) + 100 - frames
    theirs, filled = free.estimate(sound), free.estimate(np.pad(sound, ((0, missing), (0, 0), (0, 0))))
    for target, output in ours.items():
        assert error(output, filled[target][:frames]) <= 1e-5
        inner = slice(0, frames if not missing else max(0, frames - 14))
        if output[inner].size:
            assert error(output[inner], theirs[target][inner]) <= 1e-5


def test_blocks_of_a_fixed_file_join(fixed, mixture):
    """Three blocks of 300 frames and a rest, against one stretch."""
    artifact = Artifact(fixed)
    audio = mixture[20_000:][: 970 * 64]
    spectrum = stft(audio, STEREO)
    assert artifact.manifest.graph.blocks.frames == 300 and len(spectrum) == 971
    stems = apply(ratio_gains(artifact.estimate(np.abs(spectrum))), spectrum)
    inside = slice(0, (971 - 14) * 64 - 256)  # what the last window is filled up with is seen from there on
    for target, stem in open_separator(artifact)(audio, 44100).items():
        assert agreement(istft(stems[target], STEREO, len(audio))[inside], stem[inside]) > 100


@pytest.mark.parametrize("size", [{"frames": 100}, {"batch": 3}])
def test_one_size_alone(runs, hq_root, tmp_path, exported, size):
    (path,) = export([runs["vocals"]], tmp_path, ExportOptions(root=hq_root, **size))
    artifact, free = Artifact(path), Artifact(exported["float32"])
    assert artifact.runtime.session.get_inputs()[0].shape == [size.get("batch", "batch"), size.get("frames", "frames"), 129, 2]
    sound = magnitudes(172)
    assert error(artifact.estimate(sound)["vocals"], free.estimate(sound)["vocals"]) <= 1e-5


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 15), st.integers(1, 2))
def test_middles_by_hand(frames, step, margin, channels):
    """Each frame is of the window in which it is between the margins; the first and last ones' outer margins have no other."""
    size = step + 2 * margin
    song = np.random.default_rng(frames).normal(size=(frames, 2, channels)).astype(np.float32)
    windows = cut(song, size, step)
    windows = windows + np.arange(1, len(windows) + 1, dtype=np.float32)[:, None, None, None] * 10  # told apart by window
    expected = []
    for frame in range((len(windows) - 1) * step + size):
        number = min(max((frame - margin) // step, 0), len(windows) - 1)
        expected.append(windows[number, frame - number * step])
    assert np.array_equal(middles(windows, margin), np.array(expected))
    assert (len(windows) - 1) * step + size >= frames


# Verification


def graph_with(model: ModelProto, change, target: str = "") -> ModelProto:
    """With the largest weights, or the largest of a target's, changed."""
    copy = ModelProto.FromString(model.SerializeToString())
    floats = [t for t in copy.graph.initializer if t.data_type == TensorProto.FLOAT and t.name.startswith(target)]
    tensor = max(floats, key=lambda tensor: np.prod(tensor.dims))
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), tensor.name))
    return copy


def one_other(weights: np.ndarray) -> np.ndarray:
    place = np.unravel_index(np.abs(weights).argmax(), weights.shape)
    weights[place] *= 1.01
    return weights


def garbage(weights: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=weights.shape).astype(np.float32)


def no_numbers(weights: np.ndarray) -> np.ndarray:
    return np.full_like(weights, np.nan)


@pytest.fixture
def tamper(monkeypatch):
    """Lets every precision be made of a graph with other weights."""

    def with_change(change, target=""):
        honest = OnnxExporter.quantise

        def quantise(self, graph, *others):
            return honest(self, graph_with(graph, change, target), *others)

        monkeypatch.setattr(OnnxExporter, "quantise", quantise)

    return with_change


def refused(runs, folder, match: str, kind=KerasepError, **options) -> str:
    with pytest.raises(KerasepError, match=match) as caught:
        list(export(runs, folder, ExportOptions(**options)))
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert left(folder) == []
    return str(caught.value)


def test_one_other_weight_is_refused(runs, hq_root, tmp_path, tamper):
    tamper(one_other)
    said = refused([runs["vocals"]], tmp_path / "out", "differs from Keras by", root=hq_root)
    assert said.startswith("conv") and ".partial" not in said


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_garbage_is_refused(runs, hq_root, tmp_path, tamper, precision):
    tamper(garbage)
    refused([runs["vocals"]], tmp_path / "out", "agree with float32's to", precisions=[precision], root=hq_root)


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize(
    ("precision", "target"),
    [
        ("float32", "vocals"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("float32", "drums"), ("float16", "drums"))),
    ],
)
def test_what_gives_no_numbers_is_refused(runs, hq_root, tmp_path, tamper, precision, target):
    """Which is neither more nor less than any tolerance; and it must not matter which target it is."""
    tamper(no_numbers, target)
    refused([*runs.values()], tmp_path / "out", "(?i)nan", precisions=[precision], root=hq_root)


def test_pack_refuses_what_gives_no_numbers(runs, tmp_path, monkeypatch):
    honest = packing.to_onnx
    monkeypatch.setattr(packing, "to_onnx", lambda *given: graph_with(honest(*given), no_numbers))
    with pytest.raises(KerasepError, match="differs from Keras"):
        pack([runs["vocals"]], tmp_path / "x.onnx", licence="tests")
    assert left(tmp_path) == []


def test_a_loss_of_sdr_is_refused(runs, hq_root, tmp_path, monkeypatch):
    monkeypatch.setitem(verify.LOSS, "float16", -1.0)
    refused([runs["vocals"]], tmp_path / "out", "loses .* dB of SDR", precisions=["float16"], root=hq_root)


def test_an_unusual_operator_is_refused(runs, hq_root, tmp_path, monkeypatch):
    def converted(_, graph, *others):
        copy = ModelProto.FromString(graph.SerializeToString())
        copy.graph.node[-1].output[0] = "before"
        copy.graph.node.append(helper.make_node("Identity", ["before"], [graph.graph.node[-1].output[0]], name="last"))
        return copy, {}

    monkeypatch.setattr(OnnxExporter, "quantise", converted)
    refused([runs["vocals"]], tmp_path / "out", "operators that not every runtime has: Identity", root=hq_root)


def verified(*arguments, monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["export.verify", *map(str, arguments)])
    code = verify.main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.slow
def test_verify_measures_again_wherever_the_run_is(runs, hq_root, tmp_path, monkeypatch, capsys):
    shutil.copytree(runs["vocals"], tmp_path / "run")
    (path,) = export([tmp_path / "run"], tmp_path / "out")
    details = beside(path)["details"]
    code, out, err = verified(path, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, err) == (0, "")
    measured = json.loads(out)
    assert measured["parity"] == details["parity"] and not measured["sdr"]  # on the demo song
    (tmp_path / "run").rename(tmp_path / "moved")
    code, out, err = verified(path, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, out, err.count("\n")) == (2, "", 1) and "--runs" in err
    arguments = [path, "--runs", tmp_path / "moved", "--root", hq_root]
    code, out, err = verified(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, err) == (0, "") and set(json.loads(out)["sdr"]) == {"vocals"}


@pytest.mark.parametrize("name", ["float16", "fixed"])
def test_verify_of_every_kind(exported, fixed, hq_root, name, monkeypatch, capsys):
    path = fixed if name == "fixed" else exported[name]
    code, out, err = verified(path, "--root", hq_root, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, err) == (0, "")
    measured, said = json.loads(out), beside(path)["details"]
    assert measured == {key: said[key] for key in measured} and {"parity", "sdr"} <= set(measured)


def test_verify_with_other_runs(exported, runs, tmp_path, monkeypatch, capsys):
    other = Path(shutil.copytree(runs["drums"], tmp_path / "other"))
    _, network = load_run(other)
    network.set_weights([weight * 1.001 for weight in network.get_weights()])
    network.save_weights(other / "best.weights.h5")
    options = {"monkeypatch": monkeypatch, "capsys": capsys}
    for others in ([runs["vocals"], other], [runs["vocals"]]):
        code, out, err = verified(exported["float32"], "--runs", *others, **options)
        assert (code, out, err.count("\n")) == (1, "", 1) and "made from other runs" in err


def test_verify_takes_the_runs_in_any_order(exported, runs, hq_root, monkeypatch, capsys):
    arguments = [exported["float32"], "--root", hq_root, "--runs", *reversed(runs.values())]
    code, _, err = verified(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("with_manifest", [True, False])
def test_verify_of_a_file_cut_short(exported, tmp_path, with_manifest, monkeypatch, capsys):
    for path in (exported["float32"], exported["float32"].with_suffix(".json")):
        shutil.copy(path, tmp_path)
    path = tmp_path / "conv.onnx"
    path.write_bytes(path.read_bytes()[:20_000])
    if not with_manifest:
        path.with_suffix(".json").unlink()
    code, out, err = verified(path, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith("export.verify: ")
    assert str(path) in err


# Half precision


def chain(*nodes: NodeProto, bins: int = 5, **constants: np.ndarray) -> ModelProto:
    """A model from `mixture` to `vocals`."""
    size = ("batch", "frames", bins, 2)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in ("mixture", "vocals")]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    for node in nodes:
        node.name = f"vocals/{node.output[0]}"
    graph = helper.make_graph(list(nodes), "chain", values[:1], values[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: ModelProto, mixture: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["vocals"], {"mixture": mixture})[0]


NUMBERS = np.concatenate([10.0 ** np.linspace(-9, 5.5, 3000), [0, 65504, 65519, 65520, 1e9, 2**-24, 2**-25, 1.5 * 2**-24]])
MAGNITUDES = np.resize(np.concatenate([NUMBERS, -NUMBERS]), (1, 602, 5, 2)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_hardware_rounds_to_half():
    model = as_hardware(to_half(chain(helper.make_node("Relu", ["mixture"], ["vocals"]))))
    expected = np.maximum(MAGNITUDES.astype(np.float16), 0).astype(np.float32)
    assert np.isinf(expected).any() and (expected == np.float32(2**-24)).any()
    assert np.array_equal(run(model, MAGNITUDES), expected)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_hardware_rounds_every_result():
    """Also those that a later node would make up for: NumPy's float16, operation by operation."""
    nodes = [
        helper.make_node("Add", ["mixture", "much"], ["a"]),
        helper.make_node("Sub", ["a", "much"], ["b"]),
        helper.make_node("Mul", ["b", "third"], ["c"]),
        helper.make_node("Div", ["c", "third"], ["vocals"]),
    ]
    much, third = np.float16(1234), np.float16(1 / 3)
    model = chain(*nodes, much=np.float32(much), third=np.float32(1 / 3))
    half = MAGNITUDES.astype(np.float16)
    expected = ((half + much - much) * third / third).astype(np.float32)
    assert np.array_equal(run(as_hardware(to_half(model)), MAGNITUDES), expected)


def halves(model: ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {value.name for value in inferred.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}


def test_all_is_half_but_the_ends():
    model = to_half(chain(helper.make_node("Relu", ["mixture"], ["a"]), helper.make_node("Tanh", ["a"], ["vocals"])))
    assert [node.op_type for node in model.graph.node] == ["Cast", "Relu", "Tanh", "Cast"]
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {TensorProto.FLOAT}
    assert len(halves(model)) == 3


@pytest.mark.parametrize("constant", [1e-18, 1e6], ids=["vanishes", "overflows"])
def test_what_half_does_not_hold_stays_whole(constant):
    nodes = [
        helper.make_node("Relu", ["mixture"], ["a"]),
        helper.make_node("Add", ["a", "constant"], ["b"]),
        helper.make_node("Sub", ["b", "one"], ["vocals"]),
    ]
    model = chain(*nodes, constant=np.float32(constant), one=np.float32(1))
    assert fragile(model) == ["vocals/b", "vocals/vocals"]
    small = np.abs(MAGNITUDES) % 1
    expected = np.float32(small.astype(np.float16)) + np.float32(constant) - np.float32(1)
    assert np.array_equal(run(as_hardware(to_half(model)), small), expected)


@pytest.fixture(scope="module")
def deepconvsep() -> ModelProto:
    keras.utils.set_random_seed(2)
    network = build("deepconvsep", MONO, {"filters": 8, "hidden": 16}, ("vocals", "drums", "bass"))
    return to_onnx([network], MONO)


def test_what_is_fragile(deepconvsep, exported, fixed):
    graph = deepconvsep.graph
    tiny = {t.name for t in graph.initializer if not t.dims and numpy_helper.to_array(t) == np.float32(1e-18)}
    additions = [node for node in graph.node if tiny & set(node.input)]
    assert tiny and len(additions) == 3 and {node.op_type for node in additions} == {"Add"}
    after, grown = {node.name for node in additions}, True
    while grown:
        made = {name for node in graph.node if node.name in after for name in node.output}
        more = after | {node.name for node in graph.node if made & set(node.input)}
        after, grown = more, more != after
    assert set(fragile(deepconvsep)) == after
    kinds = sorted(node.op_type for node in graph.node if node.name in after)
    assert kinds == ["Add"] * 5 + ["Div"] * 3 + ["Mul"] * 3  # each estimate's, their sum, shares, times the mixture
    assert not fragile(onnx.load(exported["float32"])) and not fragile(onnx.load(fixed))


OTHERS = {"openunmix": {"hidden": 8, "depth": 1}, "conv": {"standardise": True, "power": 0.5}}


@pytest.mark.parametrize("network", OTHERS)
def test_nothing_else_is_fragile(network):
    model = to_onnx([folded(network, STEREO, build(network, STEREO, OTHERS[network], ("vocals",)))], STEREO)
    assert fragile(model) == []


def test_deepconvsep_in_half_is_finite(deepconvsep):
    """In silence it divides 1e-18 by three of them, which in float16 would be nothing by nothing."""
    session = onnxruntime.InferenceSession(
        as_hardware(to_half(deepconvsep)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    silence = np.zeros((2, 30, 129, 1), np.float32)
    assert not np.any(session.run(None, {"mixture": silence}))
    music = (np.random.default_rng(0).rayleigh(size=(4, 30, 129, 1)) * 100 / (1 + np.arange(129))[:, None]).astype(np.float32)
    music[2] *= 1e-4
    music[3, 10:] = 0
    outputs = session.run(None, {"mixture": music})
    assert np.isfinite(outputs).all()
    assert np.abs(sum(outputs) - music).max() <= 1e-6 * music.max()  # shares, in float32, still add up
    whole = onnxruntime.InferenceSession(deepconvsep.SerializeToString(), providers=["CPUExecutionProvider"])
    assert 1e-6 < error(np.array(outputs), np.array(whole.run(None, {"mixture": music}))) < 0.05


# Eight bits


def product(rows: np.ndarray, columns: np.ndarray) -> tuple[ModelProto, np.ndarray]:
    """One product of 20 inputs with 20 outputs, its weights scaled by row and by column; and these weights."""
    weights = (np.random.default_rng(0).uniform(-1, 1, (20, 20)) * rows[:, None] * columns).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["mixture", "flat"], ["a"]),
        helper.make_node("MatMul", ["a", "weights"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["vocals"]),
    ]
    sizes = {"flat": np.array([0, 0, 20]), "shape": np.array([0, 0, 10, 2])}
    return chain(*nodes, bins=10, weights=weights, **sizes), weights


THOUSANDFOLD = np.logspace(0, -3, 20)


def clips(scales: np.ndarray) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [(random.uniform(size=(2, 50, 10, 2)) * scales.reshape(10, 2)).astype(np.float32) for _ in range(3)]


def test_scales_go_where_they_change_least():
    model, _ = product(THOUSANDFOLD, np.ones(20))
    assert _axes(model, clips(1 / THOUSANDFOLD)) == {"weights": -2}  # all rows count: a scale for each input
    model, _ = product(np.ones(20), THOUSANDFOLD)
    assert _axes(model, clips(np.ones(20))) == {"weights": -1}
    model, _ = product(THOUSANDFOLD, np.logspace(0, -1, 20))
    assert _axes(model, clips(THOUSANDFOLD)) == {"weights": -1}  # rows that are a thousand times less, and so are their inputs


def test_products_of_groups_have_scales_of_their_own():
    """A batch of matrices, of which one is a thousand times larger: the others would be nothing in its steps."""
    values = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    values[1] *= 1000
    nodes = [
        helper.make_node("Relu", ["mixture"], ["positive"], name="relu"),
        helper.make_node("MatMul", ["positive", "weights"], ["vocals"], name="product"),
    ]
    shape = [1, 3, None, 20]
    graph = helper.make_graph(
        nodes,
        "groups",
        [helper.make_tensor_value_info("mixture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vocals", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    music = [np.random.default_rng(1).exponential(size=(1, 3, 50, 20)).astype(np.float32)]
    for precision in (Precision.INT8, Precision.INT8_DYNAMIC):
        rounded, layers = to_int8(model, music, precision)
        assert layers == []  # activations stay as they are
        before, after = (run(graph, music[0]) for graph in (model, rounded))
        error = np.abs(before - after).max(axis=(0, 2, 3)) / np.abs(before).max(axis=(0, 2, 3))
        assert error.max() < 0.02


def test_convolutions_over_frames_can_be_in_integers():
    """Their weights have as many dimensions as those of groups."""
    values = np.random.default_rng(0).uniform(-1, 1, size=(8, 20, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Relu", ["mixture"], ["positive"], name="relu"),
        helper.make_node("Conv", ["positive", "weights"], ["vocals"], name="conv1"),
    ]
    graph = helper.make_graph(
        nodes,
        "frames",
        [helper.make_tensor_value_info("mixture", TensorProto.FLOAT, [1, 20, None])],
        [helper.make_tensor_value_info("vocals", TensorProto.FLOAT, [1, 8, None])],
        [numpy_helper.from_array(values, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, layers = to_int8(model, [np.random.default_rng(1).uniform(size=(1, 20, 50)).astype(np.float32)])
    assert layers == ["conv1"]


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_alone_are_off_by_half_a_step(axis):
    model, weights = product(np.logspace(0, -1, 20), np.logspace(0, -2, 20))
    rounded = _weights(model, {"weights": axis})
    steps = np.abs(weights).max(axis=1 - axis, keepdims=True).astype(np.float64) / 127
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in rounded.graph.initializer}
    (integers,) = (value for value in stored.values() if value.dtype == np.int8)
    assert np.abs(integers).max() == 127 and "weights" not in stored
    assert np.abs(integers * steps - weights).max() <= np.abs(steps).max() / 2 * 1.0001
    assert np.all(np.abs(integers * steps - weights) <= steps * 0.5001)
    (mixture, *_) = clips(np.ones(20))
    inputs = mixture.reshape(2, 50, 20).astype(np.float64)
    change = np.abs(run(rounded, mixture).reshape(2, 50, 20) - inputs @ weights)
    most = np.abs(inputs) @ np.broadcast_to(steps / 2, (20, 20))
    assert np.all(change <= most * 1.001 + 1e-6) and np.any(change > most / 20)


def test_little_weights_stay():
    nodes = [helper.make_node("MatMul", ["mixture", "weights"], ["vocals"])]
    model = chain(*nodes, weights=np.eye(2, dtype=np.float32))
    assert [node.op_type for node in _weights(model, {"weights": 0}).graph.node] == ["MatMul"]


def two_products(span: float) -> tuple[ModelProto, list[np.ndarray]]:
    """Inputs that span so many decades, weights that make up for it, and a second product of inputs that span none."""
    random = np.random.default_rng(0)
    scales = 10 ** np.linspace(-span, 0, 20)
    nodes = [
        helper.make_node("Reshape", ["mixture", "flat"], ["a"]),
        helper.make_node("MatMul", ["a", "first"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "second"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["vocals"]),
    ]
    constants = {
        "first": (random.uniform(-1, 1, (20, 40)) / scales[:, None]).astype(np.float32),
        "second": random.uniform(0, 1, (40, 20)).astype(np.float32),
        "flat": np.array([0, 0, 20]),
        "shape": np.array([0, 0, 10, 2]),
    }
    model = chain(*nodes, bins=10, **constants)
    for node, name in ((model.graph.node[1], "vocals/matmul1"), (model.graph.node[3], "vocals/matmul2")):
        node.name = name
    return model, clips(scales)


@pytest.mark.parametrize("dynamic", [False, True])
def test_activations_that_span_too_much_stay_float(dynamic):
    model, sound = two_products(5)
    converted, layers = to_int8(model, sound, Precision.INT8_DYNAMIC if dynamic else Precision.INT8)
    assert layers == ["matmul2"]
    makers = {name: node for node in converted.graph.node for name in node.output}

    def comes_from(name: str) -> set[str]:
        """Operators above a tensor, up to the nearest product."""
        node = makers.get(name)
        if node is None or node.op_type.startswith("MatMul"):
            return set()
        return {node.op_type}.union(*(comes_from(name) for name in node.input))

    first, second = (node for node in converted.graph.node if node.op_type.startswith("MatMul"))
    assert first.op_type == "MatMul" and not any("Quantize" in kind for kind in comes_from(first.input[0]))
    if dynamic:
        assert second.op_type == "MatMulInteger" and "DynamicQuantizeLinear" in comes_from(second.input[0])
    else:
        assert second.op_type == "MatMul" and {"QuantizeLinear", "DequantizeLinear"} <= comes_from(second.input[0])
    expected = np.concatenate([run(model, clip).ravel() for clip in sound])
    assert agreement(expected, np.concatenate([run(converted, clip).ravel() for clip in sound])) > 30


def test_tensorrt_gets_signed_integers_whose_zero_is_0():
    """It has no other; weights of layers that stay in float32 stay, and so do biases."""
    model, sound = two_products(5)
    converted, layers = to_int8(model, sound, Precision.INT8_TENSORRT)
    assert layers == ["matmul2"]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in converted.graph.initializer}
    pairs = [node for node in converted.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs and {node.op_type for node in converted.graph.node} <= {
        "QuantizeLinear",
        "DequantizeLinear",
        *(node.op_type for node in model.graph.node),
    }
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    first, second = (node for node in converted.graph.node if node.op_type == "MatMul")
    makers = {name: node for node in converted.graph.node for name in node.output}
    assert constants[first.input[1]].dtype == np.float32
    assert [makers[name].op_type for name in second.input] == ["DequantizeLinear", "DequantizeLinear"]
    weights = makers[makers[second.input[1]].input[0]]  # Q before DQ, so that TensorRT chooses the weights' form
    assert weights.op_type == "QuantizeLinear" and constants[weights.input[0]].dtype == np.float32
    expected = np.concatenate([run(model, clip).ravel() for clip in sound])
    assert agreement(expected, np.concatenate([run(converted, clip).ravel() for clip in sound])) > 30


@pytest.mark.parametrize("dynamic", [False, True])
def test_activations_that_span_little_are_int8(dynamic):
    """With weights so small that no processor's 16 bits are too few for two products of bytes."""
    model, sound = two_products(0)
    converted, layers = to_int8(model, sound, Precision.INT8_DYNAMIC if dynamic else Precision.INT8)
    assert layers == ["matmul1", "matmul2"]
    integers = [numpy_helper.to_array(tensor) for tensor in converted.graph.initializer if tensor.data_type == TensorProto.INT8]
    matrices = [values for values in integers if values.ndim == 2]
    assert [np.abs(values).max() for values in matrices] == [64, 64]
    if dynamic:  # of the other form, ONNX's own implementation has no scales along an axis before opset 19
        for clip in sound:
            (expected,) = ReferenceEvaluator(converted).run(None, {"mixture": clip})
            assert np.abs(run(converted, clip) - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    "size",
    [FIXED, {"batch": 2}, {"frames": 200, "batch": 16}],
    ids=["both", "batch alone", "more windows than there are"],
)
def test_int8_of_fixed_sizes(runs, hq_root, tmp_path, size):
    """Calibration has to come in the graph's own sizes, however little music there is."""
    (path,) = export([runs["vocals"]], tmp_path, ExportOptions(precisions=["int8"], root=hq_root, **size))
    assert Artifact(path).manifest.graph.batch == size.get("batch", 0)


def test_int8_without_songs_to_train_on(runs, hq_root, tmp_path):
    """All there is under the root is for validation, or to test on."""
    (tmp_path / "root" / "train").mkdir(parents=True)
    for name in ("train/ANiMAL - Rockshow", "test"):
        (tmp_path / "root" / name).symlink_to(hq_root / name)
    refused([*runs.values()], tmp_path / "out", "train", precisions=["int8"], root=tmp_path / "root")


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_songs_without_a_score_refuse_nothing(runs, hq_root, tmp_path):
    """Where a stem is silent throughout there is no SDR to lose."""
    song = Path(shutil.copytree(hq_root / "test" / "Three", tmp_path / "root" / "test" / "Instrumental"))
    samples, rate = soundfile.read(song / "vocals.wav")
    soundfile.write(song / "vocals.wav", 0 * samples, rate, "FLOAT")
    (path,) = export([*runs.values()], tmp_path / "out", ExportOptions(precisions=["float16"], root=tmp_path / "root"))
    assert beside(path)["details"]["agreement_db"]["median"] >= 40


# Wrong calls


def exported_by(*arguments, monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    code = command.main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_the_command_line(runs, hq_root, tmp_path, monkeypatch, capsys):
    arguments = [runs["vocals"], "-o", tmp_path, "--frames", 200, "--batch", 4, "--name", "little", "--root", hq_root]
    code, out, err = exported_by(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, out, err) == (0, f"{tmp_path / 'little.onnx'}\n", "")
    assert Artifact(tmp_path / "little.onnx").runtime.session.get_inputs()[0].shape == [4, 200, 129, 2]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--format", "coreml"], "unknown format 'coreml': choose from onnx, tflite"),
        (["--precision", "float32", "int4"], "unknown precision 'int4': choose from float32, float16, int8, int8-dynamic"),
        (["--frames", "0"], "--frames 0: give a positive number, or dynamic"),
        (["--frames", "-1"], "--frames -1: give a positive number"),
        (["--frames", "abc"], "--frames abc: give a positive number"),
        (["--frames", "1.5"], "--frames 1.5: give a positive number"),
        (["--batch", "0"], "--batch 0: give a positive number"),
        (["--frames", "20"], "28 of them are context: give more"),
        (["--frames", "28"], "28 of them are context: give more"),
        (["--precision", "int8"], "int8 is calibrated on real music: name MUSDB18's folder with --root"),
        (["--precision", "float32", "int8-dynamic"], "int8-dynamic is calibrated on real music"),
    ],
)
def test_wrong_calls(runs, tmp_path, options, match, monkeypatch, capsys):
    out = tmp_path / "out"
    code, said, err = exported_by(*runs.values(), "-o", out, *options, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert err.startswith("export: ") and match in err
    assert left(out) == []


def other_spectrogram(run: Path) -> str:
    record = json.loads((run / "run.json").read_text())
    record["recipe"]["spectrogram"]["rate"] = 48000
    (run / "run.json").write_text(json.dumps(record))
    return "another spectrogram"


def other_version(run: Path) -> str:
    record = json.loads((run / "run.json").read_text())
    record["recipe"]["flux"] = 88
    (run / "run.json").write_text(json.dumps(record))
    return "unknown key 'flux'"


def no_run(run: Path) -> str:
    (run / "run.json").unlink()
    return "holds no run"


def no_weights(run: Path) -> str:
    (run / "best.weights.h5").unlink()
    return "holds no trained weights"


def cut_short(run: Path) -> str:
    weights = run / "best.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    return "damaged, or not the weights that run.json is about"


def same_target(run: Path) -> str:
    record = json.loads((run / "run.json").read_text())
    record["targets"] = ["vocals"]
    (run / "run.json").write_text(json.dumps(record))
    return "a second run for vocals"


def no_songs(run: Path) -> str:
    record = json.loads((run / "run.json").read_text())
    del record["songs"]
    (run / "run.json").write_text(json.dumps(record))
    return "damaged or of another version"


@pytest.mark.parametrize("damage", [other_spectrogram, other_version, no_run, no_weights, cut_short, same_target, no_songs])
def test_runs_that_cannot_be_used(runs, tmp_path, damage, monkeypatch, capsys):
    run = Path(shutil.copytree(runs["drums"], tmp_path / "run"))
    match, out = damage(run), tmp_path / "out"
    code, said, err = exported_by(runs["vocals"], run, "-o", out, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, said, err.count("\n")) == (1, "", 1)
    assert err.startswith("export: ") and match in err
    assert left(out) == []


def test_a_folder_that_cannot_be_written_to(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        code, said, err = exported_by(runs["vocals"], "-o", out, monkeypatch=monkeypatch, capsys=capsys)
        assert (code, said, err.count("\n")) == (1, "", 1)
        assert err.startswith(f"export: {out}: cannot be written")
    assert (tmp_path / "file").read_text() == "in the way" and left(tmp_path) == ["file"]


def test_a_folder_where_the_file_should_be(runs, hq_root, tmp_path, monkeypatch, capsys):
    (tmp_path / "conv.onnx").mkdir()
    arguments = [runs["vocals"], "-o", tmp_path, "--root", hq_root]
    code, said, err = exported_by(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, said, err.count("\n")) == (1, "", 1) and "conv.onnx: cannot be written" in err
    assert left(tmp_path) == ["conv.onnx"]


def test_windows_are_the_networks_own(hq_root, tmp_path):
    """Networks that take windows take no other number of frames, and with a fixed batch their windows all the same."""
    keras.utils.set_random_seed(2)
    options = {"filters": 5, "hidden": 7}
    network = build("deepconvsep", MONO, options, ("vocals", "drums"))
    for target in ("vocals", "drums"):  # else masks divide sums that rounding alone has made
        network.get_layer(f"{target}_bias").set_weights([np.full(1, 0.1)])
    run = tmp_path / "run"
    Imported(network, Recipe("d", "deepconvsep", options, MONO, Augment()), ("vocals", "drums"), {}).write_run(run)
    refused([run], tmp_path / "out", "take 30 frames and no other number", UsageError, frames=40)
    (path,) = export([run], tmp_path / "out", ExportOptions(frames=30, batch=4, root=hq_root))
    artifact = Artifact(path)
    assert artifact.runtime.session.get_inputs()[0].shape == [4, 30, 129, 1]
    assert artifact.manifest.graph.windows == Windows(30, 5)
    sound = magnitudes(83)[:, :, :1]
    windows = np.stack([np.pad(sound, ((0, 2), (0, 0), (0, 0)))[first : first + 30] for first in range(0, 60, 5)])
    assert len(windows) == 12
    outputs = {target: np.asarray(output) for target, output in network(windows, training=False).items()}
    for target, estimate in artifact.estimate(sound).items():
        assert error(estimate[:5], outputs[target][0, :5]) <= 1e-5  # the first step is of the first window alone
        assert error(estimate[80:], outputs[target][-1, 25:28]) <= 1e-5
