"""Training: a step that gets its data as it comes against the same step on one batch, PyTorch's Open-Unmix, and memory.

Every side runs in a process of its own, and all processes take turns, so that a slow moment of the machine hits all alike.
"""

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.machine import describe
from benchmarks.peers import environment
from benchmarks.workers import shown, worker
from kerasep.datasets.musdb import STEMS, Song, songs

ROUNDS, STEPS = 4, 5  # turns, and steps in a turn
RECIPES = ("conv", "openunmix")
SONGS, MINUTES, DISTINCT = 100, 4.0, 8  # of the data set made to measure memory: full-length songs, most of them links


def measure(root: Path) -> dict[str, Any]:
    """Every sample; `root` is MUSDB18 as .stem.mp4 files, or MUSDB18-HQ."""
    python = environment("openunmix")  # before minutes of work, not after
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        full = Path(folder) / "musdb18hq"
        _full_length(songs(root, "train", progress=True), songs(root, "validation", progress=True), full)
        return {
            **describe("tensorflow", "keras", "numpy"),
            "steps": [
                _live_and_cached(recipe, name, place)
                for recipe in RECIPES
                for name, place in ((".stem.mp4, decoded", root), ("full-length WAV", full))
            ],
            "transform": _one_result(["transform", str(root)]),
            "peer": _peer(root, python),
            "memory": _memory(full),
        }


def _live_and_cached(recipe: str, name: str, root: Path) -> dict[str, Any]:
    samples: dict[str, list[float]] = {"live": [], "cached": []}
    with worker([sys.executable, "-m", "benchmarks.training_worker", "step", recipe, str(root)]) as ask:
        for _ in range(ROUNDS):
            for side, times in samples.items():
                times += ask(side)
        end = ask("end")
    ratio = statistics.median(samples["live"]) / statistics.median(samples["cached"])
    print(f"{recipe}, {name}: live {shown(samples['live'])}, cached {shown(samples['cached'])}, ratio {ratio:.2f}")
    return {"recipe": recipe, "data": name, "samples": samples, "ratio": ratio, **end}


def _peer(root: Path, python: Path) -> dict[str, Any]:
    ours = [sys.executable, "-m", "benchmarks.training_worker", "step", "openunmix", str(root)]
    script = Path(__file__).with_name("torch_worker.py")
    theirs = [str(python), str(script), str(len(os.sched_getaffinity(0)))]
    samples: dict[str, list[float]] = {"kerasep": [], "openunmix (PyTorch)": []}
    with worker(ours) as mine, worker(theirs) as other:
        for _ in range(ROUNDS):
            samples["kerasep"] += mine("cached")
            samples["openunmix (PyTorch)"] += other("step")
        versions = other("end")
    middle = {side: statistics.median(times) for side, times in samples.items()}
    ratio = middle["openunmix (PyTorch)"] / middle["kerasep"]
    print(*(f"{side} {shown(times)}" for side, times in samples.items()), f"theirs / ours {ratio:.2f}")
    return {"samples": samples, "ratio": ratio, "versions": versions}


def _memory(root: Path) -> dict[str, Any]:
    """An epoch of a few steps of `kerasep train` on full-length songs, validation and all."""
    result = _one_result(["memory", str(root)])
    print(f"{result['songs']} songs of {MINUTES:g} min: peak {result['peak_megabytes']:.0f} MB")
    return result


def _full_length(training: list[Song], validation: list[Song], root: Path) -> None:
    """A data set of full-length songs as MUSDB18-HQ has them: excerpts over and over, the same few under many names."""
    frames = int(MINUTES * 60 * training[0].rate)
    for number in range(DISTINCT):
        folder = root / "distinct" / str(number)
        folder.mkdir(parents=True)
        for stem in STEMS:
            samples = training[number].pcm(stem, 0, training[number].frames)
            tiled = np.tile(samples, (1 + frames // len(samples), 1))[:frames]
            soundfile.write(folder / f"{stem}.wav", tiled, training[number].rate, "PCM_16")
    names = [f"Song {number}" for number in range(SONGS - len(validation))] + [song.name for song in validation]
    for number, name in enumerate(names):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for stem in STEMS:
            os.link(root / "distinct" / str(number % DISTINCT) / f"{stem}.wav", folder / f"{stem}.wav")
    shutil.rmtree(root / "distinct")


def _one_result(arguments: list[str]) -> dict[str, Any]:
    with worker([sys.executable, "-m", "benchmarks.training_worker", *arguments]) as ask:
        return ask("end")
