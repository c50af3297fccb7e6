"""Tables and pictures from scores: the thesis' tables 6-1 to 6-10 for any systems, the thesis' own numbers beside them.

Scores are folders that `kerasep evaluate` wrote. Systems are compared song by song where both scored a song: medians over
few songs scatter widely, differences within a song do not.
"""

import csv
import json
import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError
from kerasep.evaluation.bsseval import METRICS
from kerasep.evaluation.evaluate import SUMMARY, TABLE
from kerasep.files import replacing

THESIS = {"deepconvsep": "DeepConvSep, thesis", "openunmix": "Open-Unmix, thesis", "conv": "its own network, thesis"}
GENRES = {"Pop": "Pop/Rock", "Rock": "Pop/Rock", "Rap": "Reggae/Rap", "Reggae": "Reggae/Rap"}  # merged as in the thesis
ORDER = ("vocals", "drums", "bass", "other")
SEED = 0
RESAMPLES = 10_000


@dataclass(frozen=True)
class Run:
    """One system's scores.

    Attributes:
        name: for tables.
        songs: {target: {song: {metric: dB}}}, medians over frames and, as METRIC_whole, over the whole song.
        summary: the run's `summary.json`, empty for the thesis' systems.
    """

    name: str
    songs: dict[str, dict[str, dict[str, float]]]
    summary: dict[str, Any]

    @property
    def metrics(self) -> list[str]:
        known = {metric for songs in self.songs.values() for scores in songs.values() for metric in scores}
        return [metric for metric in METRICS if metric in known]

    def values(self, target: str, metric: str) -> list[float]:
        """A metric of every song where it is known."""
        found = (scores.get(metric, math.nan) for scores in self.songs.get(target, {}).values())
        return [value for value in found if not math.isnan(value)]

    def median(self, target: str, metric: str) -> float:
        return statistics.median(self.values(target, metric) or [math.nan])


def load_runs(folders: list[Path]) -> list[Run]:
    """Read folders of scores. Raises KerasepError if one holds none."""
    runs = []
    for folder in folders:
        try:
            summary = json.loads((folder / SUMMARY).read_text())
            songs: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
            with (folder / TABLE).open() as file:
                for row in csv.DictReader(file):
                    track, target = row.pop("track"), row.pop("target")
                    songs[target][track] = {metric: float(value) for metric, value in row.items()}
        except (OSError, ValueError, KeyError) as error:
            raise KerasepError(f"{folder}: holds no finished scores ({error}): kerasep evaluate makes them") from error
        runs.append(Run(summary["system"], dict(songs), summary))
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # the same system with other settings: tell them apart by their folders
        runs = [Run(f"{run.name} ({folder.name})", run.songs, run.summary) for run, folder in zip(runs, folders, strict=True)]
    return runs


def write_report(folders: list[Path], output: Path) -> None:
    """Write `report.md`, `scores.png` and `place.png` for the given scores into a folder."""
    runs = load_runs(folders)
    thesis = thesis_runs()
    sections = [
        ("Medians over songs, dB", medians(runs)),
        ("Medians the thesis prints, over 50 full songs, dB", thesis_medians()),
        ("Paired differences, dB", paired(runs)),
        ("By genre: median SDR, dB", by_genre(runs)),
        ("Leaderboard: mean of the medians of SDR, dB", leaderboard(runs)),
        ("Song by song, dB", per_song(runs)),
    ]
    lines = ["# Scores", ""]
    for run in runs:
        settings = json.dumps(run.summary["settings"]) if run.summary["settings"] else "no settings"
        lines.append(f"- {run.name}: {run.summary['songs']} songs of the {run.summary['subset']} subset; {settings}")
    lines += ["", "![Scores by metric and target](scores.png)", "", "![Between floor and ceiling](place.png)", ""]
    for title, body in sections:
        lines += [f"## {title}", "", *body, ""]
    lines += [
        "A song's value is the median over its frames of one second. SIR, SAR and ISR rest on filters learnt from all",
        "of it; on a few seconds, frames can hang on rounding: the values over the whole song (`scores.csv`) are steadier.",
        "",
    ]
    with replacing(output / "report.md") as partial:
        partial.write_text("\n".join(lines))
    with replacing(output / "scores.png") as partial:
        box_plots(runs, thesis, partial)
    with replacing(output / "place.png") as partial:
        places(runs, partial)


