"""Our separator for `benchmarks.peers.comparison`.

python -m benchmarks.peers.ours_worker MODEL FOLDER PROVIDER

It begins with the megabytes of libraries and weights, then answers "WAY" with seconds from FOLDER/audio.npy to stems, "stems
WAY" with a file of the stems, "parts" with seconds by part and "operators" with seconds by operator of the network.
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

from kerasep.errors import KerasepError
from kerasep.hub import load
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import INPUT, SpectrogramGraph
from kerasep.inference.open import open_separator
from kerasep.inference.ort import onnxruntime
from kerasep.signal.masks import magnitude_gains
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener

WAYS: dict[str, Any] = {"no filter": {"wiener": 0}, "one iteration": {"wiener": 1}, "default": {}}


def main() -> None:
    folder = Path(sys.argv[2])
    artifact, audio = load(sys.argv[1], provider=sys.argv[3]), np.load(folder / "audio.npy", allow_pickle=False)
    loaded = _resident_megabytes()
    separators = {way: open_separator(artifact, **options) for way, options in WAYS.items()}
    print(json.dumps(loaded), flush=True)
    for line in sys.stdin:
        asked = line.strip()
        if asked == "parts":
            answer: object = _parts(artifact, audio)
        elif asked == "operators":
            answer = _operators(artifact, audio)
        else:
            way = asked.removeprefix("stems ")
            start = time.perf_counter()
            stems = separators[way](audio, separators[way].rate)
            answer = time.perf_counter() - start
            if way != asked:
                answer = str(folder / f"{way}, ours.npz")
                np.savez(answer, **dict[str, Any](stems))
        print(json.dumps(answer), flush=True)


def _resident_megabytes() -> float:
    """The memory this process has now, in megabytes of 10^6 bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parts(artifact: Artifact, audio: np.ndarray) -> dict[str, float]:
    """Seconds that each part of a filtered song takes on its own."""
    graph = _graph(artifact)
    seconds, spectrogram, grid = {}, graph.spectrogram, graph.masking.filter_frames

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


def _graph(artifact: Artifact) -> SpectrogramGraph:
    graph = artifact.manifest.graph
    if not isinstance(graph, SpectrogramGraph):
        raise KerasepError(f"{artifact.path}: peers are compared with spectrogram graphs")
    return graph


def _operators(artifact: Artifact, audio: np.ndarray) -> dict[str, float]:
    """Seconds in each kind of operator on the CPU, of the second of two calls on the whole song."""
    options = onnxruntime().SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime().InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
        magnitudes = np.abs(stft(audio, _graph(artifact).spectrogram))[None]
        for _ in range(2):
            session.run(None, {INPUT: magnitudes})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    seconds: dict[str, float] = {}
    for event in kernels[len(kernels) // 2 :]:
        operator = event["args"]["op_name"]
        seconds[operator] = seconds.get(operator, 0.0) + event["dur"] / 1e6
    return seconds


if __name__ == "__main__":
    main()
