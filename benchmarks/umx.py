"""Open-Unmix: waveform to stems beside PyTorch's own, with the same weights; and what cutting a song into blocks costs."""

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.workers import shown, worker
from kerasep.dataset import songs
from kerasep.errors import UsageError
from kerasep.files import write_json
from kerasep.separator import Separator
from kerasep.zoo import load

PARTS = ("speed", "blocks")
SECONDS, ROUNDS = 30, 9  # of music; turns, of which the first warms up
BLOCKS, CONTEXTS = (300, 600, 1500, 3000), (0, 16, 64, 128, 256)  # frames


def measure(root: Path, output: Path, parts: list[str], torch: Path | None, model: str | None) -> None:
    """Measure, print and write every sample to `output`; what it holds of other parts stays.

    Args:
        root: MUSDB18, whose test songs are played one after the other.
        parts: of `PARTS`.
        torch: a Python that has PyTorch and openunmix, for "speed".
        model: a trained Open-Unmix, for "blocks": what a block's ends lack depends on what the LSTM has learnt to remember.
    """
    if "speed" in parts and torch is None:
        raise UsageError("speed: name a Python that has torch and openunmix with --torch, or leave the part out with --parts")
    if "blocks" in parts and model is None:
        raise UsageError("blocks: name a trained Open-Unmix with --model, or leave the part out with --parts")
    result: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    result |= describe("numpy", "scipy", "onnxruntime")
    music = np.concatenate([song.read("mixture") for song in songs(root, "test", progress=True)])
    if torch and "speed" in parts:
        result["speed"] = _speed(music[: SECONDS * 44100], torch)
    if model and "blocks" in parts:
        result["blocks"] = _blocks(music, model)
    write_json(output, result)


def _speed(audio: np.ndarray, torch: Path) -> dict[str, Any]:
    from kerasep.importers import openunmix

    samples: dict[str, dict[str, list[float]]] = {side: {"0": [], "1": []} for side in ("kerasep", "openunmix (PyTorch)")}
    with tempfile.TemporaryDirectory(prefix="kerasep-") as name:
        folder = Path(name)
        np.save(folder / "audio.npy", audio)
        script = Path(__file__).with_name("umx_torch_worker.py")
        theirs = [str(torch), str(script), name, str(folder / "audio.npy"), str(len(os.sched_getaffinity(0)))]
        with worker(theirs) as other:
            other("0")  # has written its weights by then
            manifest = openunmix.load(folder).write_artifact(folder / "umx.onnx")
            ours = [sys.executable, "-m", "benchmarks.umx_worker", str(folder / "umx.onnx"), str(folder / "audio.npy")]
            with worker(ours) as mine:
                rates = []
                for number in range(ROUNDS):
                    for iterations in ("0", "1"):
                        for side, ask in zip(samples, (mine, other), strict=True):
                            seconds = ask(iterations)
                            if number:
                                samples[side][iterations].append(seconds)
                    rates.append(_product_rate())
                ends = dict(zip(samples, (mine("end"), other("end")), strict=True))
                parts = [mine("parts") for _ in range(ROUNDS)]
    arithmetic = manifest.multiply_adds * SECONDS / max(rates)
    for iterations in ("0", "1"):
        ours_, theirs_ = (statistics.median(times[iterations]) for times in samples.values())
        print(f"{iterations} iterations:", *(f"{side} {shown(times[iterations])}," for side, times in samples.items()), end=" ")
        print(f"theirs / ours {theirs_ / ours_:.2f}; the networks' arithmetic alone {arithmetic:.3f} s")
    peaks = {side: end["peak_megabytes"] for side, end in ends.items()}
    print("peak memory:", *(f"{side} {peak:.0f} MB" for side, peak in peaks.items()))
    return {
        "seconds": SECONDS,
        "samples": samples,
        "parts": parts[1:],
        "peak_megabytes": peaks,
        "loaded_megabytes": ends["kerasep"]["loaded_megabytes"],
        "multiply_adds_per_second": manifest.multiply_adds,
        "product_rates": rates,
        "versions": ends["openunmix (PyTorch)"]["versions"],
    }


def _product_rate() -> float:
    """Multiply-adds a second of a product of matrices in float32, the best of three."""
    size = 2048
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        a @ a
        best = max(best, size**3 / (time.perf_counter() - start))
    return best


def _blocks(audio: np.ndarray, model: str) -> dict[str, Any]:
    """Agreement with the song in one piece, and time, by frames in a block and frames around it."""
    artifact = load(model)
    manifest = artifact.manifest
    frames = manifest.spectrogram.frames(len(audio))
    whole = manifest.filter_frames * -(-frames // manifest.filter_frames)

    def separated(block: int, context: int) -> tuple[dict[str, np.ndarray], float]:
        artifact.manifest = replace(manifest, block_frames=block, context_frames=context)
        start = time.perf_counter()
        stems = Separator(artifact, mask="none", wiener=0).separate(audio, manifest.spectrogram.rate)
        return stems, time.perf_counter() - start

    separated(whole, 0)  # warms up
    expected, seconds = separated(whole, 0)
    rows = []
    for block in BLOCKS:
        for context in CONTEXTS:
            stems, taken = separated(block, context)
            db = {t: float(10 * np.log10(np.sum(e**2) / np.sum((e - stems[t]) ** 2))) for t, e in expected.items()}
            rows.append({"block": block, "context": context, "seconds": taken, "agreement_db": db})
            print(f"{block} frames, {context} around: {min(db.values()):.1f} dB at least, {taken / seconds:.2f} x the time")
    return {"model": manifest.name, "frames": frames, "seconds_in_one_piece": seconds, "rows": rows}
