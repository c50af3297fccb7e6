"""The benchmarks run and write what pages are made from; what they measure is not judged here."""

import json
import subprocess
import sys

import pytest
from test_design import ROOT


@pytest.mark.slow
def test_separate_measures_parts_and_files(tmp_path):
    output = tmp_path / "separate.json"
    command = [sys.executable, "-m", "benchmarks", "separate", "--minutes", "0.1", "-o", output]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result = json.loads(output.read_text())
    assert {len(samples) for samples in result["parts"]["samples"].values()} == {15}
    assert result["files"][0]["peak_megabytes"] > 50
    assert "x real time" in done.stdout


def test_one_line_for_a_model_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "separate", "--model", "nothing.onnx", "-o", tmp_path / "x.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("benchmarks: unknown model") and done.stderr.count("\n") == 1


def test_one_line_for_a_peer_that_is_not_named(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "training", "--root", tmp_path, "-o", tmp_path / "x.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("benchmarks: peer: name a Python") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_worker_measures_steps_in_turns(clips):
    """The turns that `benchmarks training` takes, on the smaller recipe."""
    command = [sys.executable, "-m", "benchmarks.training_worker", "step", "conv-norm", clips]
    done = subprocess.run(command, cwd=ROOT, input="live\ncached\nend\n", check=True, capture_output=True, text=True)
    live, cached, end = (json.loads(line) for line in done.stdout.splitlines())
    assert len(live) == len(cached) == 5 and min(live + cached) > 0
    assert end["audio_seconds_per_step"] == 48 and end["peak_megabytes"] > 500
