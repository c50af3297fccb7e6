"""What `kerasep evaluate` writes, resumes and refuses."""

import csv
import json
import math
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
import soundfile
from conftest import write_song

from kerasep.cli import main
from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError, UsageError
from kerasep.evaluation import bsseval
from kerasep.evaluation import evaluate as evaluation
from kerasep.evaluation.evaluate import Metrics, evaluate_system
from kerasep.evaluation.systems import Estimates, Ideal, Mixture, Model, Oracle


@pytest.fixture(scope="module")
def root(tmp_path_factory, song):
    """Three test songs of two seconds."""
    folder = tmp_path_factory.mktemp("three")
    for number in range(3):
        write_song(folder / "test" / f"Song {number}", {t: s[60_000 * number :][:88200] for t, s in song.items()})
    return folder


def test_evaluate_writes_scores(packed, root, tmp_path, capsys):
    out = tmp_path / "scores"
    assert main(["evaluate", "--model", str(packed), "--root", str(root), "-o", str(out), "--metrics", "sdr"]) == 0
    assert "medians of 3 songs" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["songs"], summary["system"], summary["settings"]["mask"]) == (3, "small", "ratio")
    assert summary["manifest"]["graph"]["spectrogram"]["fft"] == 256
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["track", "target", "SDR", "SDR_whole"]
    drums = [float(row["SDR"]) for row in rows if row["target"] == "drums"]
    assert summary["median"]["drums"]["SDR"] == pytest.approx(np.median(drums), abs=1e-5)
    assert summary["mean"]["drums"]["SDR"] == pytest.approx(np.mean(drums), abs=1e-5)


def test_song_files_are_in_musevals_schema(root, tmp_path, monkeypatch):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.setattr(bsseval, "TAPS", 64)  # quicker: the scores don't matter here
    evaluate_system(Oracle(Ideal.IRM), root, "test", tmp_path / "scores")
    written = json.loads((tmp_path / "scores" / "test" / "Song 0.json").read_text())
    frame = written["targets"][0]["frames"][1]
    assert set(frame["metrics"]) == {"SDR", "ISR", "SIR", "SAR"}
    assert (frame["time"], frame["duration"]) == (1.0, 1.0)
    if shutil.which("ffmpeg") is None:
        pytest.skip("importing museval needs ffmpeg")
    import museval

    schema = json.loads((Path(museval.__file__).parent / "musdb.schema.json").read_text())
    jsonschema.validate(written, schema)
    store = museval.json2df(written, "Song 0")  # museval's own reader takes it
    assert set(store.target) == set(SOURCES)


