"""HTDemucs' weights: both kinds of files give the original's stems, and every way in which a file can be wrong is one line."""

import json
import struct
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import agreement
from golden_files import golden, htdemucs_state

from kerasep.checks import sha256
from kerasep.cli import main
from kerasep.errors import KerasepError, UsageError
from kerasep.importers import demucs
from kerasep.importers.demucs_arguments import understood
from kerasep.importers.demucs_tensors import Sizes, Tensor, tensors
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.models.htdemucs import htdemucs

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
KINDS = ("th", "safetensors")
SAMPLES = golden("htdemucs")["four/input"].shape[1]
ARGUMENTS = json.loads(str(golden("htdemucs")["four/arguments"])) | {"segment": Fraction(SAMPLES, 44100)}
SIZES = {"four": Sizes(16, 2, 8, 3, 2, 256), "six": Sizes(16, 1, 0, 2, 2, 256)}


@pytest.fixture
def klass(monkeypatch):
    """demucs' class, or what a pickle takes for it where the package is not installed."""
    try:
        from demucs.htdemucs import HTDemucs
    except ImportError:
        module = ModuleType("demucs.htdemucs")
        HTDemucs = module.HTDemucs = type("HTDemucs", (), {"__module__": module.__name__})
        monkeypatch.setitem(sys.modules, "demucs", ModuleType("demucs"))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return HTDemucs


@pytest.fixture
def write(klass, tmp_path):
    """Writes a file of the case "four", with changes to its arguments and tensors."""

    def written(kind: str, arguments=None, change=lambda state: None, half=False, name="network", **more) -> Path:
        state = {key: torch.from_numpy(values.copy()) for key, values in htdemucs_state("four").items()}
        state = {key: values.half() if half else values for key, values in state.items()}
        change(state)
        kwargs = ARGUMENTS | (arguments or {})
        path = tmp_path / f"{name}.{kind}"
        if kind == "th":
            content = {"klass": klass, "args": (), "kwargs": kwargs, "state": state, "training_args": {"lr": 3e-4, "a": [None]}}
            torch.save(content | more, path)
        else:
            texts = {"klass": demucs.CLASS, "args": "[]", "kwargs": json.dumps(kwargs, default=encoded)}
            safetensors.save_file(state, path, texts | more)
        return path

    return written


def encoded(value: Fraction) -> dict:
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}


def refused(path: Path, message: str, error: type[KerasepError] = KerasepError, **options) -> None:
    """A line that begins with the file's name."""
    with pytest.raises(KerasepError, match=message) as caught:
        demucs.load(path, **options)
    text = str(caught.value)
    assert type(caught.value) is error
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 400


@pytest.mark.parametrize("case", SIZES)
def test_the_table_has_every_tensor_once(case):
    """Those of the original, and every variable of the network."""
    state = htdemucs_state(case)
    targets = 2 if case == "four" else 3
    rows = list(tensors(SIZES[case], targets))
    assert {row.name: row.shape for row in rows} == {name: values.shape for name, values in state.items()}
    network = htdemucs("abc"[:targets], SAMPLES, *SIZES[case])
    assert sorted(row.variable for row in rows) == sorted(variable.path for variable in network.weights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_originals_stems(kind, write):
    arrays = golden("htdemucs", "four/")
    loaded = demucs.load(write(kind))
    assert (loaded.targets, loaded.rate, loaded.channels, loaded.segment) == (("drums", "vocals"), 44100, 2, SAMPLES)
    assert loaded.model.name == "htdemucs" and list(loaded.model.output) == ["drums", "vocals"]
    for target, stem in loaded.model(arrays["input"]).items():
        assert agreement(arrays[f"output/{target}"], np.asarray(stem)) >= 105


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [False, True])
def test_tensors_come_back(kind, half, write):
    """There and back again; the weights of golden files have half precision."""
    loaded = demucs.load(write(kind, half=half))
    variables = {variable.path: np.asarray(variable) for variable in loaded.model.weights}
    state = htdemucs_state("four")
    for tensor in tensors(SIZES["four"], 2):
        assert np.array_equal(pytorchs(tensor, variables[tensor.variable]), state[tensor.name]), tensor


