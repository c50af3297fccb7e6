"""Latency: every case is measured on every runtime, or on the provider that is asked for."""

import json
import os
import subprocess
import sys

import networks
import pytest
from conftest import ROOT

from benchmarks import __main__ as benchmarks
from benchmarks.measure import latency
from benchmarks.pages.report import PAGE
from benchmarks.pages.results import RESULTS, cases, load
from kerasep.errors import KerasepError
from kerasep.hub import BUNDLED


def measure(files, output, monkeypatch):
    """The section of results that the command writes to `output`."""
    call = ["benchmarks", "latency", *map(str, files), "--quick", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", call)
    assert benchmarks.main() == 0
    return load(output / RESULTS)["latency"]


def check(section, seconds):
    """Every case has its numbers."""
    for file, case in cases(section):
        assert len(case["samples"]) == section["rounds"] - 1 == len(file["rates"][str(case["threads"])]["product"])
        assert case["load_seconds"] > 0 and case["first_seconds"] > 0 and case["peak_megabytes"] > 20
        assert case["provider"] == "Keras" or case["limit_seconds"] > 0
        assert case["audio_seconds"] == pytest.approx(seconds, abs=0.1)
    assert section["commit"] is None or len(section["commit"]) == 40
    assert any(line.startswith("CUDAExecutionProvider: not in") for line in section["missing"])


@pytest.fixture
def few(monkeypatch) -> None:
    """Two turns on a second of music, on one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(latency, "QUICK_ROUNDS", 3)
    monkeypatch.setattr(latency, "SECONDS", (0.5, 1.0))


def test_every_case_has_its_numbers(few, tmp_path, monkeypatch):
    section = measure([BUNDLED["conv"]], tmp_path, monkeypatch)
    assert {case["provider"] for _, case in cases(section)} == {"CPUExecutionProvider"}
    check(section, 1)
    text = (tmp_path / PAGE).read_text()
    assert text.count("<svg") == 2 and "Not measured: CUDAExecutionProvider: not in this" in text
    assert text.count("<tr>") == 1 + sum(1 for _ in cases(section))


@pytest.mark.slow
def test_every_runtime_is_measured(few, tmp_path, monkeypatch):
    """Spectrogram graphs in both formats, a waveform graph and a run folder."""
    artifacts = (networks.artifact("conv", "tflite"), networks.artifact("conv", graph="waveform"))
    section = measure([*(artifact.path for artifact in artifacts), networks.run("conv")], tmp_path, monkeypatch)
    assert {file["graph"] for file in section["files"]} == {"spectrogram", "waveform"}
    assert {case["provider"] for _, case in cases(section)} >= {"CPUExecutionProvider", "XNNPACK", "Keras"}
    check(section, 1)


def test_what_libraries_print_is_no_answer():
    code = (
        "import benchmarks.measure.latency_worker as w; o = w.open_network; "
        "w.open_network = lambda *a: (print('noise'), o(*a))[1]; w.main()"
    )
    command = [sys.executable, "-c", code, BUNDLED["conv"], "CPUExecutionProvider", "1", "1", "1"]
    done = subprocess.run(command, input="load\nrun\nrun\n", cwd=ROOT, check=True, capture_output=True, text=True)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3 and "noise" in done.stderr


def test_one_provider_alone():
    network = latency._network(str(BUNDLED["conv"]))
    found, missing = latency.cases(network, False, "cpu")
    assert {case.provider for case in found} == {"CPUExecutionProvider"} and not missing
    everything, missing = latency.cases(network, False)
    assert set(found) <= set(everything) and "TensorrtExecutionProvider: not in this machine's runtime" in missing


@pytest.mark.parametrize(
    ("file", "provider", "message"),
    [
        ("conv.onnx", "cuda", "--provider cuda: the installed ONNX Runtime has only CPUExecutionProvider: pip uninstall"),
        ("conv.onnx", "gpu", "unknown provider gpu: choose from cpu, cuda, tensorrt"),
        ("small.tflite", "cpu", "small.tflite: --provider is for ONNX files"),
    ],
)
def test_a_provider_that_is_not_there_is_one_line(file, provider, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latency, "_available", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(latency, "_network", lambda name: latency.Network(tmp_path / name, None))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "latency", file, "--provider", provider, "-o", str(tmp_path / "out")])
    assert benchmarks.main() == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_provider_that_opens_nothing_is_one_line(monkeypatch):
    """A GPU package on a machine without a GPU: an error, not times of the CPU."""
    monkeypatch.setattr(latency, "_available", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(latency, "QUICK_ROUNDS", 1)
    with pytest.raises(
        KerasepError,
        match=r"^CUDAExecutionProvider: does not run conv\.onnx: CUDAExecutionProvider does not open .*conv\.onnx$",
    ):
        latency.measure([str(BUNDLED["conv"])], quick=True, provider="cuda")
