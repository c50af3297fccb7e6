"""Ours compared with PyTorch originals: taking turns, and what happens where they cannot be installed."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measure.environments import environment
from benchmarks.pages import report
from benchmarks.pages.compare import compare
from benchmarks.pages.results import RESULTS
from benchmarks.peers import comparison
from benchmarks.peers.peers import PEERS
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import DEFAULT, load


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed(tmp_path, monkeypatch):
    """One line, and nothing left that looks like an environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(KerasepError, match=r"^openunmix: its packages cannot be installed .*No matching distribution"):
        environment(PEERS["openunmix"].original)
    assert not [*(tmp_path / "kerasep" / "peers").iterdir()]


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("cuda", "provider cuda: the installed ONNX Runtime has only "),
        ("azure", "--provider azure: PyTorch is measured with cpu, cuda, tensorrt"),
    ],
)
def test_a_provider_for_both_sides(provider, message):
    with pytest.raises(UsageError, match=message):
        comparison.measure(["demucs"], provider=provider)


def test_peers_take_turns(tmp_path, monkeypatch):
    """Ours against ours, which answers as a peer does: every sample, and stems that agree."""
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    same = PEERS["demucs"]._replace(same=True, rounds=2, ours=lambda folder: load(DEFAULT).path)
    monkeypatch.setitem(PEERS, "demucs", same)
    monkeypatch.setattr(comparison, "TORCH_WORKER", script)
    monkeypatch.setattr(comparison, "SECONDS", 3)

    def environment(original):
        if original.name == "openunmix":
            raise KerasepError("openunmix: its packages cannot be installed")
        return Path(sys.executable)

    monkeypatch.setattr(comparison, "environment", environment)
    section = comparison.measure(["openunmix", "demucs"])
    report.add(tmp_path, {"peers": section})
    (peer,) = section["peers"]
    assert {side: len(samples) for side, samples in peer["samples"]["default"].items()} == {"ours": 2, "theirs": 2}
    assert min(peer["agreement_db"]["default"].values()) == pytest.approx(40, abs=0.1)
    assert min(*peer["peak_megabytes"].values(), peer["loaded_megabytes"]) > 50
    text = (tmp_path / "report.md").read_text()
    assert "| 40 dB |" in text and "Not measured: openunmix: its packages cannot be installed." in text
    (line,) = compare(tmp_path / RESULTS, tmp_path / RESULTS)[0]
    assert line.startswith(f"compared with {same.what} default: ")


PEER = """
import json, sys
import numpy as np
import kerasep
folder = sys.argv[2]
print(json.dumps({"ways": ["default"], "versions": {}}), flush=True)
for line in sys.stdin:
    if line.startswith("stems"):
        stems = kerasep.separate(np.load(folder + "/audio.npy"), 44100)
        np.savez(folder + "/default.npz", **{target: stem / 1.01 for target, stem in stems.items()})
    print(json.dumps(0.01), flush=True)
"""
