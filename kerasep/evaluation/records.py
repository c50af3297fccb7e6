"""What `kerasep evaluate` wrote, read back. Anything may have happened to files since: each gets one line that says so."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError, first_line, printable

LARGEST = 16_000_000  # bytes: frames of a song of six hours; read, JSON takes twenty times as much
DEEPEST = 20  # lists and objects in each other
LOUDEST = 10_000  # dB: ratios of any two energies that float64 holds are below
SONGS, TARGETS = 10_000, 20  # that a report can compare and draw

Songs = dict[str, dict[str, float]]  # {song: {metric: dB}}
Shape = Any  # a type, [the shape of each], {key: shape of its value} or {str: shape of every value}

FRAME = {"metrics": {str: float}}
SONG = {"targets": [{"name": str, "frames": [FRAME], "whole": {str: float}}]}
SHAPE = {"system": str, "settings": dict, "subset": str, "songs": int}  # of a summary


def read_json(path: Path, shape: Shape = object) -> Any:
    """A JSON file's content.

    Raises:
        KerasepError: it cannot be read, is no JSON, or has not that shape.
    """
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:  # what is nested too deeply for the parser
        raise KerasepError(f"{path}: no JSON ({first_line(error)})") from error
    if not _is_shallow(content, DEEPEST) or not _fits(content, shape):
        raise KerasepError(f"{path}: JSON, but not what kerasep evaluate writes")
    return content


def read_song(path: Path, targets: list[str], metrics: tuple[str, ...]) -> dict[str, Any]:
    """A song's scores, of these targets and metrics. Raises as `read_json`."""
    content: dict[str, Any] = read_json(path, SONG)
    parts = content["targets"]
    rows = [row for part in parts for row in (part["whole"], *(frame["metrics"] for frame in part["frames"]))]
    known = all(part["frames"] for part in parts) and all(set(row) == set(metrics) for row in rows)
    if not known or [part["name"] for part in parts] != targets:
        raise KerasepError(f"{path}: scores of other targets or metrics")
    return content


def read_scores(path: Path) -> dict[str, Songs]:
    """A table of scores, {target: {song: {metric: dB}}}, with all names printable.

    Raises:
        KerasepError: it cannot be read, or is no such table.
    """
    try:
        head, *rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        if head[:2] != ["track", "target"] or "SDR" not in head:
            raise ValueError("no columns track, target and SDR")
        found: dict[str, Songs] = {}
        for song, target, *values in rows:
            scores = {metric: float(value) for metric, value in zip(head[2:], values, strict=True)}
            if not all(map(_is_score, scores.values())):
                raise ValueError(f"no scores in dB: {', '.join(values)}")
            found.setdefault(printable(target), {})[printable(song)] = scores
    except (ValueError, csv.Error) as error:
        raise KerasepError(f"{path}: no table of scores ({first_line(error)})") from error
    if not 0 < len(found) <= TARGETS or max(map(len, found.values())) > SONGS:
        raise KerasepError(f"{path}: has {len(found)} targets; a report compares up to {TARGETS} of up to {SONGS} songs")
    return found


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise KerasepError(f"{path}: is no file")
        if path.stat().st_size > LARGEST:
            raise KerasepError(f"{path}: is larger than scores are ({LARGEST // 1_000_000} MB)")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise KerasepError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise KerasepError(f"{path}: no text in UTF-8") from error


def _is_shallow(content: Any, depth: int) -> bool:
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return depth > 0 and all(_is_shallow(part, depth - 1) for part in parts)


def _fits(content: Any, shape: Shape) -> bool:
    match shape:
        case [part]:
            return isinstance(content, list) and all(_fits(value, part) for value in content)
        case dict():
            every = shape.get(str)
            wanted = dict.fromkeys(content, every) if every and isinstance(content, dict) else shape
            return isinstance(content, dict) and all(key in content and _fits(content[key], wanted[key]) for key in wanted)
    if shape is float:
        return type(content) in (int, float) and _is_score(content)
    return isinstance(content, shape)


def _is_score(value: float) -> bool:
    """A number in dB, or NaN where none is defined. Integers may be larger than any float."""
    return abs(value) <= LOUDEST or (isinstance(value, float) and math.isnan(value))
