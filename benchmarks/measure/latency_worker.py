"""A worker of `benchmarks.measure.latency`: one way of running a network, or the speed of the machine itself.

python -m benchmarks.measure.latency_worker FILE|RUN PROVIDER MEMORY THREADS BATCH SECONDS    of a `latency.Case`
python -m benchmarks.measure.latency_worker rates THREADS

It answers "load" with what loading and the first call took, "run" with the seconds of a call, "calls" with those of many.
"""

import contextlib
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
from kerasep.inference.ort import onnxruntime
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
        run: from inputs to outputs by name.
        manifest: describes the inputs.
        artifact: the file on its provider; None for a run folder.
    """

    run: Run
    manifest: Manifest
    artifact: Artifact | None = None


def provider_name(way: str) -> str:
    """The name in NAME[:key=value,...].

    Example:
        >>> provider_name("cuda:use_tf32=1")
        'cuda'
    """
    return way.partition(":")[0]


def open_network(path: Path, provider: str, threads: int) -> Opened:
    """Open a file on ONNX Runtime or LiteRT, or a run folder in Keras."""
    if provider == KERAS:
        return _keras(path, threads)
    artifact = Artifact(path, threads, CPU if provider == XNNPACK else provider)
    return Opened(artifact.runtime.run, artifact.manifest, artifact)


def _keras(run: Path, threads: int) -> Opened:
    import tensorflow as tf

    from kerasep.conversion.freeze import freeze

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    frozen = freeze([run], run.name)
    return Opened(lambda feeds: frozen.run(feeds[INPUT]), frozen.manifest)


class Resident:
    """Calls whose inputs and outputs stay on a device, at fixed places, as CUDA graphs need them.

    Args:
        artifact: the file, on a provider of that device.
        memory: the device, by ONNX Runtime's name.
        feeds: the inputs of all calls.
        like: arrays of the outputs' shapes.
    """

    def __init__(self, artifact: Artifact, memory: str, feeds: Arrays, like: Arrays) -> None:
        values = onnxruntime().OrtValue
        if not isinstance(artifact.runtime, OnnxRuntime):
            raise KerasepError(f"{artifact.path}: tensors stay on a device with ONNX Runtime alone")
        self.session, self.names = artifact.runtime.session, list(like)
        self.binding = self.session.io_binding()
        for name, array in feeds.items():
            self.binding.bind_ortvalue_input(name, values.ortvalue_from_numpy(array, memory, 0))
        for name, array in like.items():
            value = values.ortvalue_from_shape_and_type(array.shape, array.dtype, memory, 0)
            self.binding.bind_ortvalue_output(name, value)

    def run(self, _: Arrays) -> None:
        """The graph alone, until the device has finished."""
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()

    def outputs(self) -> Arrays:
        """Those of the last call."""
        return dict(zip(self.names, self.binding.copy_outputs_to_cpu(), strict=True))


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    if sys.argv[1] == "rates":
        measure = rates(int(sys.argv[2]))
        for _ in sys.stdin:
            print(json.dumps(measure()), file=answers, flush=True)
        return
    path, provider, memory, threads = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    batch, length = int(sys.argv[5]), float(sys.argv[6])
    run: Run
    feeds: Arrays = {}

    def call() -> float:
        start = time.perf_counter()
        run(feeds)
        return time.perf_counter() - start

    for line in sys.stdin:
        if line.strip() == "load":
            start = time.perf_counter()
            network = open_network(path, provider, threads)
            seconds = time.perf_counter() - start
            run, feeds = network.run, inputs(network.manifest, batch, length)
            expected = {} if provider in (CPU, XNNPACK, KERAS) else _reference(path, threads, feeds)
            resident = Resident(network.artifact, memory, feeds, expected) if memory and network.artifact else None
            run = resident.run if resident else run
            start = time.perf_counter()
            answered: Any = run(feeds)  # nothing, where it stays on the device
            first = time.perf_counter() - start
            outputs: Arrays = resident.outputs() if resident else answered
            answer: Any = {
                "load_seconds": seconds,
                "first_seconds": first,
                "audio_seconds": seconds_of_audio(network.manifest, feeds[INPUT].shape),
                "bytes_moved": sum(array.nbytes for array in (*feeds.values(), *outputs.values())),
                # Of the worst output, with ONNX Runtime on the CPU.
                "agreement_db": min((agreement_db([(outputs[n], expected[n])]) for n in expected), default=None),
                "nodes": _nodes(path, provider) if expected and not memory else {},
            }
        elif line.strip() == "calls":
            answer = many(call)
        else:
            answer = call()
        print(json.dumps(answer), file=answers, flush=True)


def _reference(path: Path, threads: int, feeds: Arrays) -> Arrays:
    """ONNX Runtime's outputs on the CPU, in memory that is not counted as the case's."""
    outputs = Artifact(path, threads).runtime.run(feeds)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    return outputs


def _nodes(path: Path, provider: str) -> dict[str, int]:
    """How many nodes each of ONNX Runtime's providers runs; of TensorRT, which would build engines again, without options."""
    if provider_name(provider) == "tensorrt" != provider:
        return {}
    nodes = placement(Artifact(path), provider)
    return {name: sum(operators.values()) for name, operators in nodes.items()}


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
