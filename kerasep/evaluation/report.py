"""Tables and pictures of scores: the thesis' tables 6-1 to 6-10 for any systems, next to the thesis' own numbers.

Scores are folders that `kerasep evaluate` wrote. Systems are compared song by song where both scored a song: medians over
few songs scatter widely, differences within a song do not.
"""

import json
import math
import statistics
from pathlib import Path

import numpy as np

from kerasep.evaluation.plots import box_plots, places
from kerasep.evaluation.results import (
    ORDER,
    THESIS,
    Results,
    figures,
    load_results,
    metrics_of,
    targets_of,
    thesis_results,
)
from kerasep.files import replacing
from kerasep.markdown import literal, table

GENRES = {"Pop": "Pop/Rock", "Rock": "Pop/Rock", "Rap": "Reggae/Rap", "Reggae": "Reggae/Rap"}  # merged as in the thesis
SEED = 0
RESAMPLES = 10_000


def write_report(folders: list[Path], output: Path) -> None:
    """Write `report.md`, `scores.png` and `place.png` for the given scores into a folder."""
    results = load_results(folders)
    thesis = thesis_results()
    sections = [
        ("Medians over songs, dB", medians(results)),
        ("Medians the thesis prints, over 50 full songs, dB", thesis_medians()),
        ("Paired differences, dB", paired(results)),
        ("By genre: median SDR, dB", by_genre(results)),
        ("Leaderboard: mean of the medians of SDR, dB", leaderboard(results)),
        ("Song by song, dB", per_song(results)),
    ]
    lines = ["# Scores", ""]
    for result in results:
        settings = json.dumps(result.summary["settings"]) if result.summary["settings"] else "no settings"
        songs = f"{result.summary['songs']} songs of the {literal(result.summary['subset'])} subset"
        lines.append(f"- {literal(result.name)}: {songs}; {literal(settings)}")
    lines += ["", "![Scores by metric and target](scores.png)", "", "![Between floor and ceiling](place.png)", ""]
    for title, body in sections:
        lines += [f"## {title}", "", *body, ""]
    lines += [
        "A song's value is the median over its frames of one second. SIR, SAR and ISR rest on filters learnt from all",
        "of it; on a few seconds, frames can hang on rounding: the values over the whole song (`scores.csv`) are steadier.",
        "",
    ]
    with replacing(output / "report.md") as partial:
        partial.write_text("\n".join(lines), encoding="utf-8")
    with replacing(output / "scores.png") as partial:
        box_plots(results, thesis, partial)
    with replacing(output / "place.png") as partial:
        places(results, partial)


def medians(results: list[Results]) -> list[str]:
    """Tables 6-1, 6-4 and 6-8."""
    metrics = metrics_of(results)
    rows = []
    for result in results:
        for target in targets_of([result]):
            values = (_number(result.median(target, metric)) for metric in metrics)
            rows.append((literal(result.name), literal(target), *values, str(len(result.values(target, "SDR")))))
    return table(("system", "target", *metrics, "songs"), rows)


def thesis_medians() -> list[str]:
    """The same as printed in the thesis; its per-song tables give slightly other medians."""
    columns = ("SDR", "SIR", "SAR")
    rows = [(THESIS[row["model"]], row["target"], *(row[c] for c in columns)) for row in figures("thesis_medians.csv")]
    return table(("system", "target", *columns), rows)


def by_genre(results: list[Results]) -> list[str]:
    """Tables 6-2, 6-5 and 6-9, with the thesis' own rows."""
    genre = {row["track"]: GENRES.get(row["genre"], row["genre"]) for row in figures("genres.csv")}
    known = {song for result in results for songs in result.songs.values() for song in songs}
    columns = sorted({genre[song] for song in known if song in genre})
    rows = []
    for result in results:
        for target in targets_of([result]):
            cells = []
            for column in columns:
                scores = [s.get("SDR", math.nan) for song, s in result.songs[target].items() if genre.get(song) == column]
                values = [value for value in scores if not math.isnan(value)]
                cells.append(f"{statistics.median(values):.2f} ({len(values)})" if values else "–")
            rows.append((literal(result.name), literal(target), *cells))
    for row in figures("thesis_by_genre.csv"):
        rows.append((THESIS[row["model"]], row["target"], *(row.get(column, "–") for column in columns)))
    return table(("system", "target", *columns), rows)


def leaderboard(results: list[Results]) -> list[str]:
    """Table 6-6 with these systems in it, by the mean over vocals, drums and bass."""
    rows: list[tuple[str, list[float]]] = []
    for result in results:
        rows.append((f"**{literal(result.name)}**", [result.median(target, "SDR") for target in ORDER[:3]]))
    for key, name in THESIS.items():
        values = {row["target"]: float(row["SDR"]) for row in figures("thesis_medians.csv") if row["model"] == key}
        rows.append((name, [values[target] for target in ORDER[:3]]))
    for row in figures("leaderboard.csv"):
        rows.append((row["model"], [float(row[f"SDR_{target}"]) for target in ORDER[:3]]))
    rows.sort(key=lambda row: -np.nan_to_num(np.mean(row[1]), nan=-99))
    cells = [(name, _number(float(np.mean(values))), *map(_number, values)) for name, values in rows]
    return table(("system", "mean of the three", *ORDER[:3]), cells)


def per_song(results: list[Results]) -> list[str]:
    """Tables 6-3, 6-7 and 6-10: SDR of every song and target."""
    targets = targets_of(results)
    tracks = sorted({song for result in results for songs in result.songs.values() for song in songs})
    rows = []
    for track in tracks:
        cells = [_number(result.songs.get(t, {}).get(track, {}).get("SDR", math.nan)) for t in targets for result in results]
        rows.append((literal(track), *cells))
    return table(("song", *(literal(f"{target}, {result.name}") for target in targets for result in results)), rows)


def paired(results: list[Results]) -> list[str]:
    """Each system against the first, song by song: mean difference of SDR and its bootstrap interval."""
    if len(results) < 2:
        return ["Give several folders of scores to `kerasep report` to compare them."]
    rows = []
    for result in results[1:]:
        by_song = {target: differences(results[0], result, target) for target in targets_of([result, results[0]])}
        together = [song for song in next(iter(by_song.values())) if all(song in songs for songs in by_song.values())]
        by_song["all, averaged"] = {song: float(np.mean([songs[song] for songs in by_song.values()])) for song in together}
        for target, songs in by_song.items():
            pairs = np.array(list(songs.values()))
            if len(pairs):
                low, high = interval(pairs)
                verdict = "better" if low > 0 else "worse" if high < 0 else "not significant"
                cells = (f"{pairs.mean():+.2f}", f"{low:+.2f} to {high:+.2f}", str(len(pairs)), verdict)
                rows.append((literal(f"{result.name} − {results[0].name}"), literal(target), *cells))
    return table(("difference of SDR", "target", "mean", "95 % interval", "songs", "verdict"), rows)


def differences(base: Results, other: Results, target: str, metric: str = "SDR") -> dict[str, float]:
    """other - base in dB, of every song that both scored."""
    one, two = base.songs.get(target, {}), other.songs.get(target, {})
    values = {song: two[song].get(metric, math.nan) - one[song].get(metric, math.nan) for song in one if song in two}
    return {song: value for song, value in values.items() if not math.isnan(value)}


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13)."""
    random = np.random.default_rng(SEED)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