def thesis_runs() -> list[Run]:
    """The thesis' three systems, song by song."""
    songs: dict[str, dict[str, dict[str, dict[str, float]]]] = {key: defaultdict(dict) for key in THESIS}
    for row in _data("thesis_per_song.csv"):
        songs[row["model"]][row["target"]][row["song"]] = {m: float(row[m]) for m in ("SDR", "SIR", "SAR")}
    return [Run(name, dict(songs[key]), {}) for key, name in THESIS.items()]


def medians(runs: list[Run]) -> list[str]:
    """Tables 6-1, 6-4 and 6-8."""
    metrics = [metric for metric in METRICS if any(metric in run.metrics for run in runs)]
    rows = []
    for run in runs:
        for target in _targets([run]):
            values = (_number(run.median(target, metric)) for metric in metrics)
            rows.append((run.name, target, *values, str(len(run.values(target, "SDR")))))
    return _table(("system", "target", *metrics, "songs"), rows)


def thesis_medians() -> list[str]:
    """The same as printed in the thesis; its per-song tables give slightly other medians."""
    columns = ("SDR", "SIR", "SAR")
    rows = [(THESIS[row["model"]], row["target"], *(row[c] for c in columns)) for row in _data("thesis_medians.csv")]
    return _table(("system", "target", *columns), rows)


def by_genre(runs: list[Run]) -> list[str]:
    """Tables 6-2, 6-5 and 6-9, the thesis' own rows below."""
    genre = {row["track"]: GENRES.get(row["genre"], row["genre"]) for row in _data("genres.csv")}
    known = {song for run in runs for songs in run.songs.values() for song in songs}
    columns = sorted({genre[song] for song in known if song in genre})
    rows = []
    for run in runs:
        for target in _targets([run]):
            cells = []
            for column in columns:
                scores = [s.get("SDR", math.nan) for song, s in run.songs[target].items() if genre.get(song) == column]
                values = [value for value in scores if not math.isnan(value)]
                cells.append(f"{statistics.median(values):.2f} ({len(values)})" if values else "–")
            rows.append((run.name, target, *cells))
    for row in _data("thesis_by_genre.csv"):
        rows.append((THESIS[row["model"]], row["target"], *(row.get(column, "–") for column in columns)))
    return _table(("system", "target", *columns), rows)


def leaderboard(runs: list[Run]) -> list[str]:
    """Table 6-6 with these systems in it, by the mean over vocals, drums and bass."""
    rows: list[tuple[str, list[float]]] = []
    for run in runs:
        rows.append((f"**{run.name}**", [run.median(target, "SDR") for target in ORDER[:3]]))
    for key, name in THESIS.items():
        values = {row["target"]: float(row["SDR"]) for row in _data("thesis_medians.csv") if row["model"] == key}
        rows.append((name, [values[target] for target in ORDER[:3]]))
    for row in _data("leaderboard.csv"):
        rows.append((row["model"], [float(row[f"SDR_{target}"]) for target in ORDER[:3]]))
    rows.sort(key=lambda row: -np.nan_to_num(np.mean(row[1]), nan=-99))
    cells = [(name, _number(float(np.mean(values))), *map(_number, values)) for name, values in rows]
    return _table(("system", "mean of the three", *ORDER[:3]), cells)


def per_song(runs: list[Run]) -> list[str]:
    """Tables 6-3, 6-7 and 6-10: SDR of every song and target."""
    targets = _targets(runs)
    tracks = sorted({song for run in runs for songs in run.songs.values() for song in songs})
    rows = []
    for track in tracks:
        cells = [_number(run.songs.get(t, {}).get(track, {}).get("SDR", math.nan)) for t in targets for run in runs]
        rows.append((track, *cells))
    return _table(("song", *(f"{target}, {run.name}" for target in targets for run in runs)), rows)


