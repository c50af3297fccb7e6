"""TFLite files: built-in operators alone, equal to Keras, of any length where the network allows it, run without TensorFlow."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import networks
import numpy as np
import pytest
import soundfile
from ai_edge_litert.interpreter import Interpreter
from conftest import agreement
from signals import noise
from tensorflow.lite.python import schema_py_generated as schema

from export.options import ExportOptions, Precision
from export.pipeline import export
from export.tflite import lstm as recurrence
from export.tflite.convert import LOOP_FRAMES
from export.tflite.graph import kind, to_bytes
from export.tflite.precision import products
from export.verify import LITE, OPERATORS, operators
from kerasep.cli import main
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact, manifest_path
from kerasep.inference.open import open_separator

pytestmark = pytest.mark.usefixtures("excerpt")
SLOW = pytest.mark.slow
FRAMES = {"bands": 320, "conv": 0, "deepconvsep": 0, "openunmix": 320, "spleeter": 0}  # 0: any, or the network's own


def lite(name: str) -> Artifact:
    """A network in float32."""
    return networks.artifact(name, "tflite", frames=FRAMES[name])


@pytest.fixture(scope="module", params=["conv", *(pytest.param(name, marks=SLOW) for name in FRAMES if name != "conv")])
def files(request, hq_root, tmp_path_factory) -> dict[str, Path]:
    """A network in every precision, the whole way."""
    return every_precision(request.param, hq_root)


@cache
def every_precision(name: str, root: Path) -> dict[str, Path]:
    run, frames = networks.run(name), FRAMES[name]
    folder = run.parent / f"{name}-precisions"
    options = ExportOptions(formats=("tflite",), precisions=Precision.portable(), root=root, frames=frames)
    return dict(zip(Precision.portable(), export([run], folder, options), strict=True))


@pytest.fixture
def conv(hq_root) -> dict[str, Path]:
    """`conv` in every precision."""
    return every_precision("conv", hq_root)


def test_every_file_stands_with_its_manifest(files):
    for path in files.values():
        said = json.loads(manifest_path(path).read_text())
        assert manifest_path(path).name == f"{path.name}.json"
        assert said["bytes"] == path.stat().st_size
        assert json.loads(json.dumps(Artifact(path).manifest.to_json())).items() <= said.items()


def test_equal_to_keras(files):
    manifest = Artifact(files["float32"]).manifest
    assert manifest.details["parity"]["max_relative_error"] <= 1e-5
    assert set(manifest.details["parity"]) >= {"noise", "music"}


@pytest.mark.parametrize("name", [name if name == "conv" else pytest.param(name, marks=SLOW) for name in FRAMES])
def test_equal_to_onnx(name):
    audio = noise(60_000, lite(name).manifest.graph.spectrogram.channels)
    expected = open_separator(networks.artifact(name, frames=FRAMES[name]))(audio, 44100)
    for target, stem in open_separator(lite(name))(audio, 44100).items():
        assert agreement(expected[target], stem) > 90


QUICK = [pytest.param(name, marks=[SLOW] if name in ("bands", "openunmix") else []) for name in FRAMES]


@pytest.mark.parametrize("name", QUICK)
def test_operators_are_built_in(name):
    check_operators(lite(name).path, "float32")


def test_operators_of_every_precision_are_built_in(files):
    for precision in Precision.portable():
        check_operators(files[precision], precision)


def check_operators(path: Path, precision: str) -> None:
    found = operators(path)
    assert set(found) <= OPERATORS["tflite"]["float32"] | OPERATORS["tflite"][precision]
    assert not [name for name in found if name.startswith(("CUSTOM", "FLEX"))]


def test_the_list_has_no_operator_that_is_none():
    assert set(LITE.split()) <= {name for name in vars(schema.BuiltinOperator) if name.isupper()}


def test_smaller_and_still_close(files):
    size = {precision: files[precision].stat().st_size for precision in Precision.portable()}
    assert size["int8"] < size["float32"] and size["int8-dynamic"] < size["float32"] and size["float16"] < size["float32"]
    for precision, least in (("float16", 40), ("int8", 20), ("int8-dynamic", 20)):
        details = Artifact(files[precision]).manifest.details
        assert details["agreement_db"]["median"] >= least
        assert set(details["sdr"]) == set(Artifact(files[precision]).manifest.targets)
        assert ("int8_activations" in details) == precision.startswith("int8")


def test_all_weights_are_in_fewer_bits(files):
    targets = Artifact(files["float32"]).manifest.targets
    assert products(read(files["float32"]), targets)
    for precision in ("float16", "int8", "int8-dynamic"):
        assert not products(read(files[precision]), targets)


def read(path: Path) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))


def test_any_length_where_the_network_takes_any():
    artifact = networks.artifact("same", "tflite")
    assert artifact.runtime.inputs == {"mixture": (1, 0, 129, 2)}
    for frames in (1, 7, 301, 40):
        magnitudes = np.ones((frames, 129, 2), np.float32)
        assert artifact.estimate(magnitudes)["vocals"].shape == (frames, 129, 2)
    assert not {"SHAPE", "PACK", "GATHER", "TILE"} & set(operators(artifact.path))
    assert operators(artifact.path)["SPLIT"] == 1  # all targets' first layers are one product


def test_fixed_sizes(tmp_path):
    (path,) = export([networks.run("same")], tmp_path, ExportOptions(formats=("tflite",), frames=100, batch=2))
    assert Artifact(path).runtime.inputs == {"mixture": (2, 100, 129, 2)}


def test_loops_have_a_length(tmp_path):
    (path,) = export([networks.run("loop")], tmp_path, ExportOptions(formats=("tflite",)))
    assert Artifact(path).manifest.graph.windows.frames == LOOP_FRAMES
    with pytest.raises(UsageError, match="--batch 3: as TFLite, these networks take one song at a time"):
        next(export([networks.run("loop")], tmp_path / "other", ExportOptions(formats=("tflite",), batch=3)))


@SLOW
@pytest.mark.parametrize("name", ["bands", "openunmix"])
def test_a_file_with_loops_keeps_its_memory_where_it_is(name):
    """Where memory moves in a run, LiteRT 2.3 reads from where it was: NaNs, now and then, from the second run on."""
    interpreter = Interpreter(str(lite(name).path))
    interpreter.allocate_tensors()
    places = [detail["index"] for detail in interpreter.get_input_details() + interpreter.get_output_details()]

    def addresses():
        return [interpreter.tensor(place)().ctypes.data for place in places]

    before = addresses()
    interpreter.invoke()
    assert addresses() == before


@SLOW
def test_a_file_with_loops_is_no_larger_for_more_frames():
    sizes = [networks.artifact("loop", "tflite", frames=frames).path.stat().st_size for frames in (320, 640)]
    assert abs(sizes[1] - sizes[0]) < 1000


LSTMS = {
    "plain": lambda: keras.layers.LSTM(6, return_sequences=True),
    "bidirectional": lambda: recurrence.BidirectionalLSTM(6),
    "shared": lambda: recurrence.SharedLSTM(6),
}


@pytest.mark.parametrize("frames", [1, 7, 48, 53])
@pytest.mark.parametrize("kind", LSTMS)
def test_the_loop_is_keras_lstm(frames, kind):
    keras.utils.set_random_seed(frames)
    shape = (3, frames, 5) if kind == "shared" else (frames, 5)
    layer = LSTMS[kind]()
    inputs = keras.Input((*shape[:-2], None, 5))
    network = keras.Model(inputs, layer(inputs))
    for weight in network.weights:
        weight.assign(np.random.default_rng(1).normal(0, 0.5, weight.shape))
    sequences = np.random.default_rng(frames).normal(size=(1, *shape)).astype(np.float32)
    assert recurrence.has_loops([network])
    assert np.allclose(recurrence.looped(network)(sequences), network(sequences), atol=2e-6)


@pytest.mark.parametrize("name", ["conv", *(pytest.param(name, marks=SLOW) for name in FRAMES if name != "conv")])
def test_what_separates_needs_no_tensorflow(name, tmp_path):
    soundfile.write(tmp_path / "song.wav", noise(30_000), 44100, "FLOAT")
    code = (
        "import sys\nfrom kerasep.cli import main\ncode = main(sys.argv[1:])\n"
        "assert not {'tensorflow', 'keras', 'onnxruntime', 'onnx'} & set(sys.modules), 'too much'\nsys.exit(code)\n"
    )
    call = ["separate", str(tmp_path / "song.wav"), "--model", str(lite(name).path), "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "song").iterdir())) == len(lite(name).manifest.targets)


def test_info(conv, capsys):
    assert main(["info", str(conv["int8"])]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["precision"] == "int8" and said["bytes"] == conv["int8"].stat().st_size and "usage" in said


@pytest.fixture
def damaged(tmp_path) -> Path:
    return tmp_path / "damaged.tflite"


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_truncated_file(damaged, share):
    content = lite("conv").path.read_bytes()
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(KerasepError, match=r"damaged\.tflite: (not a TFLite file that this LiteRT can run|damaged)") as caught:
        Artifact(damaged)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none(damaged):
    damaged.write_text("no model, and long enough to be one: " * 10)
    with pytest.raises(KerasepError, match="not a TFLite file"):
        Artifact(damaged)


def test_a_file_of_somebody_else(damaged):
    content = to_bytes(read(lite("conv").path))  # with the manifest's text somewhere in it
    damaged.write_bytes(content.replace(b"sealed_sha256", b"somebody_else"))
    with pytest.raises(KerasepError, match=r"damaged\.tflite: none of kerasep's files \(no manifest in it\)"):
        Artifact(damaged)


def test_a_file_that_is_not_the_one_its_manifest_is_of(conv, damaged):
    damaged.write_bytes(conv["float32"].read_bytes())
    manifest_path(damaged).write_text(manifest_path(conv["float16"]).read_text())
    with pytest.raises(KerasepError, match=r"its sha256 is not the one in damaged\.tflite\.json"):
        Artifact(damaged)


def test_without_litert(monkeypatch):
    path = lite("conv").path
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(KerasepError, match=r"LiteRT is not installed: pip install 'kerasep\[tflite\]'"):
        Artifact(path)


def test_an_operator_that_is_not_built_in_is_named():
    model = read(lite("conv").path)
    model.operatorCodes[0].customCode = b"FlexEinsum"
    assert kind(model, next(op for op in model.subgraphs[0].operators if op.opcodeIndex == 0)) == "CUSTOM FlexEinsum"


def test_lstms_are_found_at_any_depth():
    inner = keras.Sequential([keras.Input((4, 5)), keras.layers.LSTM(3, return_sequences=True)])
    inputs = keras.Input((4, 5))
    assert recurrence.has_loops([keras.Model(inputs, keras.Sequential([inner])(inputs))])
    assert not recurrence.has_loops([keras.Model(inputs, keras.layers.Dense(3)(inputs))])


def test_tensorflows_private_schema_writes_what_litert_reads(files):
    """`export.tflite.graph` builds on it: nothing public writes flatbuffers."""
    before, after = (
        Interpreter(**source)
        for source in ({"model_path": str(files["int8"])}, {"model_content": to_bytes(read(files["int8"]))})
    )
    outputs = []
    for interpreter in (before, after):
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        interpreter.set_tensor(given["index"], np.ones(given["shape"], np.float32))
        interpreter.invoke()
        outputs.append({detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()})
    assert outputs[0].keys() == outputs[1].keys()
    assert all(np.array_equal(outputs[0][name], outputs[1][name]) for name in outputs[0])
