"""A worker of `benchmarks.measure.latency`: one way of running a network, or the speed of the machine itself.

python -m benchmarks.measure.latency_worker FILE|RUN PROVIDER THREADS BATCH SECONDS
python -m benchmarks.measure.latency_worker rates THREADS

It answers "load" with what loading and the first call took, "run" with seconds.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure.calibration import rates
from benchmarks.measure.music import song
from kerasep.errors import KerasepError
from kerasep.inference.adapt import to_channels
from kerasep.inference.artifact import Artifact
from kerasep.inference.chunking import filled_length
from kerasep.inference.graphs import INPUT, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.signal.stft import stft

CPU = ("CPUExecutionProvider", "XNNPACK")
KERAS = "Keras"  # runs run folders
Run = Callable[[dict[str, np.ndarray]], Any]


def inputs(manifest: Manifest, batch: int, seconds: float) -> dict[str, np.ndarray]:
    """The inputs of a graph, with music in them: of this length in seconds, unless the graph has a fixed one."""
    graph = manifest.graph
    channels = graph.channels if isinstance(graph, WaveformGraph) else graph.spectrogram.channels
    music = to_channels(song(), channels)
    feeds = {name: np.zeros([size or 1 for size in shape], np.float32) for name, shape in manifest.inputs().items()}
    shape: tuple[int, ...]
    if isinstance(graph, WaveformGraph):
        samples = filled_length(max(1, round(seconds * graph.rate)), graph.segments, graph.fixed)
        shape = (batch, channels, samples)
        mixture = np.resize(music, (samples, channels)).T
    else:
        hops = max(1, round(seconds * graph.spectrogram.rate / graph.spectrogram.hop))
        shape = (batch, graph.shape[1] or hops, *graph.shape[2:])
        mixture = np.resize(np.abs(stft(music, graph.spectrogram)), shape[1:])
    return feeds | {INPUT: np.ascontiguousarray(np.broadcast_to(mixture, shape), np.float32)}


def seconds_of_audio(manifest: Manifest, shape: tuple[int, ...]) -> float:
    """Seconds of audio in a graph's input of this shape, summed over the batch."""
    graph = manifest.graph
    if isinstance(graph, WaveformGraph):
        return shape[0] * shape[2] / graph.rate
    return shape[0] * shape[1] * graph.spectrogram.hop / graph.spectrogram.rate


class Opened(NamedTuple):
    """A network ready to run.

    Attributes:
        run: from inputs to outputs by name; None where outputs stay on the device.
        manifest: describes the inputs.
        seconds: what loading took.
        nodes: the number of the graph's nodes that each provider runs; empty on the CPU.
    """

    run: Run
    manifest: Manifest
    seconds: float
    nodes: dict[str, int]


def open_network(path: Path, provider: str, threads: int, batch: int) -> Opened:
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
    """Inputs and outputs stay on the device: what is timed is the graph alone, until the device has finished."""
    import onnxruntime

    onnxruntime.preload_dlls()

    def session(**options: Any) -> Any:
        opened = onnxruntime.InferenceSession(path, providers=[provider], **options)
        if opened.get_providers()[0] != provider:  # ONNX Runtime falls back to the CPU
            raise KerasepError(f"{provider} does not open {path}")
        return opened

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


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    if sys.argv[1] == "rates":
        measure = rates(int(sys.argv[2]))
        for _ in sys.stdin:
            print(json.dumps(measure()), file=answers, flush=True)
        return
    path, provider, threads, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    network: Opened
    feeds: dict[str, np.ndarray] = {}
    for line in sys.stdin:
        if line.strip() == "load":
            network = open_network(path, provider, threads, batch)
            feeds = inputs(network.manifest, batch, float(sys.argv[5]))
            start = time.perf_counter()
            outputs = network.run(feeds) or {}
            answer: Any = {
                "load_seconds": network.seconds,
                "first_seconds": time.perf_counter() - start,
                "nodes": network.nodes,
                "audio_seconds": seconds_of_audio(network.manifest, feeds[INPUT].shape),
                "bytes_moved": sum(array.nbytes for array in (*feeds.values(), *outputs.values())),
            }
        else:
            start = time.perf_counter()
            network.run(feeds)
            answer = time.perf_counter() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