def pytorchs(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """A variable as PyTorch has it."""
    if not tensor.variable.endswith("kernel"):
        return values
    first, second, *taps = tensor.shape
    return np.moveaxis(values.reshape(*taps, second, first), (-1, -2), (0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_segment(kind, write):
    path = write(kind)
    assert demucs.load(path, segment=300).model.input_shape == (None, 300, 2)
    refused(path, "a segment of 44,100 samples: it was trained on", UsageError, segment=44100)
    refused(path, "a segment of 0 samples", UsageError, segment=0)
    refused(path, "90 samples are too few", UsageError, segment=90)


def test_sources_may_come_without_a_name(write):
    kwargs = {name: value for name, value in ARGUMENTS.items() if name != "sources"}
    path = write("th", args=(["a", "b"],), kwargs=kwargs)
    assert demucs.load(path).targets == ("a", "b")


def test_names_hold_a_part_of_the_hash(write, tmp_path):
    path = write("th")
    right = path.rename(tmp_path / f"955717e8-{sha256(path)[:8]}.th")
    assert demucs.load(right).targets == ("drums", "vocals")
    refused(right.rename(tmp_path / "955717e8-8726e21a.th"), "does not start with 8726e21a")


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dconv_mode": 1}, "dconv_mode is not 3"),
        ({"cac": False}, "cac is not True"),
        ({"multi_freqs": [0.5]}, "multi_freqs is not None"),
        ({"t_emb": "scaled"}, "t_emb is not 'sin'"),
        ({"t_sin_random_shift": 5}, "t_sin_random_shift is not 0"),
        ({"channels_time": 48}, "channels_time is not None"),
        ({"audio_channels": 1}, "audio_channels is not 2"),
        ({"norm_starts": 1}, "norm_starts is less than its depth"),
        ({"lstm": True}, "no argument 'lstm'"),
        ({"channels": 10**9}, "channels is not a whole number from 8 to 1,024"),
        ({"channels": 16.0}, "channels is not a whole number"),
        ({"channels": "16"}, "channels is not a whole number"),
        ({"depth": 10**12}, "depth is not a whole number"),
        ({"t_layers": 10**9}, "t_layers is not a whole number"),
        ({"segment": 10**9}, "segment is no time"),
        ({"segment": Fraction(1, 10**30)}, "segment is no time"),
        ({"segment": "long"}, "segment is no time"),
        ({"segment": 7.8}, "too long for its spectrogram"),
        ({"samplerate": 0}, "samplerate is not a whole number"),
        ({"sources": []}, "sources are not a list of names"),
        ({"sources": ["a", "a"]}, "sources are not a list of different names"),
        ({"sources": ["a", "../b"]}, "sources are not a list of different names"),
        ({"sources": "ab"}, "sources are not a list of names"),
        ({"sources": ["drums", "bass", "vocals"]}, "and should be"),
        ({"t_layers": 4}, "crosstransformer.layers.3.cross_attn.in_proj_weight is missing"),
        ({"t_layers": 2}, "holds crosstransformer.layers.2"),
        ({"bottom_channels": 0}, "and should be"),
        ({"nfft": 512}, "freq_emb.embedding.weight is"),
        ({"t_heads": 3}, "do not divide into 3 heads"),
    ],
    ids=str,
)
def test_arguments_of_another_network(kind, arguments, message, write):
    refused(write(kind, arguments), message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("freq_emb.embedding.weight"), "freq_emb.embedding.weight is missing"),
        (lambda state: state.update(more=torch.zeros(2)), "holds more, which HTDemucs does not have"),
        (lambda state: state.update({"decoder.0.conv_tr.bias": torch.zeros(3)}), r"decoder.0.conv_tr.bias is \(3,\)"),
        (lambda state: state["encoder.0.conv.bias"].fill_(float("nan")), "encoder.0.conv.bias holds NaN or infinity"),
        (lambda state: state.clear(), "encoder.0.conv.weight is missing"),
    ],
    ids=["missing", "unknown", "shape", "nan", "empty"],
)
def test_tensors_that_are_wrong(kind, change, message, write):
    refused(write(kind, change=change), message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_truncated_files(kind, share, write):
    path = write(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "download it again|not a safetensors file")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"RIFF" * 100, b"\x89PNG" + bytes(100), b"PK\x03\x04" + bytes(100), b"{}", bytes(64)])
def test_foreign_files(kind, content, tmp_path):
    path = tmp_path / f"network.{kind}"
    path.write_bytes(content)
    refused(path, ".")


