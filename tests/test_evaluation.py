"""SDR against museval's own, and what `kerasep evaluate` writes."""

import json
import shutil

import numpy as np
import pytest

from kerasep.artifact import Artifact
from kerasep.bsseval import frame_sdr
from kerasep.cli import main
from kerasep.evaluation import evaluate
from kerasep.separator import Separator

TARGETS = ("drums", "bass", "other", "vocals")


def test_sdr_by_hand():
    reference = np.full((300, 2), 2.0)
    scores = frame_sdr({"a": reference}, {"a": reference * 0.9}, rate=100)
    assert np.allclose(scores["a"], [20, 20, 20])


def test_what_is_left_of_a_second_is_not_scored_unless_it_is_all():
    reference = {"a": np.random.default_rng(0).normal(size=(250, 2))}
    half = {"a": reference["a"] / 2}
    assert len(frame_sdr(reference, half, rate=100)["a"]) == 2
    assert len(frame_sdr(reference, half, rate=1000)["a"]) == 1


def test_a_silent_frame_is_nan_for_all():
    random = np.random.default_rng(0)
    references = {t: random.normal(size=(400, 2)) for t in "ab"}
    estimates = {t: r + 0.1 * random.normal(size=r.shape) for t, r in references.items()}
    references["a"][100:200] = 0
    estimates["b"][300:] = 0
    scores = frame_sdr(references, estimates, rate=100)
    assert all(np.isnan(scores[t]).tolist() == [False, True, False, True] for t in "ab")


def test_sdr_is_musevals(song):
    if shutil.which("ffmpeg") is None:
        pytest.skip("importing museval needs ffmpeg")
    import museval

    random = np.random.default_rng(1)
    references = {t: song[t][: 3 * 44100 : 4] for t in TARGETS}  # short: museval is slow
    estimates = {t: r + 0.05 * random.normal(size=r.shape).astype(np.float32) for t, r in references.items()}
    estimates["bass"][11025:22050] = 0
    expected, *_ = museval.evaluate(
        np.stack([references[t] for t in TARGETS]), np.stack([estimates[t] for t in TARGETS]), win=11025, hop=11025
    )
    ours = frame_sdr(references, estimates, rate=11025)
    for row, target in zip(expected, TARGETS, strict=True):
        assert np.array_equal(np.isnan(row), np.isnan(ours[target]))
        assert np.nanmax(np.abs(row - ours[target])) < 1e-6


def test_evaluate_writes_scores(packed, hq_root, tmp_path, capsys):
    arguments = ["--root", str(hq_root), "--subset", "test", "-o", str(tmp_path / "scores.json")]
    assert main(["evaluate", "--model", str(packed), *arguments]) == 0
    result = json.loads((tmp_path / "scores.json").read_text())
    assert result["songs"] == 1
    assert result["median_sdr_db"] == result["sdr_db"]["Three"]
    assert set(result["median_sdr_db"]) == {"vocals", "drums"}
    assert result["settings"]["mask"] == "ratio"
    assert "dB SDR, median of 1 songs" in capsys.readouterr().out


def test_the_floor_is_the_mixture_shared_out(hq_root, tmp_path):
    result = evaluate(hq_root, "test", None, tmp_path / "scores.json")
    assert set(result["median_sdr_db"]) == set(TARGETS)
    assert all(-10 < value < 5 for value in result["median_sdr_db"].values())


def test_targets_that_musdb_lacks(copied, hq_root, tmp_path):
    from kerasep.errors import KerasepError

    separator = Separator(Artifact(copied))
    separator.targets = ("piano",)
    with pytest.raises(KerasepError, match="has no 'piano'"):
        evaluate(hq_root, "test", separator, tmp_path / "scores.json")


def test_a_floor_on_real_clips(clips, tmp_path):
    """Mixture / 4 on the 25 test clips, known from an independent measurement with museval."""
    result = evaluate(clips, "test", None, tmp_path / "scores.json")
    known = {"vocals": 1.30, "drums": 1.23, "bass": 0.69, "other": 1.14}
    assert {t: pytest.approx(known[t], abs=0.1) for t in known} == result["median_sdr_db"]
