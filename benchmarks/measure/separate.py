"""Waveform to stems: how long each part takes, and what a whole process takes for files of several lengths."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.measure.calibration import rates
from benchmarks.measure.machine import describe, tf32
from benchmarks.measure.music import music
from kerasep.datasets import demo
from kerasep.hub import load
from kerasep.inference.artifact import sha256
from kerasep.inference.providers import CPU
from kerasep.inference.separator import SpectrogramSeparator
from kerasep.signal.masks import apply, ratio_gains
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener

SECONDS = 30  # of music for the parts
REPETITIONS = 15


def measure(model: str, minutes: Sequence[float], provider: str = CPU) -> dict[str, Any]:
    """Every sample of the parts, and whole processes for files of these lengths in minutes, on a provider of ONNX Runtime."""
    os.environ.update(tf32(provider))  # for the processes, too
    return {
        **describe("numpy", "scipy", "onnxruntime"),
        "model": {"name": load(model).manifest.name, "sha256": sha256(load(model).path)},
        "provider": provider,
        "parts": _parts(model, provider),
        "files": [_file(model, length, provider) for length in minutes],
    }


def _parts(model: str, provider: str) -> dict[str, Any]:
    """Each part on its own and the whole, interleaved so that a slow moment of the machine hits all alike."""
    separator = SpectrogramSeparator(load(model, provider=provider), wiener=0)
    audio = music(SECONDS)
    spectrogram = separator.graph.spectrogram
    spectrum = stft(audio, spectrogram)
    block = spectrum[: separator.graph.blocks.frames]
    share = len(spectrum) / len(block)  # from one block to the whole signal
    estimates = separator.artifact.estimate(np.abs(block))
    gains = ratio_gains(estimates)
    stems = apply(gains, block)
    parts: dict[str, tuple[Callable[[], Any], float]] = {
        "separate": (lambda: separator(audio, spectrogram.rate), 1),
        "stft": (lambda: stft(audio, spectrogram), 1),
        "network": (lambda: separator.artifact.estimate(np.abs(block)), share),
        "ratio mask": (lambda: apply(ratio_gains(estimates), block), share),
        "inverse, one core": (lambda: [istft(s, spectrogram, len(block) * spectrogram.hop) for s in stems.values()], share),
        "wiener, one iteration, not in the total": (lambda: wiener(gains, block, 1), share),
    }
    samples: dict[str, list[float]] = {name: [] for name in parts}
    products, product = [], rates(len(os.sched_getaffinity(0)))
    for repetition in range(1 + REPETITIONS):
        products += [product()["product"]] if repetition else []
        for name, (run, factor) in parts.items():
            start = time.perf_counter()
            run()
            if repetition:  # the first warms up
                samples[name].append((time.perf_counter() - start) * factor / SECONDS)
    for name, values in samples.items():
        middle = statistics.median(values)
        print(f"{name:>40}: {1000 * middle:6.2f} ms per second of audio ({1 / middle:5.0f} x real time)")
    return {"unit": "seconds per second of audio", "seconds": SECONDS, "samples": samples, "products": products}


def _file(model: str, minutes: float, provider: str) -> dict[str, Any]:
    """`kerasep separate` on a file: a whole process until the stems are written, then a second run in the same process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.wav"
        block = (music(30) * 32767).astype(np.int16)
        with soundfile.SoundFile(path, "w", demo.RATE, 2, "PCM_16") as file:
            samples = round(60 * minutes * demo.RATE)
            for written in range(0, samples, len(block)):
                file.write(block[: samples - written])
        command = [sys.executable, "-c", CHILD, "separate", str(path), "-o", folder, "--model", model, "--overwrite"]
        command += ["--provider", provider]
        start = time.time()
        done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")  # noqa: S603
    result = json.loads(done.stdout.splitlines()[-1])
    result = {"minutes": minutes, "wall_seconds": result.pop("ended") - start, **result}
    print(
        f"{minutes:6.2f} min: {result['wall_seconds']:6.1f} s, {60 * minutes / result['wall_seconds']:4.0f} x real time, "
        f"{result['cpu_seconds']:6.1f} s of CPU, again {result['warm_seconds']:6.1f} s, peak {result['peak_megabytes']:4.0f} MB"
    )
    return result


# The command line, cold; time and peak memory of that; then the same again, warm.
CHILD = """
import json, sys, time
from kerasep.cli import main
if main(sys.argv[1:]):
    sys.exit(1)
result = {"ended": time.time(), "cpu_seconds": time.process_time()}
from kerasep.machine import peak_megabytes
result["peak_megabytes"] = peak_megabytes()
start = time.perf_counter()
main(sys.argv[1:])
print(json.dumps(result | {"warm_seconds": time.perf_counter() - start}))
"""
