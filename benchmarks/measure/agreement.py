"""BSSEval against museval on real clips, frame by frame: python -m benchmarks agreement --root MUSDB18-7 -o FILE.json.

The filters of a frame can be ill-conditioned: then an inaudible change of the input changes the value museval gives. Where the
two differ by more than TOLERANCE, museval scores the same song again with noise of PERTURBATION added to its input, and the
change of its value is written with the difference.
"""

from pathlib import Path
from typing import Any

import museval
import numpy as np
from tqdm import tqdm

from benchmarks.measure.machine import describe
from kerasep.datasets.musdb import Song, songs
from kerasep.evaluation.bsseval import METRICS, evaluate
from kerasep.evaluation.systems import Ideal, Model, Oracle, System
from kerasep.files import write_json

TOLERANCE = 0.02  # dB
PERTURBATION = 1e-9


def measure(model: str, root: Path, output: Path) -> None:
    """Compare every frame of every test song for a model's stems and an ideal ratio mask's; write the worst of each song."""
    found = songs(root, "test", progress=True)
    systems: dict[str, System] = {"model": Model(model), "ideal ratio mask": Oracle(Ideal.IRM)}
    rows: list[dict[str, Any]] = []
    for song in tqdm(found, unit="song", disable=None):
        rows += [{"song": song.name, "system": name, **_compare(song, system)} for name, system in systems.items()]
        write_json(output, {**describe("museval", "numpy", "scipy"), "tolerance_db": TOLERANCE, "songs": rows})
    for metric in METRICS:
        worst = max(row["largest_difference_db"][metric] for row in rows)
        print(f"{metric}: {worst:.1e} dB at most, over {len(rows)} songs and systems")
    print("NaN in other places:", sum(not row["same_nan"] for row in rows))


def _compare(song: Song, system: System) -> dict[str, Any]:
    references = {t: song.read(t, frames=song.frames).astype(np.float64) for t in system.targets}
    estimates = {t: stem.astype(np.float64) for t, stem in system.stems(song).items()}
    scores = evaluate(references, estimates, song.rate)
    ours = np.array([[scores.frames[t][metric] for t in references] for metric in METRICS])  # (metrics, targets, frames)
    theirs = _museval(references, estimates, song.rate)
    difference = _largest(ours - theirs)
    row: dict[str, Any] = {
        "frames": ours.shape[2],
        "same_nan": bool(np.array_equal(np.isnan(ours), np.isnan(theirs))),
        "largest_difference_db": difference,
    }
    if max(difference.values()) > TOLERANCE:
        random = np.random.default_rng(0)
        moved = {t: r + PERTURBATION * random.normal(size=r.shape) for t, r in references.items()}
        row["museval_moves_by_db"] = _largest(_museval(moved, estimates, song.rate) - theirs)
    return row


def _museval(references: dict[str, np.ndarray], estimates: dict[str, np.ndarray], rate: int) -> np.ndarray:
    stacked = [np.stack([signals[t] for t in references]) for signals in (references, estimates)]
    return np.array(museval.evaluate(*stacked, win=rate, hop=rate))


def _largest(differences: np.ndarray) -> dict[str, float]:
    return {metric: float(np.nanmax(np.abs(values), initial=0)) for metric, values in zip(METRICS, differences, strict=True)}
