"""What `kerasep evaluate` writes, resumes and refuses."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
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
from kerasep.names import song_name

DAMAGED = [  # no JSON, or not what stands there
    b"",
    b"{",
    b"\xff\xfe",
    b"\0" * 100,
    b"[]",
    b"null",
    b"NaN",
    b'{"targets": 1, "data": 1}',
    b'{"targets": [{"name": "vocals"}]}',
    b'"\\ud800"',
    b"9" * 5000,
    b"[" * 100_000 + b"]" * 100_000,
    b"[" * 500 + b"]" * 500,
]


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


def test_estimates_in_folders_with_names_for_any_system(root, tmp_path):
    song = songs(root, "test")[0]
    shutil.copytree(song.folder, tmp_path / "data" / "test" / "What?")
    write_estimates(tmp_path / "data", tmp_path / "theirs")
    (tmp_path / "theirs" / "What?").rename(tmp_path / "theirs" / song_name(Path("What?.wav")))
    out = tmp_path / "scores"
    summary = evaluate_system(Estimates(tmp_path / "theirs"), tmp_path / "data", "test", out, metrics=Metrics.SDR)
    assert summary["median"]["bass"]["SDR"] == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("change", [lambda t, s: s[:-4000], lambda t, s: np.concatenate([s, s[:4000]])])
def test_estimates_of_almost_the_length_are_cut_or_filled(root, tmp_path, change):
    write_estimates(root, tmp_path / "theirs", change)
    summary = evaluate_system(Estimates(tmp_path / "theirs"), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    assert summary["median"]["bass"]["SDR"] > 5


BAD_STEMS = {  # of one estimate: what it holds, and what is said of it
    "shorter": (lambda s: (s[:-20_000], 44100), "the estimate of bass lasts 1.55 s, the reference 2.00 s"),
    "longer": (lambda s: (np.tile(s, (2, 1)), 44100), "the estimate of bass lasts 4.00 s, the reference 2.00 s"),
    "empty": (lambda s: (s[:0], 44100), "bass.wav: holds no samples"),
    "rate": (lambda s: (s, 48000), "bass.wav: has 48000 Hz, the reference 44100"),
    "channels": (lambda s: (np.tile(s, (1, 3)), 44100), "bass.wav: has 6 channels"),
    "infinite": (lambda s: (s + np.inf, 44100), "bass.wav: NaN or infinite sample"),
}


@pytest.mark.parametrize("kind", BAD_STEMS)
def test_a_bad_estimate_is_one_line_and_costs_no_other_song(root, tmp_path, kind, capsys):
    change, message = BAD_STEMS[kind]
    write_estimates(root, tmp_path / "theirs")
    path = tmp_path / "theirs" / "Song 1" / "bass.wav"
    samples, rate = change(soundfile.read(path)[0])
    soundfile.write(path, samples, rate, "FLOAT")
    arguments = ["evaluate", "--estimates", str(tmp_path / "theirs"), "--root", str(root), "--metrics", "sdr"]
    assert main([*arguments, "-o", str(tmp_path / "scores")]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "1 of 3 songs were not scored: Song 1: " in error and message in error
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["songs"] == 2


BAD_SONGS = {  # of a data set: what is done to a song's folder, and what is said of it
    "no mixture": (lambda folder: (folder / "mixture.wav").unlink(), "mixture.wav: missing"),
    "no bass": (lambda folder: (folder / "bass.wav").unlink(), "bass.wav: missing"),
    "no audio": (lambda folder: (folder / "bass.wav").write_bytes(b"no sound"), "bass.wav: missing or no WAV"),
    "link": (lambda folder: relink(folder / "bass.wav", folder / "gone.wav"), "bass.wav: missing"),
    "folder link": (lambda folder: relink(folder, folder.parent / "gone"), "Song 1: cannot be read"),
    "pipe": (lambda folder: pipe(folder / "bass.wav"), "bass.wav: missing or no WAV"),
    "mono": (lambda folder: soundfile.write(folder / "bass.wav", np.ones(88200), 44100), "are not stereo"),
    "name": (lambda folder: folder.rename(folder.with_name("Song 1: " + 240 * "x")), "more than 200 bytes"),
    "NaN": (lambda folder: respoil(folder, lambda s: s * np.nan), "bass.wav: NaN or infinite sample at 0"),
    "infinite": (lambda folder: respoil(folder, lambda s: s / np.where(s > 0, 0, 1)), "bass.wav: NaN or infinite sample at"),
    "empty": (lambda folder: respoil(folder, lambda s: s[:0], all_=True), "no samples"),
    "stem.mp4": (lambda folder: shutil.rmtree(folder) or Path(f"{folder}.stem.mp4").write_bytes(b"no"), "Song 1.stem.mp4: "),
    "stem.mp4 link": (lambda folder: relink(folder, Path("gone"), ".stem.mp4"), "Song 1.stem.mp4: cannot be read"),
}


def relink(path, target, suffix=""):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    Path(f"{path}{suffix}").symlink_to(target)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def respoil(folder, change, all_=False):
    for name in ("mixture", *SOURCES) if all_ else ("bass",):
        samples, rate = soundfile.read(folder / f"{name}.wav")
        with np.errstate(all="ignore"):
            soundfile.write(folder / f"{name}.wav", change(samples), rate, "FLOAT")


@pytest.mark.parametrize("kind", BAD_SONGS)
def test_a_bad_song_is_one_line_and_costs_no_other(root, tmp_path, kind, capsys):
    spoil, message = BAD_SONGS[kind]
    shutil.copytree(root, tmp_path / "data")
    spoil(tmp_path / "data" / "test" / "Song 1")
    arguments = ["evaluate", "--mixture", "--root", str(tmp_path / "data"), "--metrics", "sdr", "-o", str(tmp_path / "scores")]
    assert main(arguments) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "1 of 3 songs were not scored: Song 1: " in error and message in error
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["songs"] == 2
    assert main([*arguments, "--resume"]) == 1


def test_a_runtime_that_fails_on_a_song_costs_no_other(root, tmp_path):
    class Odd(Exception):
        """As ONNX Runtime's, whose one ancestor is Exception."""

    class Fails(Mixture):
        def stems(self, song):
            if song.name == "Song 1":
                raise Odd("out of luck\nand of memory")
            return super().stems(song)

    with pytest.raises(KerasepError, match=r"1 of 3 songs were not scored: Song 1: out of luck$"):
        evaluate_system(Fails(), root, "test", tmp_path / "scores", metrics=Metrics.SDR)