def paired(runs: list[Run]) -> list[str]:
    """Each system against the first, song by song: mean difference of SDR and its bootstrap interval."""
    if len(runs) < 2:
        return ["Give several folders of scores to `kerasep report` to compare them."]
    rows = []
    for run in runs[1:]:
        by_song = {target: differences(runs[0], run, target) for target in _targets([run, runs[0]])}
        together = [song for song in next(iter(by_song.values())) if all(song in songs for songs in by_song.values())]
        by_song["all, averaged"] = {song: float(np.mean([songs[song] for songs in by_song.values()])) for song in together}
        for target, songs in by_song.items():
            pairs = np.array(list(songs.values()))
            if len(pairs):
                low, high = interval(pairs)
                verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
                cells = (f"{pairs.mean():+.2f}", f"{low:+.2f} to {high:+.2f}", str(len(pairs)), verdict)
                rows.append((f"{run.name} − {runs[0].name}", target, *cells))
    return _table(("difference of SDR", "target", "mean", "95 % interval", "songs", "verdict"), rows)


def differences(base: Run, other: Run, target: str, metric: str = "SDR") -> dict[str, float]:
    """other - base in dB, of every song that both scored."""
    one, two = base.songs.get(target, {}), other.songs.get(target, {})
    values = {song: two[song].get(metric, math.nan) - one[song].get(metric, math.nan) for song in one if song in two}
    return {song: value for song, value in values.items() if not math.isnan(value)}


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13)."""
    random = np.random.default_rng(SEED)
    means = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def box_plots(runs: list[Run], thesis: list[Run], path: Path) -> None:
    """Every metric by target and system: boxes from quartile to quartile over songs, whiskers at 1.5 of their length."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = [*runs, *thesis]
    metrics = [metric for metric in METRICS if any(metric in run.metrics for run in runs)]
    targets = _targets(runs)
    figure = Figure(figsize=(11, 0.8 + 2.9 * len(metrics)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(metrics), 1))
    colours = colormaps["tab10"]
    width = 0.85 / len(shown)
    for axis, metric in zip(axes, metrics, strict=True):
        low, high = [], []
        for number, run in enumerate(shown):
            places = [t + (number - (len(shown) - 1) / 2) * width for t in range(len(targets))]
            values = [run.values(target, metric) for target in targets]
            style = {"facecolor": colours(number % 10), "alpha": 0.75 if run in runs else 0.3}
            boxes = axis.boxplot(
                values, positions=places, widths=0.9 * width, patch_artist=True, boxprops=style, flierprops={"markersize": 2}
            )
            for line in boxes["medians"]:
                line.set_color("black")
            if metric == metrics[0]:
                boxes["boxes"][0].set_label(run.name)
            for some in values:
                if some:
                    low.append(np.percentile(some, 5))
                    high.append(np.percentile(some, 95))
        axis.set_ylim(min(low) - 3, max(high) + 3)  # a few outliers of the thesis lie tens of dB below
        axis.set_xticks(range(len(targets)), targets)
        axis.set_ylabel(f"{metric} in dB")
        axis.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100, format="png")


def places(runs: list[Run], path: Path) -> None:
    """Each system's median SDR on one scale per target, so that models stand between the floor and the oracles."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    targets = _targets(runs)
    figure = Figure(figsize=(9, 0.9 + 0.75 * len(targets)), layout="constrained")
    axis = figure.subplots()
    for number, run in enumerate(runs):
        bound = run.name.startswith(("oracle", "mixture"))
        values = [run.median(target, "SDR") for target in targets]
        marker, size = ("|", 400) if bound else ("o", 70)
        axis.scatter(values, range(len(targets)), s=size, marker=marker, color=colormaps["tab10"](number % 10), label=run.name)
    axis.set_yticks(range(len(targets)), targets)
    axis.set_ylim(len(targets) - 0.4, -0.6)  # the first on top
    axis.set_xlabel("median SDR in dB")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, markerscale=0.6)
    figure.savefig(path, dpi=100, format="png")


def _targets(runs: list[Run]) -> list[str]:
    """All targets of all runs, in the usual order."""
    known = {target for run in runs for target in run.songs}
    return [target for target in ORDER if target in known] + sorted(known - set(ORDER))


def _data(name: str) -> list[dict[str, str]]:
    with (resources.files("kerasep.data") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
