"""What runs an ONNX file, with stand-ins for what this machine lacks; and for real on OpenVINO, which runs on a CPU."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import onnxruntime
import pytest
import soundfile
from conftest import ROOT, agreement, package, with_package

import kerasep
from kerasep.cli import main
from kerasep.errors import UsageError
from kerasep.hub import BUNDLED
from kerasep.inference import providers, runtime
from kerasep.inference.artifact import Artifact
from kerasep.inference.placement import placement
from kerasep.signal.factored import Plan
from kerasep.signal.levels import agreement_db
from kerasep.signal.spectrogram import Spectrogram, window

CONV = BUNDLED["conv"]


@pytest.fixture
def gpu(monkeypatch):
    """ONNX Runtime as onnxruntime-gpu has it: a list of the providers that open files, and of all that was asked of it."""
    machine = SimpleNamespace(opens=["CPUExecutionProvider"], asked=[], preloaded=0)
    real = onnxruntime.InferenceSession

    def session(path, options, providers, enable_fallback):
        machine.asked.append(dict(providers))
        made = real(path, options, providers=["CPUExecutionProvider"])
        made.get_providers = lambda: [name for name, _ in providers if name in machine.opens]
        return made

    def preload() -> None:
        print("Failed to load libcudnn.so.9")
        machine.preloaded += 1

    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    return machine


def test_the_best_that_opens_the_file(gpu):
    gpu.opens.insert(0, "CUDAExecutionProvider")
    opened = kerasep.load("conv").artifact.runtime
    assert opened.provider == "cuda" and opened.skipped == ()
    assert gpu.asked == [{"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}] and gpu.preloaded == 1


def test_a_gpu_that_does_not_open_it_is_named_with_its_remedy(gpu, tmp_path, capsys):
    audio = tmp_path / "song.wav"
    soundfile.write(audio, np.zeros((4410, 2)), 44100)
    assert main(["separate", str(audio), "-o", str(tmp_path), "--model", "conv"]) == 0
    said = capsys.readouterr()
    assert "libcudnn" not in said.out
    assert "conv.onnx: cuda does not open it: no NVIDIA driver here" in said.err and "'kerasep[gpu]'" in said.err
    assert "kerasep: conv.onnx runs on cpu\n" in said.err


@pytest.mark.parametrize(
    "command", [["separate", "song.wav"], ["demo"], ["info", "conv"], ["separate", "song.wav", "--stream"]]
)
def test_what_was_asked_for_never_falls_back(gpu, command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = [] if command[0] == "info" else ["--model", "conv"]
    assert main([*command, *model, "--provider", "cuda"]) == 1
    said = capsys.readouterr()
    assert re.search(r"^kerasep: .*conv\.onnx: cuda does not open it: .*pip install 'kerasep\[gpu\]'\n$", said.err)
    assert said.out == "" and not list(tmp_path.iterdir())


def test_evaluate_never_falls_back(gpu, hq_root, tmp_path, capsys):
    command = ["evaluate", "--root", str(hq_root), "--model", "conv", "--provider", "cuda", "-o", str(tmp_path / "scores")]
    assert main(command) == 1
    assert "cuda does not open it" in capsys.readouterr().err and not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("gpu", "unknown provider gpu: choose from auto, "),
        ("openvino", "has only tensorrt, cuda, cpu: pip uninstall onnxruntime, then pip install 'kerasep[openvino]'"),
        ("qnn", "has only tensorrt, cuda, cpu: install one with qnn"),
        ("cuda:device_id", "write NAME or NAME:key=value"),
        (":a=b", "write NAME or NAME:key=value"),
        ("auto:device_id=1", "name it"),
    ],
)
def test_a_wrong_choice_is_one_line(gpu, provider, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        kerasep.load("conv", provider=provider)


def test_no_gpu_package(monkeypatch):
    with pytest.raises(UsageError, match=r"only .*cpu: pip uninstall onnxruntime, then pip install 'kerasep\[gpu\]'"):
        kerasep.load("conv", provider="cuda")


def test_tensorrt_has_cuda_behind_it_and_keeps_its_engines(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpu.opens[:0] = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    Artifact(CONV, provider="tensorrt:trt_fp16_enable=1")
    tensorrt, cuda, cpu = gpu.asked[0].items()
    assert tensorrt[0] == "TensorrtExecutionProvider" and tensorrt[1]["trt_fp16_enable"] == "1"
    assert tensorrt[1]["trt_engine_cache_enable"] == "1" and Path(tensorrt[1]["trt_engine_cache_path"]).is_dir()
    assert cuda == ("CUDAExecutionProvider", {"use_tf32": "0"}) and cpu[0] == "CPUExecutionProvider"


def test_options_replace_ours(gpu):
    gpu.opens.insert(0, "CUDAExecutionProvider")
    Artifact(CONV, provider="cuda:use_tf32=1,device_id=1")
    assert gpu.asked[0]["CUDAExecutionProvider"] == {"use_tf32": "1", "device_id": "1"}


def test_a_tflite_file_has_no_providers():
    artifact = networks.artifact("conv", "tflite")
    file = artifact.path
    with pytest.raises(UsageError, match="provider cuda is for ONNX files"):
        Artifact(file, provider="cuda")
    assert Artifact(file, provider="auto").runtime.provider == "cpu"
    with pytest.raises(UsageError, match="providers are for ONNX files"):
        placement(artifact, "cpu")


def test_two_runtimes_side_by_side_are_reported(monkeypatch):
    monkeypatch.setattr(runtime, "runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    with pytest.warns(UserWarning, match="^onnxruntime and onnxruntime-gpu overwrite each other: pip uninstall"):
        Artifact(CONV)


def test_the_cpu_alone_says_nothing(tmp_path, capsys):
    soundfile.write(tmp_path / "song.wav", np.zeros((4410, 2)), 44100)
    assert main(["separate", str(tmp_path / "song.wav"), "--model", "conv", "-o", str(tmp_path)]) == 0
    assert "runs on" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "graph"), [("bands", "spectrogram"), ("bands", "waveform"), ("bands-ahead", "step")])
def test_every_node_has_its_place(name, graph):
    nodes = placement(networks.artifact(name, graph=graph), "cpu")
    assert list(nodes) == ["CPUExecutionProvider"] and sum(nodes["CPUExecutionProvider"].values()) > 10
    assert ("LSTM" in nodes["CPUExecutionProvider"]) == (name == "bands")


def test_options_are_the_gpu_packages_own():
    """The names of options that we set stand in onnxruntime-gpu's libraries, which no CPU can load."""
    folder = package("KERASEP_ONNXRUNTIME_GPU")
    for name, library in (("cuda", "providers_cuda"), ("tensorrt", "providers_tensorrt")):
        content = (folder / "onnxruntime" / "capi" / f"libonnxruntime_{library}.so").read_bytes()
        content += next((folder / "onnxruntime" / "capi").glob("libonnxruntime.so.*")).read_bytes()
        options = [
            *providers._defaults(name),
            "device_id",
            *(["trt_fp16_enable"] if name == "tensorrt" else ["enable_cuda_graph"]),
        ]
        assert [option for option in options if option.encode() not in content] == []


