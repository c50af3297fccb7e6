"""Reports against scores made by hand, and the thesis' own figures."""

import csv
import json
import math
import os
import statistics
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerasep.cli import main
from kerasep.errors import KerasepError
from kerasep.evaluation import plots, report
from kerasep.evaluation.results import figures, load_results, thesis_results

SONGS = ("Al James - Schoolboy Facination", "M.E.R.C. Music - Knockout", "Unknown - Song")


def write_scores(folder, system: str, sdr: dict[str, list[float]], songs=SONGS):
    folder.mkdir()
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["track", "target", "SDR", "SIR", "SDR_whole", "SIR_whole"])
        for target, values in sdr.items():
            for song, value in zip(songs, values, strict=True):
                writer.writerow([song, target, value, 2 * value, value, 2 * value])
    summary = {"system": system, "settings": {"mask": "ratio"}, "subset": "test", "songs": 3}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def folders(tmp_path):
    return [
        write_scores(tmp_path / "a", "A", {"vocals": [1, 2, 9], "drums": [4, 5, math.nan]}),
        write_scores(tmp_path / "b", "B", {"vocals": [2, 3, 10], "drums": [3, 4, 5]}),
    ]


def cells(lines: list[str], *start: str) -> list[str]:
    """The cells of the one row that starts so."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    (found,) = [row for row in rows if row[: len(start)] == list(start)]
    return found[len(start) :]


def test_medians(folders):
    lines = report.medians(load_results(folders))
    assert cells(lines, "A", "vocals") == ["2.00", "4.00", "3"]
    assert cells(lines, "A", "drums") == ["4.50", "9.00", "2"]  # without the song that is not defined


def test_paired_differences(folders):
    results = load_results(folders)
    assert list(report.differences(*results, "vocals").values()) == [1, 1, 1]
    assert list(report.differences(*results, "drums").values()) == [-1, -1]
    assert cells(report.paired(results), "B − A", "vocals") == ["+1.00", "+1.00 to +1.00", "3", "better"]
    assert cells(report.paired(results), "B − A", "drums")[-1] == "worse"
    assert cells(report.paired(results), "B − A", "all, averaged") == ["+0.00", "+0.00 to +0.00", "2", "not significant"]


def test_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(1, 2, size=400)
    low, high = report.interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.03), pytest.approx(values.mean() + half, abs=0.03))
    assert report.interval(values) == (low, high)


def test_genres_are_merged_as_in_the_thesis(folders):
    lines = report.by_genre(load_results(folders))
    assert lines[0] == "| system | target | Pop/Rock | Reggae/Rap |"  # and no column for a song without a genre
    assert cells(lines, "A", "vocals") == ["1.00 (1)", "2.00 (1)"], lines
    assert cells(lines, "its own network, thesis", "vocals") == ["3.97", "3.10"]


def test_the_leaderboard_is_sorted(folders):
    lines = report.leaderboard(load_results(folders))[2:]
    assert cells(lines, "Open-Unmix, thesis") == ["5.45", "5.98", "5.45", "4.92"]
    means = [float(line.split("|")[2]) for line in lines if "–" not in line.split("|")[2]]
    assert means == sorted(means, reverse=True)
    assert cells(lines, "**A**")[0] == "–"  # it has no bass


def test_the_thesis_songs_give_the_thesis_medians():
    printed = {row["target"]: float(row["SDR"]) for row in figures("thesis_medians.csv") if row["model"] == "conv"}
    own = thesis_results()[2]
    for target, value in printed.items():
        assert len(own.values(target, "SDR")) == 50
        assert statistics.median(own.values(target, "SDR")) == pytest.approx(value, abs=0.02)


def test_a_report_from_the_command_line(folders, tmp_path, capsys):
    assert main(["report", *map(str, folders), "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    for title in ("Medians over songs", "Paired differences", "By genre", "Leaderboard", "Song by song"):
        assert f"## {title}" in text
    for name in ("scores.png", "place.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.md")


def test_the_same_system_twice_is_named_by_its_folders(folders, tmp_path):
    again = write_scores(tmp_path / "again", "A", {"vocals": [1, 2, 3]})
    assert [result.name for result in load_results([folders[0], again])] == ["A (a)", "A (again)"]


def test_a_folder_without_scores(tmp_path):
    with pytest.raises(KerasepError, match="holds no finished scores"):
        load_results([tmp_path])


STRANGE = [
    "$x",
    "$x_1^2$",
    r"\$\frac{",
    "_hidden",
    "a|b",
    "<script>alert(1)</script>",
    "`code`",
    "a\nb",
    "\x1b[2J",
    "😀",
    "x" * 5000,
]


@pytest.mark.parametrize("name", STRANGE)
def test_names_of_any_letters(tmp_path, name, capsys):
    """They break no row and no picture, and neither page nor terminal does what they say."""
    folder = write_scores(tmp_path / "a", name, {name: [1, 2, 9], "drums": [1, 2, 3]}, songs=(name, "B", "C"))
    plain = write_scores(tmp_path / "b", "B", {"vocals": [1, 2, 9], "drums": [1, 2, 3]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["report", str(folder), str(plain), "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text and "\x1b" not in text
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|") and lines[number - 1].startswith("|"):
            assert line.count("|") == lines[number - 1].count("|"), line
    captured = capsys.readouterr()
    assert captured.err == "" and "\x1b" not in captured.out


def test_a_name_in_a_legend():
    """matplotlib leaves names with a leading "_" out, and reads mathematics between two "$"."""
    figure = Figure()
    axis = figure.subplots()
    for name in ("_a", "$x$"):
        axis.plot([0, 1], label=plots._label(name))
    texts = axis.legend().get_texts()
    assert [text._preprocess_math(text.get_text()) for text in texts] == [(" _a", False), ("$x$", False)]


@pytest.mark.parametrize("file", ["summary.json", "scores.csv"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b"{}", b"track,target,SDR\n"])
def test_damaged_scores_are_one_line(folders, file, content, capsys):
    (folders[1] / file).write_bytes(content)
    assert main(["report", *map(str, folders), "-o", str(folders[0] / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folders[1]}: holds no finished scores ({folders[1] / file}: " in line
    assert not (folders[0] / "out").exists()


def test_a_report_where_nothing_has_a_score(tmp_path):
    folder = write_scores(tmp_path / "a", "A", {"vocals": [math.nan] * 3})
    assert main(["report", str(folder), "-o", str(tmp_path / "out")]) == 0


def test_a_report_in_a_locale_without_its_minus_sign(folders, tmp_path):
    locale = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "HOME": str(tmp_path / "a" / "none")}
    locale |= {"XDG_CACHE_HOME": "/proc/none", "XDG_CONFIG_HOME": "/proc/none"}  # where matplotlib would keep its fonts
    command = [sys.executable, "-m", "kerasep", "report", *folders, "-o", tmp_path / "öut"]
    done = subprocess.run(command, env=locale, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "| B − A |" in (tmp_path / "öut" / "report.md").read_text(encoding="utf-8")
