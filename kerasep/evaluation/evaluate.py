"""A data set in, scores out.

A song's score is the median over its frames, a system's the median over songs: the convention of SiSEC 2018 (F. Stöter,
A. Liutkus and N. Ito, LVA/ICA 2018). Songs are scored independently, with joblib: any of its backends can run them.
"""

import csv
import json
import math
import platform
import statistics
from enum import StrEnum
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
from tqdm import tqdm

import kerasep
from kerasep.datasets.musdb import SOURCES, SUMS, Song, songs
from kerasep.errors import KerasepError, UsageError
from kerasep.evaluation.bsseval import Scores, evaluate, frame_sdr
from kerasep.evaluation.systems import System
from kerasep.files import replacing, write_json

SUMMARY = "summary.json"
TABLE = "scores.csv"


class Metrics(StrEnum):
    """What to score."""

    ALL = "all"  # SDR, ISR, SIR, SAR
    SDR = "sdr"  # alone: much faster


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
        UsageError: MUSDB18 has no such target.
        KerasepError: the data set cannot be used, or the folder has other scores in it; also when songs failed, after all
            others were scored and written.

    Example:
        >>> summary = evaluate_system(Mixture(), Path("musdb18hq"), "test", Path("scores"))  # doctest: +SKIP
        >>> summary["median"]["vocals"]["SDR"]  # doctest: +SKIP
        -5.94
    """
    unknown = sorted(set(system.targets) - {*SOURCES, *SUMS})
    if unknown:
        raise UsageError(f"{root}: MUSDB18 has no {unknown[0]!r}: choose targets that it has with --targets")
    found = songs(root, subset, progress=True, is_wav=is_wav, remix=remix)
    if not found:
        raise KerasepError(f"{root}: has no songs of the {subset} subset")
    head = {
        "system": system.name,
        "settings": system.settings(),
        "manifest": system.manifest(),
        "targets": list(system.targets),
        "subset": subset,
        "metrics": metrics,
        "remix": remix,
    }
    _claim(output, head, resume)

    waiting = [song for song in found if not _place(output, subset, song).exists()]
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    results = parallel(joblib.delayed(_score)(song, system, metrics) for song in waiting)
    failed = []
    for song, result in tqdm(results, total=len(waiting), desc=f"scoring {system.name}", unit="song", disable=None):
        if isinstance(result, str):
            failed.append(f"{song.name}: {result}")
        else:
            write_json(_place(output, subset, song), result)
    summary = summarise(output, head, [song for song in found if _place(output, subset, song).exists()])
    if failed:
        raise KerasepError(f"{len(failed)} of {len(found)} songs were not scored: {'; '.join(failed)}")
    return summary


def summarise(output: Path, head: dict[str, Any], found: list[Song]) -> dict[str, Any]:
    """Write `scores.csv` and `summary.json` from the songs' own files; returns the summary."""
    rows = []
    for song in found:
        for target in json.loads(_place(output, head["subset"], song).read_text(encoding="utf-8"))["targets"]:
            metrics = list(target["whole"])
            medians = {m: _median([frame["metrics"][m] for frame in target["frames"]]) for m in metrics}
            whole = {f"{m}_whole": target["whole"][m] for m in metrics}
            rows.append({"track": song.name, "target": target["name"], **medians, **whole})
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
    summary = head | {"songs": len(found), **over, "versions": versions}
    write_json(output / SUMMARY, summary)
    return summary


def _claim(output: Path, head: dict[str, Any], resume: bool) -> None:
    """Make sure that a folder's scores are of one system with one choice of settings."""
    place = output / "settings.json"
    if place.exists():
        if not resume:
            raise KerasepError(f"{output}: holds scores already: add --resume to go on with them, or name another folder")
        if json.loads(place.read_text(encoding="utf-8")) != json.loads(json.dumps(head)):
            raise KerasepError(f"{output}: holds scores made with other settings: name another folder")
    else:
        write_json(place, head)


def _place(output: Path, subset: str, song: Song) -> Path:
    return output / subset / f"{song.name}.json"


def _score(song: Song, system: System, metrics: Metrics) -> tuple[Song, dict[str, Any] | str]:
    """A song's scores, or what went wrong: one bad song must not end hours of work."""
    try:
        references = {target: song.read(target, frames=song.frames) for target in system.targets}
        stems = {target: _fitted(stem, references[target]) for target, stem in system.stems(song).items()}
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
    except (KerasepError, ValueError) as error:
        return song, str(error)
    return song, _museval(scores)


def _fitted(stem: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """An estimate with its reference's length, cut or filled with zeros, as museval does; mono becomes two equal channels."""
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
