"""A data set in, scores out.

A song's score is the median over its frames, a system's the median over songs: the convention of SiSEC 2018 (F. Stöter,
A. Liutkus and N. Ito, LVA/ICA 2018). Songs are scored independently, with joblib: any of its backends can run them.
"""

import csv
import math
import os
import platform
import statistics
import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
from tqdm import tqdm

import kerasep
from kerasep.datasets.musdb import SOURCES, SUMS, Song, find, open_song
from kerasep.errors import KerasepError, UsageError, first_line, printable
from kerasep.evaluation.bsseval import METRICS, Scores, evaluate, frame_sdr
from kerasep.evaluation.claim import claim, fingerprint
from kerasep.evaluation.records import read_song
from kerasep.evaluation.systems import System
from kerasep.files import CacheError, replacing, write_json
from kerasep.program import end_with

SUMMARY = "summary.json"
TABLE = "scores.csv"
LONGEST = 200  # bytes of a song's name: its file's is longer, and may have 255
NEAR = 0.1  # seconds that an estimate may be shorter or longer than its reference: some programs pad the last block

Records = dict[str, dict[str, Any]]  # {song: its scores in museval's schema}


class Metrics(StrEnum):
    """What to score."""

    ALL = "all"  # SDR, ISR, SIR, SAR
    SDR = "sdr"  # alone: much faster

    @property
    def names(self) -> tuple[str, ...]:
        return METRICS if self == Metrics.ALL else ("SDR",)


def evaluate_system(
    system: System,
    root: Path,
    subset: str,
    output: Path,
    metrics: Metrics = Metrics.ALL,
    jobs: int = 1,
    resume: bool = False,
    is_wav: bool = False,
    remix: bool = False,
) -> dict[str, Any]:
    """Score every song of a subset.

    Writes OUTPUT/<subset>/<song>.json in museval's schema as each song is done, and at the end `scores.csv` and `summary.json`.

    Args:
        system: what to score.
        root: a MUSDB folder.
        subset: "train", "validation" or "test".
        output: a folder without scores in it, unless to resume.
        metrics: which.
        jobs: songs at a time.
        resume: go on where an earlier call with the same settings stopped.
        is_wav, remix: see `kerasep.datasets.musdb.songs`.

    Returns:
        The summary.

    Raises:
        UsageError: MUSDB18 has no such target, or `jobs` is 0.
        KerasepError: the data set cannot be used, or the folder has other scores in it; also when songs could not be opened
            or scored, after all others were scored and written.

    Example:
        >>> summary = evaluate_system(Mixture(), Path("musdb18hq"), "test", Path("scores"))  # doctest: +SKIP
        >>> summary["median"]["vocals"]["SDR"]  # doctest: +SKIP
        -5.94
    """
    unknown = sorted(set(system.targets) - {*SOURCES, *SUMS})
    if unknown:
        raise UsageError(f"{root}: MUSDB18 has no {unknown[0]!r}: choose targets that it has with --targets")
    if not jobs:
        raise UsageError("--jobs 0: one song at a time is the least")
    places = find(root, subset, is_wav)
    if not places:
        raise KerasepError(f"{root}: has no songs of the {subset} subset")
    found, failed = _open(places, subset, remix)
    head = {
        "system": system.name,
        "settings": system.settings(),
        "manifest": system.manifest(),
        "targets": list(system.targets),
        "subset": subset,
        "metrics": metrics,
        "remix": remix,
    }
    if found:
        prints = {printable(name): fingerprint(found[name]) if name in found else None for name in places}
        claim(output, head, prints, resume)
        done = {name: record for name in found if (record := _earlier(output, head, name))}
        waiting = [song for name, song in found.items() if name not in done]
        first = {"initializer": end_with, "initargs": (os.getpid(),)}  # in processes of this machine
        parallel = joblib.Parallel(n_jobs=min(jobs, len(waiting)) or 1, return_as="generator_unordered", **first)
        tasks = [joblib.delayed(_score)(song, system, metrics) for song in waiting]
        with closing(parallel(tasks)) as results:  # ends the other processes, whatever ends this one
            what = f"scoring {printable(system.name)}"
            for song, result in tqdm(results, total=len(waiting), desc=what, unit="song", disable=None):
                if isinstance(result, str):
                    failed[song.name] = result
                else:
                    write_json(_place(output, subset, song.name), result)
                    done[song.name] = result
        summary = summarise(output, head, {name: done[name] for name in found if name in done})
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(failed.items()))
        raise KerasepError(f"{len(failed)} of {len(places)} songs were not scored: {reasons}")
    return summary


def _open(places: dict[str, Path], subset: str, remix: bool) -> tuple[dict[str, Song], dict[str, str]]:
    """The songs that can be opened, and what is wrong with the others."""
    found, failed = {}, {}
    for name, path in tqdm(places.items(), desc=f"opening {subset}", unit="song", disable=None):
        try:
            if len(os.fsencode(name)) > LONGEST:
                raise KerasepError(f"{path}: its name has more than {LONGEST} bytes: shorten it")
            found[name] = open_song(name, path, remix)
        except CacheError:
            raise
        except KerasepError as error:
            failed[name] = str(error)
    return found, failed


