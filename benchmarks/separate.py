"""Waveform to stems: how long each part takes, and what a whole process takes for files of several lengths."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.machine import describe
from kerasep import demo
from kerasep.artifact import sha256
from kerasep.files import write_json
from kerasep.masking import apply, ratio_gains, wiener
from kerasep.separator import Separator
from kerasep.spectral import istft, stft
from kerasep.zoo import load

SECONDS = 30  # of music for the parts
REPETITIONS = 15


def measure(model: str, minutes: list[float], output: Path) -> None:
    """Measure parts and whole processes, print them and write them, every sample, to `output`."""
    write_json(output, {**describe("numpy", "scipy", "onnxruntime"), **measured(model, minutes)})


def measured(model: str, minutes: list[float]) -> dict[str, Any]:
    """The same, but for writing."""
    return {
        "model": {"name": load(model).manifest.name, "sha256": sha256(load(model).path)},
        "parts": _parts(model),
        "files": [_file(model, length) for length in minutes],
    }


def _parts(model: str) -> dict[str, Any]:
    """Each part on its own and the whole, interleaved so that a slow moment of the machine hits all alike."""
    separator = Separator(load(model), wiener=0)
    audio = _music(SECONDS)
    spectrogram = separator.manifest.spectrogram
    spectrum = stft(audio, spectrogram)
    block = spectrum[: separator.manifest.block_frames]
    share = len(spectrum) / len(block)  # from one block to the whole signal
    estimates = separator.artifact.predict(np.abs(block))
    gains = ratio_gains(estimates)
    stems = apply(gains, block)
    parts: dict[str, tuple[Callable[[], Any], float]] = {
        "separate": (lambda: separator.separate(audio, spectrogram.rate), 1),
        "stft": (lambda: stft(audio, spectrogram), 1),
        "network": (lambda: separator.artifact.predict(np.abs(block)), share),
        "ratio mask": (lambda: apply(ratio_gains(estimates), block), share),
        "inverse, one core": (lambda: [istft(s, spectrogram, len(block) * spectrogram.hop) for s in stems.values()], share),
        "wiener, one iteration, not in the total": (lambda: wiener(gains, block, 1), share),
    }
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for repetition in range(1 + REPETITIONS):
        for name, (run, factor) in parts.items():
            start = time.perf_counter()
            run()
            if repetition:  # the first warms up
                samples[name].append((time.perf_counter() - start) * factor / SECONDS)
    for name, values in samples.items():
        middle = statistics.median(values)
        print(f"{name:>40}: {1000 * middle:6.2f} ms per second of audio ({1 / middle:5.0f} x real time)")
    return {"unit": "seconds per second of audio", "seconds": SECONDS, "samples": samples}


def _file(model: str, minutes: float) -> dict[str, Any]:
    """A whole `kerasep separate` on a file: wall and processor time, and the peak of its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.wav"
        block = (_music(30) * 32767).astype(np.int16)
        with soundfile.SoundFile(path, "w", demo.RATE, 2, "PCM_16") as file:
            samples = round(60 * minutes * demo.RATE)
            for written in range(0, samples, len(block)):
                file.write(block[: samples - written])
        command = [sys.executable, "-c", CHILD, "separate", str(path), "-o", folder, "--model", model]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(done.stdout.split()[-1]) / 1000
    print(
        f"{minutes:6.1f} min: {wall:6.1f} s, {60 * minutes / wall:4.0f} x real time, {cpu:6.1f} s of CPU, peak {peak:4.0f} MB"
    )
    return {"minutes": minutes, "wall_seconds": wall, "cpu_seconds": cpu, "peak_megabytes": peak}


# The command line as it is, and afterwards the peak of its memory in kB (getrusage would count what started it, too).
CHILD = """
import re, sys
from kerasep.cli import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""


def _music(seconds: int) -> np.ndarray:
    """The demo song over and over, float32 (samples, 2)."""
    mixture = np.sum(list(demo.render().values()), axis=0)
    samples = seconds * demo.RATE
    return np.tile(mixture, (1 + samples // len(mixture), 1))[:samples]
