"""Damaged files, models and records, hundreds each run: our own error, in one line, or a result.

`python -m tests.campaign` does the same with whole commands, thousands of times, and ends them at random moments.
"""

import json
import random
import warnings

import networks
import numpy as np
import pytest
from campaign.cases import songs
from campaign.damage import bytes_damaged, text_damaged
from campaign.page import tables
from conftest import ROOT

from kerasep.errors import KerasepError
from kerasep.evaluation.results import load_results
from kerasep.inference.artifact import Artifact
from kerasep.signal.audio import read

CASES = 150


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return songs(tmp_path_factory.mktemp("songs"))


def refused(work) -> bool:
    """Whether it could not be done. Any error that is not ours fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            work()
        except KerasepError as error:
            assert "\n" not in str(error)
            return True
    return False


def test_songs(corpus, tmp_path, request):
    chance = random.Random(0)  # noqa: S311
    done = 0
    for number in range(CASES):
        song = chance.choice(
            [path for path in corpus if path.suffix[1:] not in ("m4a", "mkv", "mp4", "wma", "wv", "ac3", "avi")]
        )
        path = tmp_path / f"{number}.{song.name}"
        path.write_bytes(bytes_damaged(song.read_bytes(), chance))
        done += not refused(lambda path=path: read(path))
        path.unlink()
    assert 0.1 * CASES < done < 0.9 * CASES  # both happen


@pytest.mark.parametrize(("form", "graph"), [("onnx", "spectrogram"), ("tflite", "spectrogram"), ("onnx", "waveform")])
def test_models(tmp_path, form, graph):
    chance = random.Random(1)  # noqa: S311
    good = networks.artifact("thesis", form, graph=graph)
    data, manifest = good.path.read_bytes(), good.path.with_suffix(".json").read_text(encoding="utf-8")
    for number in range(CASES // 3):
        path = tmp_path / f"{number}.{form}"
        if chance.random() < 0.5:
            path.write_bytes(bytes_damaged(data, chance))
            path.with_suffix(".json").write_text(manifest, encoding="utf-8")
        else:
            path.write_bytes(data)
            path.with_suffix(".json").write_bytes(text_damaged(manifest, chance))
        refused(lambda path=path: estimate(path))


def estimate(path):
    artifact = Artifact(path)
    shapes = artifact.runtime.inputs.items()
    artifact.runtime.run({name: np.zeros([size or 20 for size in shape], np.float32) for name, shape in shapes})


def test_scores(tmp_path):
    chance = random.Random(2)  # noqa: S311
    frames = [{"time": t, "duration": 1, "metrics": dict.fromkeys(("SDR", "ISR", "SIR", "SAR"), 1.0 + t)} for t in range(3)]
    whole = {"SDR": 1.0}
    song = {"targets": [{"name": name, "frames": frames, "whole": whole} for name in ("vocals", "drums")]}
    summary = {"system": "x", "settings": {}, "subset": "test", "targets": ["vocals", "drums"], "metrics": "all", "songs": 1}
    for number in range(CASES):
        folder = tmp_path / str(number)
        (folder / "test").mkdir(parents=True)
        files = {"summary.json": summary, "test/One.json": song}
        broken = chance.choice(list(files))
        for name, content in files.items():
            text = json.dumps(content)
            (folder / name).write_bytes(text_damaged(text, chance) if name == broken else text.encode())
        refused(lambda folder=folder: load_results([folder]))


def test_the_page_has_the_campaigns_numbers():
    results = json.loads((ROOT / "docs" / "results" / "reliability.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page.split("<!-- campaign -->")[1].split("<!-- /campaign -->")[0].strip() == tables(results)
    assert not [row for row in (*results["damaged"].values(), *results["ended"].values()) if row["faults"]]