def test_the_gpu_package_without_a_gpu():
    """Which lists its providers as available: only opening a file tells."""
    code = "import kerasep; r = kerasep.load('conv').artifact.runtime; print(r.provider); print(r.skipped[0])"
    done = _run([sys.executable, "-W", "ignore", "-c", code], with_package("KERASEP_ONNXRUNTIME_GPU"))
    provider, skipped = done.stdout.splitlines()
    assert provider == "cpu" and "cuda does not open it: no NVIDIA driver here" in skipped and done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bands", "conv"])
def test_openvino_separates_like_the_cpu(openvino, name, song, tmp_path):
    samples = np.sum(list(song.values()), axis=0)[: 5 * 44100]
    soundfile.write(tmp_path / "song.wav", samples, 44100, "FLOAT")
    said = {}
    for provider in ("auto", "cpu"):
        command = ["separate", "song.wav", "--float32", "--model", name, "--provider", provider, "-o", provider]
        said[provider] = _run([*KERASEP, *command], openvino, tmp_path).stderr
    assert f"kerasep: {name}.onnx runs on openvino\n" in said["auto"] and "runs on" not in said["cpu"]
    for target in ("vocals", "drums", "bass", "other"):
        ours, theirs = (soundfile.read(tmp_path / provider / "song" / f"{target}.wav")[0] for provider in ("cpu", "auto"))
        assert agreement(ours, theirs) > 100 and not np.array_equal(ours, theirs)


