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