def test_a_data_set_of_bad_songs_leaves_nothing(root, tmp_path):
    shutil.copytree(root / "test" / "Song 0", tmp_path / "data" / "test" / "Song 0")
    (tmp_path / "data" / "test" / "Song 0" / "bass.wav").unlink()
    with pytest.raises(KerasepError, match="1 of 1 songs were not scored"):
        evaluate_system(Mixture(), tmp_path / "data", "test", tmp_path / "scores", metrics=Metrics.SDR)
    assert not (tmp_path / "scores").exists()


def test_scoring_goes_on_where_the_data_set_was_moved_to(root, tmp_path):
    evaluate_system(Mixture(), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    shutil.copytree(root, tmp_path / "moved")
    (tmp_path / "scores" / "test" / "Song 1.json").unlink()
    summary = evaluate_system(Mixture(), tmp_path / "moved", "test", tmp_path / "scores", metrics=Metrics.SDR, resume=True)
    assert summary["songs"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "Song 1"), "Song 1 is in theirs alone"),
        (lambda folder: shutil.copytree(folder / "Song 1", folder / "Song 3"), "Song 3 is in this data set alone"),
        (lambda folder: respoil(folder / "Song 1", lambda s: s[:-1], all_=True), "Song 1 has changed"),
        (lambda folder: respoil(folder / "Song 1", lambda s: s[::-1]), "Song 1 has changed"),
    ],
)
def test_two_data_sets_are_not_mixed(root, tmp_path, change, message):
    evaluate_system(Mixture(), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    before = (tmp_path / "scores" / "settings.json").read_bytes()
    shutil.copytree(root, tmp_path / "other")
    change(tmp_path / "other" / "test")
    with pytest.raises(KerasepError, match=rf"holds scores on other songs \({message}\): name another folder"):
        evaluate_system(Mixture(), tmp_path / "other", "test", tmp_path / "scores", metrics=Metrics.SDR, resume=True)
    assert (tmp_path / "scores" / "settings.json").read_bytes() == before


def test_a_mended_song_is_scored_by_the_next_call(root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    bass = tmp_path / "data" / "test" / "Song 1" / "bass.wav"
    sound = bass.read_bytes()
    bass.write_bytes(b"no sound")
    with pytest.raises(KerasepError, match="1 of 3"):
        evaluate_system(Mixture(), tmp_path / "data", "test", tmp_path / "scores", metrics=Metrics.SDR)
    bass.write_bytes(sound)
    summary = evaluate_system(Mixture(), tmp_path / "data", "test", tmp_path / "scores", metrics=Metrics.SDR, resume=True)
    assert summary["songs"] == 3
    with pytest.raises(KerasepError, match="has changed"):  # known from now on
        respoil(bass.parent, lambda s: s[::-1])
        evaluate_system(Mixture(), tmp_path / "data", "test", tmp_path / "scores", metrics=Metrics.SDR, resume=True)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_song_file_is_scored_again(root, tmp_path, content, capsys):
    whole = evaluate_system(Mixture(), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    path = tmp_path / "scores" / "test" / "Song 1.json"
    sound = path.read_bytes()
    path.write_bytes(content)
    assert evaluate_system(Mixture(), root, "test", tmp_path / "scores", metrics=Metrics.SDR, resume=True) == whole
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kerasep: {path}: ") and line.endswith(": the song is scored again")
    assert path.read_bytes() == sound


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_settings_are_one_line(root, tmp_path, content, capsys):
    evaluate_system(Mixture(), root, "test", tmp_path / "scores", metrics=Metrics.SDR)
    (tmp_path / "scores" / "settings.json").write_bytes(content)
    (tmp_path / "scores" / "summary.json").write_bytes(content)  # is written anew, never read
    arguments = ["evaluate", "--mixture", "--root", str(root), "--metrics", "sdr", "-o", str(tmp_path / "scores"), "--resume"]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "settings.json: " in line and line.endswith("name another folder")


def test_songs_without_a_score_are_named(root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "data")
    respoil(tmp_path / "data" / "test" / "Song 1", lambda s: 0 * s)
    summary = evaluate_system(Mixture(("vocals", "bass")), tmp_path / "data", "test", tmp_path / "scores", metrics=Metrics.SDR)
    missing = ["SDR", "SDR_whole"]
    assert summary["unscored"] == [{"track": "Song 1", "targets": {"vocals": missing, "bass": missing}}]
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["unscored"] == summary["unscored"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kerasep: Song 1: no score of vocals (SDR, SDR_whole), bass (SDR, SDR_whole): ")


def test_a_report_of_songs_without_any_score(root, tmp_path):
    """Nothing to draw is drawn as nothing."""
    shutil.copytree(root / "test" / "Song 0", tmp_path / "data" / "test" / "Song 0")
    respoil(tmp_path / "data" / "test" / "Song 0", lambda s: 0 * s)
    arguments = ["evaluate", "--mixture", "--root", str(tmp_path / "data"), "--metrics", "sdr", "-o", str(tmp_path / "scores")]
    assert main(arguments) == 0
    assert (tmp_path / "scores" / "report.md").exists()


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
    with pytest.raises(UsageError, match="--jobs 0"):
        evaluate_system(Mixture(), root, "test", tmp_path / "scores", jobs=0)
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


def test_names_in_any_locale_and_of_any_letters(root, tmp_path):
    """Names are bytes on disk: some are no text in this locale, some in none, and some would steer a terminal."""
    for name in (b"Caf\xc3\xa9", b"Caf\xe9", b"\x1b[2J | <b>"):
        shutil.copytree(root / "test" / "Song 0", tmp_path / "data" / "test" / os.fsdecode(name))
    locale = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    out = tmp_path / "scöres"
    command = [sys.executable, "-m", "kerasep", "evaluate", "--mixture", "--metrics", "sdr"]
    arguments = ["--targets", "vocals", "bass", "--root", str(tmp_path / "data"), "-o", out]
    for resume in ([], ["--resume"]):
        done = subprocess.run([*command, *arguments, *resume], env=locale, capture_output=True, check=False)
        assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr, done.stderr
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| Café |" in report and "| Caf&#92;xe9 |" in report and "| &#92;u001b&#91;2J &#124; &#60;b&#62; |" in report
    table = (out / "scores.csv").read_text(encoding="utf-8")
    assert "Café,vocals" in table and "Caf\\xe9,vocals" in table and "\x1b" not in table
    done = subprocess.run([sys.executable, "-m", "kerasep", "report", out, out, "-o", out], env=locale, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "−" in (out / "report.md").read_text(encoding="utf-8")