@pytest.mark.slow
def test_openvino_streams_scores_and_says_what_it_runs(openvino, hq_root, tmp_path):
    step = networks.artifact("bands-ahead", graph="step").path
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, (44100, 2)), 44100, "FLOAT")
    for provider in ("openvino", "cpu"):
        command = ["separate", "song.wav", "--float32", "--stream", "--model", step, "--provider", provider, "-o", provider]
        _run([*KERASEP, *command], openvino, tmp_path)
    ours, theirs = (soundfile.read(tmp_path / provider / "song" / "vocals.wav")[0] for provider in ("cpu", "openvino"))
    assert agreement(ours, theirs) > 90
    info = json.loads(_run([*KERASEP, "info", "conv", "--provider", "openvino"], openvino).stdout)
    assert list(info["nodes"]) == ["OpenVINOExecutionProvider"]
    command = ["evaluate", "--root", hq_root, "--model", "conv", "--provider", "openvino", "--metrics", "sdr", "-o", "scores"]
    _run([*KERASEP, *command], openvino, tmp_path)
    assert "openvino" in (tmp_path / "scores" / "summary.json").read_text()


@pytest.mark.slow
def test_a_wrong_option_is_openvinos_own_line(openvino):
    done = _run([*KERASEP, "info", "conv", "--provider", "openvino:nonsense=1"], openvino, code=1)
    assert done.stderr.splitlines()[-1].endswith("openvino does not open it: Invalid OpenVINO EP option: nonsense")


KERASEP = [sys.executable, "-m", "kerasep"]


def _run(command: list, environment: dict[str, str], folder: Path = ROOT, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_why_cuda_gets_no_tf32():
    """Products of operands with 10 bits of mantissa, CUDA's default, cost a waveform graph's transform half of its digits."""
    plan = Plan(Spectrogram())
    signal = np.random.default_rng(0).normal(size=(plan.outer, plan.inner)).astype(np.float32)
    waves = window("hann", 4096).astype(np.float64) * signal.astype(np.float64).reshape(-1)
    expected = np.fft.rfft(waves).reshape(-1)

    def transformed(rounded) -> np.ndarray:
        first = np.einsum("bka,ab->kb", rounded(plan.outer_matrices()), rounded(signal))  # [real, imaginary] x k1, b
        halves = first.reshape(2, plan.outer, plan.inner).transpose(1, 2, 0).reshape(plan.outer, -1)
        spectra = rounded(plan.inner_matrix()) @ rounded(np.float32(halves)).T  # [real, imaginary] x k2, k1
        real, imaginary = spectra.reshape(2, plan.inner // 2 + 1, plan.outer).astype(np.float64)
        return (real + 1j * imaginary).reshape(-1)[: len(expected)]

    def tf32(values: np.ndarray) -> np.ndarray:
        return ((values.view(np.uint32) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)

    assert agreement_db([(expected, transformed(lambda values: values))]) > 130
    assert 60 < agreement_db([(expected, transformed(tf32))]) < 80
    assert providers._defaults("cuda")["use_tf32"] == "0"
