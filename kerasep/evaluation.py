"""A data set in, scores out: SDR of a model's stems on the songs of MUSDB18."""

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import kerasep
from kerasep.artifact import sha256
from kerasep.bsseval import frame_sdr
from kerasep.dataset import SOURCES, Song, songs
from kerasep.errors import KerasepError
from kerasep.files import write_json
from kerasep.separator import Separator


def evaluate(root: Path, subset: str, separator: Separator | None, output: Path) -> dict[str, Any]:
    """Score every song of a subset and write the scores as JSON.

    A song's score is the median of SDR over its frames of one second, the summary's the median over songs: the
    convention of SiSEC 2018 (F. Stöter, A. Liutkus and N. Ito, LVA/ICA 2018).

    Args:
        root: a MUSDB folder.
        subset: "train", "validation" or "test".
        separator: what to score; None for the floor, the mixture shared out evenly.
        output: the file to write.

    Returns:
        What was written.

    Raises:
        KerasepError: the data set or a song in it cannot be used.
    """
    targets = separator.targets if separator else SOURCES
    unknown = sorted(set(targets) - set(SOURCES))
    if unknown:
        raise KerasepError(f"{root}: MUSDB18 has no {unknown[0]!r}: choose targets that it has with --targets")
    found = songs(root, subset, progress=True)
    if not found:
        raise KerasepError(f"{root}: has no songs of the {subset} subset")
    scores = {song.name: _score(song, separator, targets) for song in tqdm(found, desc="scoring", unit="song", disable=None)}
    summary = {target: float(np.nanmedian([song[target] for song in scores.values()])) for target in targets}
    result = {
        "system": "mixture / 4" if separator is None else separator.manifest.name,
        "settings": _settings(separator),
        "subset": subset,
        "songs": len(scores),
        "median_sdr_db": summary,
        "sdr_db": scores,
        "versions": {"kerasep": kerasep.__version__, "python": platform.python_version(), "numpy": np.__version__},
    }
    write_json(output, result)
    for target, value in summary.items():
        print(f"{target:>8} {value:6.2f} dB SDR, median of {len(scores)} songs", file=sys.stdout)
    return result


def _score(song: Song, separator: Separator | None, targets: tuple[str, ...]) -> dict[str, float]:
    mixture = song.read("mixture", frames=song.frames)
    stems = separator.separate(mixture, song.rate) if separator else dict.fromkeys(targets, mixture / len(SOURCES))
    references = {target: song.read(target, frames=song.frames) for target in targets}
    frames = frame_sdr(references, stems, song.rate)
    medians = {}
    for target, values in frames.items():
        valid = values[~np.isnan(values)]
        medians[target] = float(np.median(valid)) if len(valid) else float("nan")
    return medians


def _settings(separator: Separator | None) -> dict[str, Any]:
    if separator is None:
        return {}
    return {
        "model_sha256": sha256(separator.artifact.path),
        "mask": separator.mask,
        "exponent": separator.exponent,
        "wiener": separator.iterations,
    }
