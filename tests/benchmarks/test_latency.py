"""Latency: every case is measured on every runtime, or on the provider that is asked for."""

import json
import os
import subprocess
import sys

import networks
import pytest
from conftest import ROOT

from benchmarks import __main__ as benchmarks
from benchmarks.measure import latency, latency_worker, machine
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
        if case["in_turns"]:
            assert len(case["samples"]) == section["rounds"] - 1 == len(file["rates"][str(case["threads"])]["product"])
        assert case["load_seconds"] > 0 and case["first_seconds"] > 0 and case["peak_megabytes"] > 20
        assert not case["in_turns"] or case["provider"] == "keras" or case["limit_seconds"] > 0
        assert case["audio_seconds"] / case["batch"] == pytest.approx(seconds, abs=0.1)
    assert section["commit"] is None or len(section["commit"]) == 40


@pytest.fixture
def few(monkeypatch) -> None:
    """Two turns on a second of music, on one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(latency, "QUICK_ROUNDS", 3)
    monkeypatch.setattr(latency, "SECONDS", (0.5, 1.0))


def test_every_case_has_its_numbers(few, tmp_path, monkeypatch):
    section = measure([BUNDLED["conv"]], tmp_path, monkeypatch)
    assert {case["provider"] for _, case in cases(section)} == {"cpu"}
    check(section, 1)
    text = (tmp_path / PAGE).read_text()
    assert text.count("<svg") == 2 and "Not measured: openvino, coreml, dml, cuda, tensorrt: not in this ONNX Runtime" in text
    assert text.count("<tr>") == 1 + sum(1 for _ in cases(section))


@pytest.mark.slow
def test_every_runtime_is_measured(few, tmp_path, monkeypatch):
    """Spectrogram graphs in both formats, a waveform graph and a run folder."""
    artifacts = (networks.artifact("conv", "tflite"), networks.artifact("conv", graph="waveform"))
    section = measure([*(artifact.path for artifact in artifacts), networks.run("conv")], tmp_path, monkeypatch)
    assert {file["graph"] for file in section["files"]} == {"spectrogram", "waveform"}
    assert {case["provider"] for _, case in cases(section)} == {"cpu", "xnnpack", "keras"}
    check(section, 1)


def test_what_libraries_print_is_no_answer():
    code = (
        "import benchmarks.measure.latency_worker as w; o = w.open_network; "
        "w.open_network = lambda *a: (print('noise'), o(*a))[1]; w.main()"
    )
    command = [sys.executable, "-c", code, BUNDLED["conv"], "cpu", "", "1", "1", "1"]
    done = subprocess.run(command, input="load\nrun\nrun\n", cwd=ROOT, check=True, capture_output=True, text=True)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3 and "noise" in done.stderr


def test_one_provider_or_all(monkeypatch):
    """With tensors on the host and, where a GPU has its own memory, with tensors that stay there."""
    network = latency._network(str(BUNDLED["conv"]))
    found, missing = latency.cases(network, False, "cpu")
    assert {(case.provider, case.memory) for case in found} == {("cpu", "")} and not missing
    monkeypatch.setattr(latency, "available", lambda: ["tensorrt", "cuda", "azure", "cpu"])
    everything, missing = latency.cases(network, False)
    assert set(found) < set(everything) and missing == ["openvino, coreml, dml: not in this ONNX Runtime"]
    ways = {(case.provider, case.memory) for case in everything}
    assert ways == {
        ("cpu", ""),
        *((way, memory) for way in ("cuda", "cuda:use_tf32=1") for memory in ("", "cuda")),
        ("cuda:enable_cuda_graph=1", "cuda"),
        *((way, memory) for way in ("tensorrt", "tensorrt:trt_fp16_enable=1") for memory in ("", "cuda")),
    }
    assert {case.batch for case in everything if case.provider == "cuda"} == {1, 32}


@pytest.mark.parametrize(
    ("file", "provider", "message"),
    [
        ("conv.onnx", "cuda", "provider cuda: the installed ONNX Runtime has only "),
        ("conv.onnx", "gpu", "unknown provider gpu: choose from auto, "),
        ("conv.onnx", "auto", "--provider auto: name one, or leave it out to measure all that are here"),
        ("conv.onnx", "cuda:use_tf32", "provider 'cuda:use_tf32': write NAME or NAME:key=value,key=value"),
        ("small.tflite", "cpu", "small.tflite: --provider is for ONNX files"),
    ],
)
def test_a_provider_that_is_not_there_is_one_line(file, provider, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latency, "_network", lambda name: latency.Network(tmp_path / name, None))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "latency", file, "--provider", provider, "-o", str(tmp_path / "out")])
    assert benchmarks.main() == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_provider_that_opens_nothing_is_one_line(monkeypatch):
    """An error, not times of the CPU."""
    monkeypatch.setattr(latency, "check", lambda name: None)
    monkeypatch.setattr(latency, "QUICK_ROUNDS", 1)
    with pytest.raises(
        KerasepError,
        match=r"^cuda: does not run conv\.onnx: provider cuda: the installed ONNX Runtime has only [^;]*'kerasep\[gpu\]'$",
    ):
        latency.measure([str(BUNDLED["conv"])], quick=True, provider="cuda")


def test_gpu_memory_is_what_the_driver_says(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\ncase $1 in *memory*) printf '100\\n23\\n';; *) echo 'Some GPU, 580.1';; esac\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine.gpu_megabytes() == pytest.approx(123 * 1.048576)
    assert machine.describe()["machine"]["gpu"] == "Some GPU, 580.1"
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert machine.gpu_megabytes() is None
    tool.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    assert machine.gpu_megabytes() is None and machine.describe()["machine"]["gpu"] is None


@pytest.mark.slow
def test_another_provider_has_the_machine_to_itself(openvino, tmp_path):
    """OpenVINO, for real, in the place of a GPU: with copies and without, checked against the CPU provider."""
    code = (
        "import sys; from benchmarks import __main__ as b; from benchmarks.measure import latency as l;"
        "l.ON_PROCESSOR -= {'openvino'}; l.MEMORY['openvino'] = 'cpu'; l.GPU_BATCHES = (1, 2); l.SECONDS = (1.0,);"
        "sys.exit(b.main())"
    )
    command = [sys.executable, "-c", code, "latency", str(networks.artifact("conv").path), "-o", str(tmp_path)]
    done = subprocess.run(
        [*command, "--provider", "openvino"], cwd=ROOT, env=openvino, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    section = load(tmp_path / RESULTS)["latency"]
    check(section, 1)
    found = {(case["memory"], case["batch"]): case for _, case in cases(section)}
    assert set(found) == {(memory, batch) for memory in ("", "cpu") for batch in (1, 2)}
    for case in found.values():
        assert len(case["samples"]) >= latency_worker.LEAST and not case["in_turns"]
        assert case["agreement_db"] > 60 and bool(case["nodes"]) == (not case["memory"])
    assert "openvino, without copies" in (tmp_path / PAGE).read_text()