@pytest.mark.parametrize("kind", KINDS)
def test_no_file(kind, tmp_path):
    refused(tmp_path / f"none.{kind}", "cannot be read")


def test_quantised_weights(write):
    refused(write("th", state={"__quantized": True, "quantized": [torch.zeros(2)]}), "its weights are quantised")
    refused(write("safetensors", structure="{}"), "its weights are quantised")


def test_other_classes(write):
    refused(write("th", klass=Fraction), "not a network of the package demucs")
    refused(write("th", klass="HTDemucs"), "not a network of the package demucs")
    refused(write("safetensors", klass="demucs.hdemucs.HDemucs"), "not HTDemucs")
    refused(write("th", state=[1, 2]), "not a state dict")


def test_a_bare_state_dict(write, tmp_path):
    path = tmp_path / "state.th"
    torch.save({"a": torch.zeros(2)}, path)
    refused(path, "not a network of the package demucs")


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_pickle_is_not_run(write, tmp_path):
    refused(write("th", training_args=Code(tmp_path / "touched")), "could run code")
    assert not (tmp_path / "touched").exists()


class Huge:
    """A fraction of a number with a thousand million digits."""

    def __reduce__(self):
        return (Fraction, ("1e999999999",))


def test_a_fraction_that_takes_all_memory(write):
    began = time.monotonic()
    refused(write("th", {"segment": Huge()}), "segment is no time")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("kind", "digits"), [("th", 500), ("th", 200_000), ("safetensors", 4000)])
def test_numbers_of_many_digits(kind, digits, write):
    for name in ("channels", "segment", "cac", "samplerate"):
        refused(write(kind, {name: 10**digits}), f"{name} is|Unsupported operand")
    refused(write(kind, {"sources": [10**digits]}), "sources|Unsupported operand")


def test_kinds_of_numbers_in_safetensors(write):
    refused(
        write("safetensors", change=lambda state: state.update({key: values.bfloat16() for key, values in state.items()})),
        "is BF16",
    )
    refused(write("safetensors", change=lambda state: state.update(more=torch.zeros(2, dtype=torch.int64))), "more is I64")


@pytest.mark.parametrize("text", ["", "nothing", "[" * 100_000, '{"a": 1}'])
def test_arguments_that_are_no_json(text, write):
    refused(write("safetensors", args=text), "its arguments")
    refused(write("safetensors", kwargs=f"[{text}]"), "its arguments")


def test_headers_that_promise_too_much(write):
    path = write("safetensors")
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    refused(path, "not a safetensors file")


@pytest.mark.parametrize(("kind", "package"), [("th", "torch"), ("safetensors", "safetensors")])
def test_without_its_package(kind, package, write, monkeypatch):
    path = write(kind)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(KerasepError, match=r"pip install 'kerasep\["):
        demucs.load(path)


# --- beside the package ------------------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("half", [False, True])
def test_files_that_demucs_writes(half, tmp_path):
    """Both kinds, from one network, and what demucs makes of them when it reads them."""
    states = pytest.importorskip("demucs.states")
    hf = pytest.importorskip("demucs.hf")
    from torch_references import random_htdemucs

    original = random_htdemucs(ARGUMENTS, seed=5)
    args, kwargs = original._init_args_kwargs
    state = states.get_state(original, None, half)
    package = {"klass": type(original), "args": args, "kwargs": kwargs, "state": state, "training_args": {"seed": 42}}
    states.save_with_checksum(package, tmp_path / "abc.th")
    texts = {"klass": demucs.CLASS, "args": json.dumps(args), "kwargs": json.dumps(kwargs, default=encoded)}
    safetensors.save_file(state, tmp_path / "abc.safetensors", texts)
    x = golden("htdemucs")["four/input"]
    for path in tmp_path.iterdir():
        reader = hf.load_safetensors_model if path.suffix == ".safetensors" else states.load_model
        with torch.no_grad():
            expected = reader(path).eval()(torch.from_numpy(x).transpose(1, 2)).transpose(2, 3).numpy()
        for number, stem in enumerate(demucs.load(path).model(x).values()):
            assert agreement(expected[:, number], np.asarray(stem)) >= 105


def test_every_argument_of_the_class_is_known():
    """What demucs may write is understood or refused, never passed over by mistake."""
    import inspect

    from kerasep.importers.demucs_arguments import KNOWN

    module = pytest.importorskip("demucs.htdemucs")
    assert set(inspect.signature(module.HTDemucs).parameters) == KNOWN
    assert understood((["a"],), {"dconv_mode": 3}).segment == 441_000


