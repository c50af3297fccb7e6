"""Signals that museval and our BSSEval both score; museval's verdicts on them stand in golden/museval.json."""

from dataclasses import dataclass

import numpy as np
import scipy.signal

from kerasep.datasets import demo
from kerasep.evaluation.bsseval import METRICS

TARGETS = ("drums", "bass", "other", "vocals")
RATE = 4000  # frames short enough for museval to be quick


@dataclass(frozen=True)
class Case:
    """References and estimates, {target: (samples, channels)}; frames are `frame` samples long."""

    references: dict[str, np.ndarray]
    estimates: dict[str, np.ndarray]
    frame: int = RATE


def made_up(seed: int, targets=TARGETS, samples: int = 3 * RATE + 100, channels: int = 2):
    """References of coloured noise, and estimates with filtering, leakage and noise in them."""
    random = np.random.default_rng(seed)
    references = {
        t: scipy.signal.lfilter([1], [1, -0.5 + 0.2 * n], random.normal(size=(samples, channels)), axis=0)
        for n, t in enumerate(targets)
    }
    total = sum(references.values())
    estimates = {
        t: scipy.signal.lfilter([0.9, 0.2, -0.1], [1], r, axis=0) + 0.1 * total + 0.02 * random.normal(size=r.shape)
        for t, r in references.items()
    }
    return references, estimates


def demo_song() -> Case:
    """Three seconds of music, with hiss: rendered stems have equal channels and empty bands, where rounding alone
    decides what museval finds."""
    song, random = demo.render(), np.random.default_rng(0)
    references = {t: song[t][: 3 * 44100] + 0.01 * random.normal(size=(3 * 44100, 2)) for t in TARGETS}
    total = sum(references.values())
    estimates = {t: 0.9 * r + 0.1 * total + 0.001 * random.normal(size=r.shape) for t, r in references.items()}
    return Case(references, estimates, 44100)


def silent_frames() -> Case:
    references, estimates = made_up(1)
    references["bass"][RATE : 2 * RATE] = 0
    estimates["other"][2 * RATE : 3 * RATE] = 0
    return Case(references, estimates)


def cancelling_channels() -> Case:
    references, estimates = made_up(1)
    references["bass"][:RATE, 1] = -references["bass"][:RATE, 0]
    return Case(references, estimates)


def perfect_estimates() -> Case:
    references, _ = made_up(6, TARGETS[:2])
    return Case(references, references)


CASES = {
    "stereo": lambda: Case(*made_up(0)),
    "mono": lambda: Case(*made_up(0, channels=1)),
    "two targets, stereo": lambda: Case(*made_up(0, TARGETS[:2])),
    "two targets, mono": lambda: Case(*made_up(0, TARGETS[:2], channels=1)),
    "demo song": demo_song,
    "silent frames": silent_frames,
    "cancelling channels": cancelling_channels,
    "shorter than a frame": lambda: Case(*made_up(2, TARGETS[:2], samples=3000, channels=1)),
    "one frame for the whole song": lambda: Case(*made_up(3), frame=10**9),
    "perfect estimates": perfect_estimates,
}


def museval_scores(case: Case) -> dict[str, np.ndarray]:
    """{metric: (targets, frames) in dB}."""
    import museval

    stacked = [np.stack([signals[t] for t in case.references]) for signals in (case.references, case.estimates)]
    return dict(zip(METRICS, museval.evaluate(*stacked, win=case.frame, hop=case.frame), strict=True))
