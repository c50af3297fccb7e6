"""One way of running a network, or this machine's own speed, for `benchmarks.latency`. Answers a line with a line of JSON.

python -m benchmarks.latency_worker FILE PROVIDER THREADS BATCH SECONDS
python -m benchmarks.latency_worker rates THREADS

To "load": what loading and the first call took; to "run": seconds; to "end": the peak of memory.
"""

import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kerasep import demo
from kerasep.artifact import Artifact
from kerasep.manifest import INPUT, Manifest
from kerasep.spectral import stft

SIZE = 1024  # of the matrices whose product says how fast this machine multiplies
BYTES = 1 << 26  # copied to see how fast it copies
CPU = ("CPUExecutionProvider", "XNNPACK")


def inputs(manifest: Manifest, batch: int, seconds: float) -> dict[str, np.ndarray]:
    """What a graph takes, of music: as many seconds as it is asked for, where it takes any number."""
    spectrogram = manifest.spectrogram
    music = np.sum(list(demo.render().values()), axis=0)
    music = music if spectrogram.channels == 2 else music.mean(axis=1, keepdims=True)
    feeds = {name: np.zeros([size or 1 for size in shape], np.float32) for name, shape in manifest.inputs().items()}
    hops = max(1, round(seconds * spectrogram.rate / spectrogram.hop))
    if manifest.graph == "waveform":
        shape: tuple[int, ...] = (batch, spectrogram.channels, manifest.samples or hops * spectrogram.hop)
        song = np.resize(music, (shape[2], spectrogram.channels)).T
    else:
        frames = manifest.shape[1] or hops
        shape = (batch, frames, *manifest.shape[2:])
        song = np.resize(np.abs(stft(music, spectrogram)), shape[1:])
    return feeds | {INPUT: np.ascontiguousarray(np.broadcast_to(song, shape), np.float32)}


def heard(manifest: Manifest, shape: tuple[int, ...]) -> float:
    """Seconds of audio in a mixture of this shape, of all songs of the batch."""
    spectrogram = manifest.spectrogram
    samples = shape[2] if manifest.graph == "waveform" else shape[1] * spectrogram.hop
    return shape[0] * samples / spectrogram.rate


def opened(path: Path, provider: str, threads: int) -> tuple[Callable[[dict[str, np.ndarray]], Any], dict[str, int]]:
    """How to run a file, and how many of its nodes each provider runs, where that is not one alone."""
    if provider in CPU:
        return Artifact(path, threads).runtime.run, {}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(tempfile.mkdtemp(prefix="kerasep-")) / "profile")
    session = onnxruntime.InferenceSession(path, options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"{provider} does not open it")
    feeds = inputs(Artifact(path).manifest, 1, 1.0)
    session.run(None, feeds)
    profile = json.loads(Path(session.end_profiling()).read_text())
    nodes = Counter(event["args"]["provider"] for event in profile if event.get("args", {}).get("provider"))
    session = onnxruntime.InferenceSession(path, providers=[provider])

    def run(feeds: dict[str, np.ndarray]) -> None:
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda", 0)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run, dict(nodes)


def rates(threads: int) -> Callable[[], dict[str, float]]:
    """Seconds of a product of matrices and of a copy on so many threads; the environment has told NumPy of them."""
    matrix = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    given, taken = np.ones(BYTES, np.uint8).reshape(threads, -1), np.empty(BYTES, np.uint8).reshape(threads, -1)
    pool = ThreadPoolExecutor(threads)

    def run() -> dict[str, float]:
        start = time.perf_counter()
        np.matmul(matrix, matrix)
        middle = time.perf_counter()
        list(pool.map(np.copyto, taken, given))
        return {"product": middle - start, "copy": time.perf_counter() - middle}

    return run


def main() -> None:
    if sys.argv[1] == "rates":
        measure = rates(int(sys.argv[2]))
        for line in sys.stdin:
            print(json.dumps({} if line.strip() in ("load", "end") else measure()), flush=True)
        return
    path, provider, threads, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    manifest = Artifact(path).manifest
    feeds = inputs(manifest, batch, float(sys.argv[5]))
    run: Callable[[dict[str, np.ndarray]], Any]
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "load":
            run, nodes = opened(path, provider, threads)
            loaded = time.perf_counter()
            outputs = run(feeds) or {}
            answer: Any = {
                "load_seconds": loaded - start,
                "first_seconds": time.perf_counter() - loaded,
                "nodes": nodes,
                "audio_seconds": heard(manifest, feeds[INPUT].shape),
                "bytes_moved": sum(array.nbytes for array in (*feeds.values(), *outputs.values())),
            }
        elif line.strip() == "end":
            answer = {"peak_megabytes": _peak()}
        else:
            run(feeds)
            answer = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


def _peak() -> float:
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
