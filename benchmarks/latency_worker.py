"""One way of running a network, or this machine's own speed, for `benchmarks.latency`. Answers a line with a line of JSON.

python -m benchmarks.latency_worker FILE|RUN PROVIDER THREADS BATCH SECONDS
python -m benchmarks.latency_worker rates THREADS

To "load": what loading and the first call took; to "run": seconds; to "end": the peak of memory.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import megabytes
from benchmarks.music import song
from kerasep.errors import KerasepError
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import INPUT
from kerasep.inference.manifest import Manifest
from kerasep.signal.stft import stft

SIZE = 1024  # of the matrices whose product says how fast this machine multiplies
BYTES = 1 << 26  # copied to see how fast it copies
CPU = ("CPUExecutionProvider", "XNNPACK")
KERAS = "Keras"  # of run folders
Run = Callable[[dict[str, np.ndarray]], Any]


def inputs(manifest: Manifest, batch: int, seconds: float) -> dict[str, np.ndarray]:
    """What a graph takes, of music: as many seconds as it is asked for, where it takes any number."""
    spectrogram = manifest.spectrogram
    music = song()
    music = music if spectrogram.channels == 2 else music.mean(axis=1, keepdims=True)
    feeds = {name: np.zeros([size or 1 for size in shape], np.float32) for name, shape in manifest.inputs().items()}
    hops = max(1, round(seconds * spectrogram.rate / spectrogram.hop))
    if manifest.graph == "waveform":
        shape: tuple[int, ...] = (batch, spectrogram.channels, manifest.samples or hops * spectrogram.hop)
        mixture = np.resize(music, (shape[2], spectrogram.channels)).T
    else:
        frames = manifest.shape[1] or hops
        shape = (batch, frames, *manifest.shape[2:])
        mixture = np.resize(np.abs(stft(music, spectrogram)), shape[1:])
    return feeds | {INPUT: np.ascontiguousarray(np.broadcast_to(mixture, shape), np.float32)}


def heard(manifest: Manifest, shape: tuple[int, ...]) -> float:
    """Seconds of audio in a mixture of this shape, of all songs of the batch."""
    spectrogram = manifest.spectrogram
    samples = shape[2] if manifest.graph == "waveform" else shape[1] * spectrogram.hop
    return shape[0] * samples / spectrogram.rate


class Opened(NamedTuple):
    """A network that can be run.

    Attributes:
        run: all outputs for all inputs, or, where these stay on a device, nothing.
        manifest: says what it takes.
        seconds: that loading took.
        nodes: how many of the graph's each provider runs, where that is not one alone.
    """

    run: Run
    manifest: Manifest
    seconds: float
    nodes: dict[str, int]


def opened(path: Path, provider: str, threads: int, batch: int) -> Opened:
    """Open a file on ONNX Runtime or LiteRT, or a run folder in Keras."""
    start = time.perf_counter()
    if provider == KERAS:
        return _keras(path, threads)
    artifact = Artifact(path, threads)
    if provider in CPU:
        return Opened(artifact.runtime.run, artifact.manifest, time.perf_counter() - start, {})
    return _on_device(path, provider, artifact.manifest, batch)


def _keras(run: Path, threads: int) -> Opened:
    import tensorflow as tf

    from kerasep.conversion.freeze import freeze

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    start = time.perf_counter()
    frozen = freeze([run], run.name)
    return Opened(lambda feeds: frozen.run(feeds[INPUT]), frozen.manifest, time.perf_counter() - start, {})


def _on_device(path: Path, provider: str, manifest: Manifest, batch: int) -> Opened:
    """Inputs and outputs stay on the device: what is timed is the graph, until the device is done."""
    import onnxruntime

    onnxruntime.preload_dlls()

    def session(**options: Any) -> Any:
        made = onnxruntime.InferenceSession(path, providers=[provider], **options)
        if made.get_providers()[0] != provider:  # it would go on without, on the CPU
            raise KerasepError(f"{provider} does not open {path}")
        return made

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        profiled = session(sess_options=options)
        profiled.run(None, inputs(manifest, batch, 1.0))
        events = json.loads(Path(profiled.end_profiling()).read_text())
    nodes = Counter(event["args"]["provider"] for event in events if event.get("args", {}).get("provider"))
    start = time.perf_counter()
    timed = session()
    seconds = time.perf_counter() - start
    binding = timed.io_binding()
    bound: set[str] = set()

    def run(feeds: dict[str, np.ndarray]) -> None:
        if not bound:
            bound.update(feeds)
            for name, array in feeds.items():
                binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
            for output in timed.get_outputs():
                binding.bind_output(output.name, "cuda", 0)
        timed.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return Opened(run, manifest, seconds, dict(nodes))


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
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    if sys.argv[1] == "rates":
        measure = rates(int(sys.argv[2]))
        for line in sys.stdin:
            print(json.dumps({} if line.strip() in ("load", "end") else measure()), file=answers, flush=True)
        return
    path, provider, threads, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    network: Opened
    feeds: dict[str, np.ndarray] = {}
    for line in sys.stdin:
        if line.strip() == "load":
            network = opened(path, provider, threads, batch)
            feeds = inputs(network.manifest, batch, float(sys.argv[5]))
            start = time.perf_counter()
            outputs = network.run(feeds) or {}
            answer: Any = {
                "load_seconds": network.seconds,
                "first_seconds": time.perf_counter() - start,
                "nodes": network.nodes,
                "audio_seconds": heard(network.manifest, feeds[INPUT].shape),
                "bytes_moved": sum(array.nbytes for array in (*feeds.values(), *outputs.values())),
            }
        elif line.strip() == "end":
            answer = {"peak_megabytes": megabytes("VmHWM")}
        else:
            start = time.perf_counter()
            network.run(feeds)
            answer = time.perf_counter() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
