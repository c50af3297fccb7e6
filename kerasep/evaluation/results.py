"""Scores of systems, read back: folders that `kerasep evaluate` wrote, and the thesis' own figures."""

import csv
import math
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError, printable
from kerasep.evaluation.bsseval import METRICS
from kerasep.evaluation.evaluate import SUMMARY, TABLE
from kerasep.evaluation.records import SHAPE, Songs, read_json, read_scores

THESIS = {"deepconvsep": "DeepConvSep, thesis", "openunmix": "Open-Unmix, thesis", "conv": "its own network, thesis"}
ORDER = ("vocals", "drums", "bass", "other")


@dataclass(frozen=True)
class Results:
    """One system's scores.

    Attributes:
        name: for tables; it may be any text in one line.
        songs: {target: {song: {metric: dB}}}, medians over frames and, as METRIC_whole, over the whole song.
        summary: its `summary.json`, empty for the thesis' systems.
    """

    name: str
    songs: dict[str, Songs]
    summary: dict[str, Any]

    def values(self, target: str, metric: str) -> list[float]:
        """A metric of every song where it is known."""
        found = (scores.get(metric, math.nan) for scores in self.songs.get(target, {}).values())
        return [value for value in found if not math.isnan(value)]

    def median(self, target: str, metric: str) -> float:
        return statistics.median(self.values(target, metric) or [math.nan])


def load_results(folders: list[Path]) -> list[Results]:
    """Read folders of scores. Raises KerasepError if one holds none."""
    results = []
    for folder in folders:
        try:
            summary, songs = read_json(folder / SUMMARY, SHAPE), read_scores(folder / TABLE)
        except KerasepError as error:
            raise KerasepError(f"{folder}: holds no finished scores ({error}): kerasep evaluate makes them") from error
        results.append(Results(printable(summary["system"]), songs, summary))
    names = [result.name for result in results]
    if len(set(names)) < len(names):  # the same system with other settings: tell them apart by their folders
        for number, folder in enumerate(folders):
            results[number] = replace(results[number], name=f"{names[number]} ({printable(folder.name)})")
    return results


def thesis_results() -> list[Results]:
    """The thesis' three systems, song by song."""
    songs: dict[str, dict[str, Songs]] = {key: defaultdict(dict) for key in THESIS}
    for row in figures("thesis_per_song.csv"):
        songs[row["model"]][row["target"]][row["song"]] = {m: float(row[m]) for m in ("SDR", "SIR", "SAR")}
    return [Results(name, dict(songs[key]), {}) for key, name in THESIS.items()]


def targets_of(results: list[Results]) -> list[str]:
    """All targets of all results, in the usual order."""
    known = {target for result in results for target in result.songs}
    return [target for target in ORDER if target in known] + sorted(known - set(ORDER))


def metrics_of(results: list[Results]) -> list[str]:
    """All metrics that any of the results has, in the usual order."""
    known = {metric for result in results for songs in result.songs.values() for scores in songs.values() for metric in scores}
    return [metric for metric in METRICS if metric in known]


def figures(name: str) -> list[dict[str, str]]:
    """The rows of a table in `kerasep.data`."""
    with (resources.files("kerasep.data") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
