"""Our separator for `benchmarks.peers`: seconds from waveform to stems, the way that a line names.

python -m benchmarks.peers_worker MODEL FOLDER

A line may also be "stems WAY", whose answer is a file with them; "parts", what each takes on its own; "operators", what those
of the network do; or "end".
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.machine import megabytes
from kerasep.hub import load
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import INPUT
from kerasep.inference.open import open_separator
from kerasep.signal.masks import magnitude_gains
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener

WAYS: dict[str, Any] = {"no filter": {"wiener": 0}, "one iteration": {"wiener": 1}, "default": {}}


def main() -> None:
    folder = Path(sys.argv[2])
    artifact, audio = load(sys.argv[1]), np.load(folder / "audio.npy", allow_pickle=False)
    loaded = megabytes("VmRSS")
    separators = {way: open_separator(artifact, **options) for way, options in WAYS.items()}
    for line in sys.stdin:
        asked = line.strip()
        if asked == "end":
            answer: object = {"loaded_megabytes": loaded, "peak_megabytes": megabytes("VmHWM")}
        elif asked == "parts":
            answer = _parts(artifact, audio)
        elif asked == "operators":
            answer = _operators(artifact, audio)
        else:
            way = asked.removeprefix("stems ")
            start = time.perf_counter()
            stems = separators[way](audio, artifact.manifest.spectrogram.rate)
            answer = time.perf_counter() - start
            if way != asked:
                answer = str(folder / f"{way}, ours.npz")
                np.savez(answer, **dict[str, Any](stems))
        print(json.dumps(answer), flush=True)


def _parts(artifact: Artifact, audio: np.ndarray) -> dict[str, float]:
    """Seconds that each part of a filtered song takes on its own."""
    seconds, spectrogram, grid = {}, artifact.manifest.spectrogram, artifact.manifest.filter_frames

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        seconds[name] = time.perf_counter() - start
        return result

    spectrum = timed("transform", lambda: stft(audio, spectrogram))
    estimates = timed("networks", lambda: artifact.estimate(np.abs(spectrum)))
    gains = magnitude_gains(estimates, np.abs(spectrum))
    stems = timed("filter, one iteration", lambda: wiener(gains, spectrum, 1, grid))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        timed("inverse", lambda: list(pool.map(lambda stem: istft(stem, spectrogram, len(audio)), stems.values())))
    return seconds


def _operators(artifact: Artifact, audio: np.ndarray) -> dict[str, float]:
    """Seconds in each kind of operator, of the second of two calls on the whole song."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
        magnitudes = np.abs(stft(audio, artifact.manifest.spectrogram))[None]
        for _ in range(2):
            session.run(None, {INPUT: magnitudes})
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    seconds: dict[str, float] = {}
    for event in kernels[len(kernels) // 2 :]:
        operator = event["args"]["op_name"]
        seconds[operator] = seconds.get(operator, 0.0) + event["dur"] / 1e6
    return seconds


if __name__ == "__main__":
    main()
