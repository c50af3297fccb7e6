"""A worker of `benchmarks.measure.latency`: one way of running a network, or the speed of the machine itself.

python -m benchmarks.measure.latency_worker FILE|RUN PROVIDER MEMORY THREADS BATCH SECONDS    of a `latency.Case`
python -m benchmarks.measure.latency_worker rates THREADS

It answers "load" with what loading and the first call took, "run" with the seconds of a call, "calls" with those of many.
"""

import json
import sys
import time
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
from kerasep.inference.placement import placement
from kerasep.inference.providers import CPU
from kerasep.inference.runtime import Arrays, OnnxRuntime
from kerasep.signal.levels import agreement_db
from kerasep.signal.stft import stft

XNNPACK = "xnnpack"  # LiteRT's, of TFLite files
KERAS = "keras"  # runs run folders
# Calls in a row, and the seconds after which they are enough.
WARM_UP, LEAST, MOST, LONGEST = 3, 20, 1000, 2.0
Run = Callable[[Arrays], Any]


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
        run: from inputs to outputs by name; to nothing where outputs stay on the device.
        manifest: describes the inputs.
        seconds: what loading took.
        outputs: fetches those of the last call where they stayed on the device.
    """

    run: Run
    manifest: Manifest
    seconds: float
    outputs: Callable[[], Arrays] | None = None


def provider_name(way: str) -> str:
    """The name in NAME[:key=value,...].

    Example:
        >>> provider_name("cuda:use_tf32=1")
        'cuda'
    """
    return way.partition(":")[0]


def open_network(path: Path, provider: str, memory: str, threads: int) -> Opened:
    """Open a file on ONNX Runtime or LiteRT, or a run folder in Keras."""
    start = time.perf_counter()
    if provider == KERAS:
        return _keras(path, threads)
    artifact = Artifact(path, threads, CPU if provider == XNNPACK else provider)
    seconds = time.perf_counter() - start
    if memory:
        return _resident(artifact, memory, seconds)
    return Opened(artifact.runtime.run, artifact.manifest, seconds)


def _keras(run: Path, threads: int) -> Opened:
    import tensorflow as tf

    from kerasep.conversion.freeze import freeze

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    start = time.perf_counter()
    frozen = freeze([run], run.name)
    return Opened(lambda feeds: frozen.run(feeds[INPUT]), frozen.manifest, time.perf_counter() - start)


def _resident(artifact: Artifact, memory: str, seconds: float) -> Opened:
    """Inputs and outputs stay on the device: a call is the graph alone, until the device has finished."""
    import onnxruntime

    if not isinstance(artifact.runtime, OnnxRuntime):
        raise KerasepError(f"{artifact.path}: tensors stay on a device with ONNX Runtime alone")
    session = artifact.runtime.session
    binding = session.io_binding()
    bound: set[str] = set()

    def run(feeds: Arrays) -> None:
        if not bound:
            bound.update(feeds)
            for name, array in feeds.items():
                binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, memory, 0))
            for output in session.get_outputs():
                binding.bind_output(output.name, memory, 0)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def outputs() -> Arrays:
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))

    return Opened(run, artifact.manifest, seconds, outputs)


def _checked(path: Path, provider: str, threads: int, feeds: Arrays, outputs: Arrays) -> dict[str, Any]:
    """How far another provider than the CPU agrees with it, over the worst output; and how many nodes each provider runs."""
    if provider in (CPU, XNNPACK, KERAS):
        return {"agreement_db": None, "nodes": {}}
    expected = Artifact(path, threads).runtime.run(feeds)
    nodes = placement(Artifact(path), provider)
    return {
        "agreement_db": min(agreement_db([(outputs[name], expected[name])]) for name in expected),
        "nodes": {name: sum(operators.values()) for name, operators in nodes.items()},
    }


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    if sys.argv[1] == "rates":
        measure = rates(int(sys.argv[2]))
        for _ in sys.stdin:
            print(json.dumps(measure()), file=answers, flush=True)
        return
    path, provider, memory, threads = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    batch, length = int(sys.argv[5]), float(sys.argv[6])
    network: Opened
    feeds: Arrays = {}

    def call() -> float:
        start = time.perf_counter()
        network.run(feeds)
        return time.perf_counter() - start

    for line in sys.stdin:
        if line.strip() == "load":
            network = open_network(path, provider, memory, threads)
            feeds = inputs(network.manifest, batch, length)
            start = time.perf_counter()
            outputs = network.run(feeds) or (network.outputs() if network.outputs else {})
            first = time.perf_counter() - start
            answer: Any = {
                "load_seconds": network.seconds,
                "first_seconds": first,
                "audio_seconds": seconds_of_audio(network.manifest, feeds[INPUT].shape),
                "bytes_moved": sum(array.nbytes for array in (*feeds.values(), *outputs.values())),
                **_checked(path, provider, threads, feeds, outputs),
            }
        elif line.strip() == "calls":
            answer = many(call)
        else:
            answer = call()
        print(json.dumps(answer), file=answers, flush=True)


def many(call: Callable[[], float]) -> list[float]:
    """Seconds of calls in a row, after some that are not counted."""
    for _ in range(WARM_UP):
        call()
    samples: list[float] = []
    while len(samples) < LEAST or (len(samples) < MOST and sum(samples) < LONGEST):
        samples.append(call())
    return samples


if __name__ == "__main__":
    main()
