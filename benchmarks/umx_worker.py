"""Our Open-Unmix for `benchmarks.umx`: seconds from waveform to stems, for as many filter iterations as a line says, or parts.

python -m benchmarks.umx_worker MODEL.onnx AUDIO.npy
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.artifact import Artifact
from kerasep.masking import magnitude_gains, wiener
from kerasep.separator import Separator
from kerasep.spectral import istft, stft
from kerasep.zoo import load


def main() -> None:
    artifact, audio = load(sys.argv[1]), np.load(sys.argv[2], allow_pickle=False)
    loaded = _megabytes("VmRSS")
    separators = {str(wiener): Separator(artifact, wiener=wiener) for wiener in (0, 1)}
    for line in sys.stdin:
        if line.strip() == "end":
            answer: object = {"loaded_megabytes": loaded, "peak_megabytes": _megabytes("VmHWM")}
        elif line.strip() == "parts":
            answer = _parts(artifact, audio)
        else:
            start = time.perf_counter()
            separators[line.strip()].separate(audio, artifact.manifest.spectrogram.rate)
            answer = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


def _parts(artifact: Artifact, audio: np.ndarray) -> dict[str, float]:
    """Seconds that each part takes on its own."""
    seconds, spectrogram, grid = {}, artifact.manifest.spectrogram, artifact.manifest.filter_frames

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        seconds[name] = time.perf_counter() - start
        return result

    spectrum = timed("transform", lambda: stft(audio, spectrogram))
    estimates = timed("networks", lambda: artifact.predict(np.abs(spectrum)))
    gains = magnitude_gains(estimates, np.abs(spectrum))
    stems = timed("filter, one iteration", lambda: wiener(gains, spectrum, 1, grid))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        timed("inverse", lambda: list(pool.map(lambda stem: istft(stem, spectrogram, len(audio)), stems.values())))
    return seconds


def _megabytes(key: str) -> float:
    return int(re.findall(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