def test_a_killed_run_goes_on_at_the_next_song(root, tmp_path, monkeypatch):
    out = tmp_path / "scores"
    scored = []

    def dies(song, system, metrics):
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(song.name)
        return honest(song, system, metrics)

    honest = evaluation._score
    monkeypatch.setattr(evaluation, "_score", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate_system(Mixture(), root, "test", out, metrics=Metrics.SDR)
    assert len(list((out / "test").glob("*.json"))) == 1
    monkeypatch.setattr(evaluation, "_score", lambda *given: scored.append(given[0].name) or honest(*given))
    with pytest.raises(KerasepError, match="add --resume"):
        evaluate_system(Mixture(), root, "test", out, metrics=Metrics.SDR)
    with pytest.raises(KerasepError, match="other settings"):
        evaluate_system(Oracle(Ideal.IRM), root, "test", out, metrics=Metrics.SDR, resume=True)
    summary = evaluate_system(Mixture(), root, "test", out, metrics=Metrics.SDR, resume=True)
    assert summary["songs"] == 3
    assert sorted(scored) == ["Song 0", "Song 1", "Song 2"]  # none twice


def test_jobs_change_nothing(packed, root, tmp_path):
    one = evaluate_system(Model(str(packed)), root, "test", tmp_path / "one", metrics=Metrics.SDR)
    two = evaluate_system(Model(str(packed)), root, "test", tmp_path / "two", metrics=Metrics.SDR, jobs=2)
    assert one["median"] == two["median"]


def test_a_registered_backend_takes_the_songs(packed, root, tmp_path):
    """Any backend that joblib knows: here dask's local cluster, in this process."""
    distributed = pytest.importorskip("distributed")
    alone = evaluate_system(Model(str(packed)), root, "test", tmp_path / "alone", metrics=Metrics.SDR)
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        before = cluster.scheduler.transition_counter
        there = evaluate_system(Model(str(packed)), root, "test", tmp_path / "there", metrics=Metrics.SDR, jobs=2)
        assert cluster.scheduler.transition_counter - before >= 3  # the songs went through it
    assert there["median"] == alone["median"]


def write_estimates(root, folder, change=lambda target, samples: samples) -> None:
    for song in songs(root, "test"):
        (folder / song.name).mkdir(parents=True)
        for target in SOURCES:
            soundfile.write(folder / song.name / f"{target}.wav", change(target, 0.9 * song.read(target)), song.rate, "FLOAT")


@pytest.mark.parametrize("below", ["", "test"])
def test_estimates_of_any_program(root, tmp_path, below):
    write_estimates(root, tmp_path / "theirs" / below)
    summary = evaluate_system(Estimates(tmp_path / "theirs"), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    assert summary["median"]["bass"]["SDR"] == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("change", [lambda t, s: s[:-20_000], lambda t, s: np.tile(s, (2, 1))])
def test_estimates_of_another_length_are_cut_or_filled(root, tmp_path, change):
    write_estimates(root, tmp_path / "theirs", change)
    summary = evaluate_system(Estimates(tmp_path / "theirs"), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    assert summary["median"]["bass"]["SDR"] > 5


def test_one_bad_song_costs_no_other(root, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    write_estimates(root, theirs)
    bad = np.full((88200, 2), np.nan)
    soundfile.write(theirs / "Song 0" / "bass.wav", bad, 44100, "FLOAT")
    (theirs / "Song 1" / "drums.wav").unlink()
    arguments = ["evaluate", "--estimates", str(theirs), "--root", str(root), "-o", str(tmp_path / "s"), "--metrics", "sdr"]
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 3 songs were not scored" in error and "NaN or infinite" in error and "drums.wav: no such file" in error
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["songs"] == 1
    write_estimates(root, tmp_path / "mended")
    for name in ("Song 0", "Song 1"):
        shutil.copytree(tmp_path / "mended" / name, theirs / name, dirs_exist_ok=True)
    assert main([*arguments, "--resume"]) == 0
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["songs"] == 3


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda folder: shutil.rmtree(folder / "Song 2"), "estimates of this song are missing"),
        (lambda folder: soundfile.write(folder / "Song 2" / "bass.wav", np.zeros((9, 2)), 8000), "has 8000 Hz"),
    ],
)
def test_estimates_that_do_not_match(root, tmp_path, spoil, match):
    write_estimates(root, tmp_path / "theirs")
    spoil(tmp_path / "theirs")
    with pytest.raises(KerasepError, match=match):
        evaluate_system(Estimates(tmp_path / "theirs"), root, "test", tmp_path / "scores", metrics=Metrics.SDR)


def test_a_source_silent_throughout_is_named(tmp_path, song):
    stems = {t: s[:88200] for t, s in song.items()} | {"vocals": np.zeros((88200, 2))}
    write_song(tmp_path / "test" / "Instrumental", stems)
    with pytest.raises(KerasepError, match="reference of vocals is silent throughout"):
        evaluate_system(Mixture(), tmp_path, "test", tmp_path / "scores")
    summary = evaluate_system(Mixture(), tmp_path, "test", tmp_path / "sdr", metrics=Metrics.SDR)
    assert math.isnan(summary["median"]["drums"]["SDR"])  # as museval: not defined for any target


def test_targets_that_musdb_lacks(root, tmp_path):
    with pytest.raises(UsageError, match="has no 'piano'"):
        evaluate_system(Mixture(("piano",)), root, "test", tmp_path / "scores")
    with pytest.raises(KerasepError, match="no folder train/"):
        evaluate_system(Mixture(), root, "train", tmp_path / "scores")


def test_oracles_stand_above_the_floor(root, tmp_path):
    medians = {
        system.name: evaluate_system(system, root, "test", tmp_path / str(number), metrics=Metrics.SDR)["median"]
        for number, system in enumerate((Mixture(), Oracle(Ideal.IBM), Oracle(Ideal.IRM), Oracle(Ideal.MWF)))
    }
    for target in SOURCES:
        floor, *ceilings = (values[target]["SDR"] for values in medians.values())
        assert floor + 3 < min(ceilings)


def test_remixing_is_the_sum_of_the_stems(root):
    plain, remixed = songs(root, "test")[0], songs(root, "test", remix=True)[0]
    expected = sum(plain.read(source)[100:300] for source in SOURCES)
    assert np.allclose(remixed.read("mixture", 100, 200), expected)
    assert len(remixed.read("mixture")) == plain.frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "known"),
    [
        (Mixture(), {"vocals": 1.30, "drums": 1.23, "bass": 0.69, "other": 1.14}),
        (Oracle(Ideal.IRM), {"vocals": 8.98, "drums": 7.86, "bass": 6.70, "other": 6.69}),
        (Oracle(Ideal.IRM, 2.0), {"vocals": 10.13, "drums": 9.07, "bass": 7.75, "other": 7.77}),
        (Oracle(Ideal.MWF), {"vocals": 10.49, "drums": 9.97, "bass": 8.48, "other": 7.84}),
    ],
)
def test_floors_and_ceilings_on_real_clips(clips, tmp_path, system, known):
    """Medians over the 25 test clips, known from an independent measurement on mixtures summed from the stems."""
    summary = evaluate_system(system, clips, "test", tmp_path / "scores", metrics=Metrics.SDR, remix=True)
    assert {t: pytest.approx(known[t], abs=0.1) for t in known} == {t: v["SDR"] for t, v in summary["median"].items()}
