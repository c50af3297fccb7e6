"""Training: a step on live data against the same step on one cached batch, the step of PyTorch's Open-Unmix, and memory.

On the backend and the device that `kerasep train` would take, PyTorch on the same device, and all of them without TF32. Each
runs in its own process, and all processes take turns, so that a slow moment of the machine hits all alike.
"""

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import soundfile

from benchmarks.measure import producer
from benchmarks.measure.environments import OPENUNMIX, environment
from benchmarks.measure.machine import describe
from benchmarks.measure.workers import Worker, summary
from kerasep.datasets.musdb import SOURCES, STEMS, Song, songs

ROUNDS, STEPS = 4, 5  # turns, and steps in a turn
RECIPES = {"bands": SOURCES, "conv": ("vocals",), "openunmix": ("vocals",)}  # and the targets of a step
SONGS, MINUTES, DISTINCT = 100, 4.0, 8  # of the data set made to measure memory: full-length songs, most of them links
WORKER = [sys.executable, "-m", "benchmarks.measure.training_worker"]
# Of a GPU's memory: else the first process would take all.
AS_NEEDED = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
TORCH_WORKER = Path(__file__).parents[1] / "peers" / "torch_training_worker.py"


def measure(root: Path) -> dict[str, Any]:
    """Every sample; `root` is MUSDB18 as .stem.mp4 files, or MUSDB18-HQ."""
    python = environment(OPENUNMIX)  # before minutes of work, not after
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        full = Path(folder) / "musdb18hq"
        _full_length(songs(root, "train", progress=True), songs(root, "validation", progress=True), full)
        return {
            **describe(keras.backend.backend(), "keras", "numpy"),
            "steps": [
                _live_and_cached(recipe, name, place)
                for recipe in RECIPES
                for name, place in ((".stem.mp4, decoded", root), ("full-length WAV", full))
            ],
            "producer": producer.measure(root),
            "transform": _transform(root) if keras.backend.backend() == "tensorflow" else {},
            "peer": _peer(root, python),
            "memory": _memory(full),
        }


def _live_and_cached(recipe: str, name: str, root: Path) -> dict[str, Any]:
    samples: dict[str, list[float]] = {"live": [], "cached": []}
    with _steps(recipe, root) as worker:
        batch = worker.answer()
        for _ in range(ROUNDS):
            for side, times in samples.items():
                times += worker.ask(side)
        peak = worker.peak_megabytes()
    ratio = statistics.median(samples["live"]) / statistics.median(samples["cached"])
    print(f"{recipe}, {name}: live {summary(samples['live'])}, cached {summary(samples['cached'])}, ratio {ratio:.2f}")
    return {"recipe": recipe, "data": name, "samples": samples, "ratio": ratio, **batch, "peak_megabytes": peak}


def _peer(root: Path, python: Path) -> dict[str, Any]:
    samples: dict[str, list[float]] = {"kerasep": [], "openunmix (PyTorch)": []}
    threads = str(len(os.sched_getaffinity(0)))
    with _steps("openunmix", root) as ours:
        device = "cpu" if ours.answer()["device"] == "cpu" else "cuda"
        with Worker([str(python), str(TORCH_WORKER), device, threads]) as theirs:
            versions = theirs.answer()
            for _ in range(ROUNDS):
                samples["kerasep"] += ours.ask("cached")
                samples["openunmix (PyTorch)"] += theirs.ask("step")
    middle = {side: statistics.median(times) for side, times in samples.items()}
    ratio = middle["openunmix (PyTorch)"] / middle["kerasep"]
    print(*(f"{side} {summary(times)}" for side, times in samples.items()), f"theirs / ours {ratio:.2f}")
    return {"samples": samples, "ratio": ratio, "versions": versions, "device": device}


def _steps(recipe: str, root: Path) -> Worker:
    return Worker([*WORKER, "step", recipe, ",".join(RECIPES[recipe]), str(root), str(STEPS)], AS_NEEDED)


def _transform(root: Path) -> dict[str, Any]:
    with Worker([*WORKER, "transform", str(root)]) as worker:
        return worker.answer()


def _memory(root: Path) -> dict[str, Any]:
    """Peak memory of a few steps of `kerasep train` on full-length songs, validation and all."""
    with Worker([*WORKER, "memory", str(root)]) as worker:
        result = {"songs": worker.answer(), "peak_megabytes": worker.peak_megabytes()}
    print(f"{result['songs']} songs of {MINUTES:g} min: peak {result['peak_megabytes']:.0f} MB")
    return result


def _full_length(training: list[Song], validation: list[Song], root: Path) -> None:
    """Write full-length songs in the form of MUSDB18-HQ: excerpts repeated, the same few songs linked under many names."""
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