# --- files to artifacts ------------------------------------------------------------------------------------------------------


def network_file(path: Path, change=lambda state: None) -> Path:
    """The case "four", which has two stems."""
    state = {key: torch.from_numpy(values.copy()) for key, values in htdemucs_state("four").items()}
    change(state)
    texts = {"klass": demucs.CLASS, "args": "[]", "kwargs": json.dumps(ARGUMENTS, default=encoded)}
    safetensors.save_file(state, path, texts)
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    """The command's ONNX file of a small network."""
    folder = tmp_path_factory.mktemp("demucs")
    assert main(["import", "demucs", str(network_file(folder / "small.safetensors")), "-o", str(folder / "small.onnx")]) == 0
    return folder / "small.onnx"


@pytest.mark.slow
def test_the_command_writes_a_verified_file(artifact):
    manifest = Artifact(artifact).manifest
    assert manifest.targets == ("drums", "vocals") and manifest.licence == demucs.LICENCE
    assert manifest.details["agreement_db"] > 80 and manifest.multiply_adds > 1e6
    graph = manifest.graph
    assert graph.segments.samples == SAMPLES and graph.segments.stride == int(0.75 * SAMPLES)
    assert graph.blended and graph.normalised


def test_shorter_segments_and_other_overlaps(tmp_path):
    path = network_file(tmp_path / "small.safetensors")
    imported = demucs.imported(path, 0.75 * SAMPLES / 44100, 0.5)
    assert imported.network.input_shape == (None, round(0.75 * SAMPLES), 2) and imported.overlap == 0.5
    for wrong in (["--overlap", "1"], ["--overlap", "nan"], ["--segment", "9"], ["--segment", "nan"], ["--segment", "-1"]):
        assert main(["import", "demucs", str(path), "-o", str(tmp_path / "no.onnx"), *wrong]) == 2
    assert not (tmp_path / "no.onnx").exists()


@pytest.mark.slow
def test_networks_of_a_stem_each(tmp_path, monkeypatch):
    """htdemucs_ft: of each file its own stem."""
    monkeypatch.setattr(demucs, "FINE_TUNED", {"drums": "f7e0c4bc", "vocals": "04573f0d"})
    expected = {}
    with pytest.raises(KerasepError, match="no file for drums, vocals"):
        demucs.imported(tmp_path)
    for stem, name, scale in (("drums", "f7e0c4bc-1", 0.5), ("vocals", "vocals", 2.0)):

        def change(state, scale=scale):
            state["decoder.1.conv_tr.bias"] *= scale

        expected[stem] = demucs.load(network_file(tmp_path / f"{name}.safetensors", change)).model
    network = demucs.imported(tmp_path).network
    sound = np.random.default_rng(0).normal(0, 0.1, size=(1, SAMPLES, 2)).astype(np.float32)
    outputs = network.predict_on_batch(sound)
    assert list(outputs) == ["drums", "vocals"]
    for stem, output in outputs.items():
        assert agreement(expected[stem].predict_on_batch(sound)[stem], output) > 100


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.01, 0.25, 0.5123])
def test_whole_songs_as_demucs_separates_them(artifact, klass, mixture, seconds):
    """Its level of a song, its segments and their overlap, without shifts."""
    apply = pytest.importorskip("demucs.apply")
    network = klass(**ARGUMENTS | {"use_train_segment": True})  # as published: what is shorter is filled up
    network.load_state_dict({key: torch.from_numpy(values) for key, values in htdemucs_state("four").items()})
    network.eval()
    song = np.ascontiguousarray(mixture[30_000:][: int(seconds * 44100)])
    wave = torch.from_numpy(song.T.copy())
    level = wave.mean(0)
    scaled = (wave - level.mean()) / (level.std() + 1e-8)
    with torch.no_grad():
        theirs = apply.apply_model(network, scaled[None], shifts=0, split=True, overlap=0.25)[0]
    theirs = theirs * (level.std() + 1e-8) + level.mean()
    ours = open_separator(Artifact(artifact))(song, 44100)
    for stem, expected in zip(network.sources, theirs.numpy(), strict=True):
        assert agreement(expected.T, ours[stem]) > 80