def _earlier(output: Path, head: dict[str, Any], name: str) -> dict[str, Any] | None:
    """A song's scores from an earlier call."""
    place = _place(output, head["subset"], name)
    if not place.exists():
        return None
    try:
        return read_song(place, head["targets"], head["metrics"].names)
    except KerasepError as error:
        _say(f"{error}: the song is scored again")
        return None


def _say(text: str) -> None:
    tqdm.write(f"kerasep: {printable(text)}", file=sys.stderr)


def summarise(output: Path, head: dict[str, Any], records: Records) -> dict[str, Any]:
    """Write `scores.csv` and `summary.json`, and say what has no score; returns the summary."""
    rows = []
    for name, record in records.items():
        for target in record["targets"]:
            metrics = list(target["whole"])
            medians = {m: _median([frame["metrics"][m] for frame in target["frames"]]) for m in metrics}
            whole = {f"{m}_whole": target["whole"][m] for m in metrics}
            rows.append({"track": printable(name), "target": target["name"], **medians, **whole})
    columns = list(rows[0]) if rows else []
    with replacing(output / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    over: dict[str, Any] = {"median": {}, "mean": {}}
    for target in head["targets"]:
        values = {c: [r[c] for r in rows if r["target"] == target and not math.isnan(r[c])] for c in columns[2:]}
        over["median"][target] = {c: statistics.median(v) if v else math.nan for c, v in values.items()}
        over["mean"][target] = {c: statistics.fmean(v) if v else math.nan for c, v in values.items()}
    versions = {
        "kerasep": kerasep.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    summary = head | {"songs": len(records), **over, "unscored": _unscored(rows), "versions": versions}
    write_json(output / SUMMARY, summary)
    for song in summary["unscored"]:
        reason = "a reference or an estimate is silent in all frames, or an estimate is exact"
        of = ", ".join(f"{target} ({', '.join(metrics)})" for target, metrics in song["targets"].items())
        _say(f"{song['track']}: no score of {of}: {reason}: medians are without it")
    return summary


def _unscored(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Songs that have no score of some targets, with the metrics that miss: not even one frame's."""
    missing: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if metrics := [name for name, value in row.items() if isinstance(value, float) and math.isnan(value)]:
            missing.setdefault(row["track"], {})[row["target"]] = metrics
    return [{"track": track, "targets": targets} for track, targets in missing.items()]


def _place(output: Path, subset: str, name: str) -> Path:
    return output / subset / f"{name}.json"


def _score(song: Song, system: System, metrics: Metrics) -> tuple[Song, dict[str, Any] | str]:
    """A song's scores, or what went wrong: one bad song must not end hours of work."""
    try:
        references = {target: song.read(target, frames=song.frames) for target in system.targets}
        stems = {target: _fitted(target, stem, references[target], song.rate) for target, stem in _stems(system, song).items()}
        for target, stem in stems.items():
            if not np.isfinite(stem).all():
                raise KerasepError(f"the estimate of {target} holds NaN or infinite samples")
        if metrics == Metrics.SDR:
            frames = {t: {"SDR": values} for t, values in frame_sdr(references, stems, song.rate).items()}
            longest = max(map(len, references.values()))
            whole = {t: {"SDR": float(values[0])} for t, values in frame_sdr(references, stems, longest).items()}
            scores = Scores(frames, whole)
        else:
            scores = evaluate(references, stems, song.rate)
    except (KerasepError, ValueError, MemoryError) as error:
        return song, first_line(error)
    return song, _museval(scores)


def _stems(system: System, song: Song) -> dict[str, np.ndarray]:
    try:
        return system.stems(song)
    except Exception as error:  # ONNX Runtime and LiteRT raise anything at all
        raise KerasepError(first_line(error)) from error


def _fitted(target: str, stem: np.ndarray, reference: np.ndarray, rate: int) -> np.ndarray:
    """An estimate with its reference's length, cut or filled with zeros, as museval does; mono becomes two equal channels.

    Raises:
        KerasepError: more than a few samples would be cut or filled.
    """
    if abs(len(stem) - len(reference)) > NEAR * rate:
        given, wanted = len(stem) / rate, len(reference) / rate
        raise KerasepError(
            f"the estimate of {target} lasts {given:.2f} s, the reference {wanted:.2f} s: separate the song again"
        )
    stem = np.broadcast_to(stem, (len(stem), reference.shape[1]))
    return np.pad(stem[: len(reference)], ((0, max(0, len(reference) - len(stem))), (0, 0)))


def _museval(scores: Scores) -> dict[str, Any]:
    """A song's scores in museval's schema (musdb.schema.json), where infinities are NaN, with whole-song values added."""
    targets = []
    for target, metrics in scores.frames.items():
        count = len(next(iter(metrics.values())))
        frames = [
            {"time": float(frame), "duration": 1.0, "metrics": {m: _number(values[frame]) for m, values in metrics.items()}}
            for frame in range(count)
        ]
        whole = {metric: _number(value) for metric, value in scores.whole[target].items()}
        targets.append({"name": target, "frames": frames, "whole": whole})
    return {"targets": targets, "kerasep_version": kerasep.__version__}


def _number(value: float) -> float:
    return round(float(value), 5) if math.isfinite(value) else math.nan


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan
