"""Networks on every runtime, provider and number of threads at hand: loading, first and warm calls, memory, the limit."""

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.measure.calibration import BYTES, SIZE
from benchmarks.measure.latency_worker import KERAS, XNNPACK, provider_name
from benchmarks.measure.machine import describe, gpu_megabytes, tf32
from benchmarks.measure.workers import Worker
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.graphs import Kind
from kerasep.inference.manifest import Manifest
from kerasep.inference.providers import CPU, Provider, available, check
from kerasep.training.record import WEIGHTS, load_record

# Ways to run an ONNX file, by ONNX Runtime's provider.
WAYS = {name: (name,) for name in (CPU, "openvino", "coreml", "dml")} | {
    "cuda": ("cuda", "cuda:use_tf32=1", "cuda:enable_cuda_graph=1"),
    "tensorrt": ("tensorrt", "tensorrt:trt_fp16_enable=1"),
}
# Where tensors can stay between calls, so that a call is timed without copies.
MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}
GRAPHS = "enable_cuda_graph"  # an option with which tensors must stay there
# These share the processor, so they take turns; a GPU has one case at a time.
ON_PROCESSOR = frozenset({CPU, "openvino", XNNPACK, KERAS})
PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", "": "keras"}
ROUNDS, QUICK_ROUNDS = 30, 8  # of which the first warms up
BATCHES, GPU_BATCHES, SECONDS = (1, 8), (1, 32), (1.0, 10.0)


class Network(NamedTuple):
    """A file with its manifest, or a run folder, which has none."""

    file: Path
    manifest: Manifest | None


class Case(NamedTuple):
    """A file or run folder, and how it is run.

    Attributes:
        provider: NAME[:key=value,...] of ONNX Runtime, `XNNPACK` or `KERAS`.
        memory: the device whose memory holds inputs and outputs; "" if they come from the host and go back in each call.
        seconds: of audio, for each song of the batch.
    """

    file: Path
    provider: str
    memory: str
    threads: int
    batch: int
    seconds: float


def measure(names: Sequence[str], quick: bool = False, provider: str | None = None) -> dict[str, Any]:
    """Every sample of every case of files, models by name, and run folders.

    Each case has its own process. Those that run on the processor take turns with each other and with a product of matrices
    and a copy on as many threads, so that a slow moment of the machine hits all alike. Those that run on another device have it
    to themselves, one after the other, and many calls in a row each: a GPU that waits between calls clocks down.

    TF32 is off, on TensorRT too, unless a case's provider asks for it.

    Args:
        quick: fewer rounds, batches and lengths.
        provider: NAME[:key=value,...] of ONNX Runtime, for ONNX files alone; None: all of `WAYS` that are here.

    Raises:
        UsageError: the provider is unknown or not in the installed ONNX Runtime, or a file is not for ONNX Runtime.
        KerasepError: a file cannot be opened, or none runs on what is here.
    """
    networks = [_network(name) for name in names]
    if provider:
        _check(Provider.parse(provider), networks)
    packages = {PACKAGES[network.file.suffix] for network in networks}
    result: dict[str, Any] = describe(*sorted(packages)) | {"rounds": QUICK_ROUNDS if quick else ROUNDS}
    result |= {"files": [], "missing": []}
    for network in networks:
        found, missing = cases(network, quick, provider)
        result["missing"] += [line for line in missing if line not in result["missing"]]
        result["files"].append(_file(network, found, result))
    if not any(file["cases"] for file in result["files"]):
        raise KerasepError("; ".join(result["missing"]))
    return result


def _network(name: str) -> Network:
    if Path(name).is_dir():
        load_record(Path(name))
        return Network(Path(name), None)
    path = load(name).path
    return Network(path, Artifact(path).manifest)


def _check(provider: Provider, networks: list[Network]) -> None:
    for file, _ in networks:
        if file.suffix != ".onnx":
            raise UsageError(f"{file}: --provider is for ONNX files: leave one of the two out")
    if provider.name == "auto":
        raise UsageError("--provider auto: name one, or leave it out to measure all that are here")
    check(provider.name)


def cases(network: Network, quick: bool, provider: str | None = None) -> tuple[list[Case], list[str]]:
    """How a network can be run here, on one provider or on all, and a line that names providers that are not here."""
    file, manifest = network
    missing: list[str] = []
    ways: tuple[str, ...] = {".tflite": (XNNPACK,), "": (KERAS,)}.get(file.suffix, ())
    if provider:
        ways = (provider,)
    elif file.suffix == ".onnx":
        here = available()
        ways = tuple(way for name in WAYS if name in here for way in WAYS[name])
        missing = [f"{', '.join(name for name in WAYS if name not in here)}: not in this ONNX Runtime"]
    fixed = manifest is not None and manifest.graph.fixed
    lengths = (0.0,) if fixed else SECONDS[1:] if quick else SECONDS

    def batches(name: str) -> tuple[int, ...]:
        if manifest and manifest.graph.shape[0]:
            return (manifest.graph.shape[0],)
        return BATCHES[:1] if quick else BATCHES if name in ON_PROCESSOR else GPU_BATCHES

    return [
        Case(file, way, memory, threads, batch, seconds)
        for way in ways
        for memory in _memories(way)
        for threads in _threads(provider_name(way))
        for batch in batches(provider_name(way))
        for seconds in lengths
    ], missing


def _memories(way: str) -> tuple[str, ...]:
    memory = MEMORY.get(provider_name(way))
    return ("",) if memory is None else (memory,) if f"{GRAPHS}=1" in way else ("", memory)


def _threads(name: str) -> list[int]:
    cores = len(os.sched_getaffinity(0))
    return sorted({1, cores}) if name in ON_PROCESSOR else [cores]


def _file(network: Network, found: list[Case], result: dict[str, Any]) -> dict[str, Any]:
    file, manifest = network
    sharing = [case for case in found if provider_name(case.provider) in ON_PROCESSOR]
    measured, speeds = _in_turns(sharing, result)
    alone = [case for case in found if case not in sharing]
    for case in tqdm(alone, desc=file.name, unit="case", leave=False, disable=None):
        measured += _alone(case, result)
    stored = file / WEIGHTS if file.is_dir() else file
    size, operations = stored.stat().st_size, manifest.multiply_adds if manifest else None
    for row in measured:
        row["limit_seconds"] = limit(operations, row, size, speeds.get(row["threads"]))
    return {
        "name": file.name,
        "graph": str(manifest.graph.kind if manifest else Kind.SPECTROGRAM),
        "precision": manifest.precision if manifest else "float32",
        "bytes": size,
        "sha256": sha256(stored),
        "multiply_adds_per_second": operations,
        "rates": {str(number): samples for number, samples in speeds.items()},
        "cases": measured,
    }


def _in_turns(found: list[Case], result: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[int, dict[str, list[float]]]]:
    """Cases on the processor, and the speeds of a product and a copy by number of threads."""
    threads = sorted({case.threads for case in found})
    with ExitStack() as stack:
        rates = {number: stack.enter_context(_worker(["rates", str(number)], number)) for number in threads}
        rows: list[tuple[Case, Worker, dict[str, Any], list[float]]] = []
        for case in found:
            worker = stack.enter_context(_worker([str(value) for value in case], case.threads))
            if loaded := _asked(worker, "load", case, result):
                rows.append((case, worker, loaded, []))
        speeds: dict[int, dict[str, list[float]]] = {number: {"product": [], "copy": []} for number in threads}
        for turn in tqdm(range(result["rounds"] if found else 0), unit="round", leave=False, disable=None):
            for number, worker in rates.items():
                for name, seconds in worker.ask("run").items():
                    speeds[number][name] += [seconds] if turn else []
            for _, worker, _, samples in rows:
                seconds = worker.ask("run")
                samples += [seconds] if turn else []
        measured = [
            _row(case, loaded, samples, worker) | {"in_turns": True, "gpu_megabytes": None}
            for case, worker, loaded, samples in rows
        ]
    return measured, speeds


def _alone(case: Case, result: dict[str, Any]) -> list[dict[str, Any]]:
    """A case on a device that it has to itself: its row, or none."""
    before = gpu_megabytes()
    with tempfile.TemporaryDirectory(prefix="kerasep-") as cache:
        # Engines of TensorRT are made for the sizes they are asked for: each case has its own.
        environment = {"XDG_CACHE_HOME": cache} if provider_name(case.provider) == "tensorrt" else {}
        with _worker([str(value) for value in case], case.threads, environment) as worker:
            if not (loaded := _asked(worker, "load", case, result)) or not (samples := _asked(worker, "calls", case, result)):
                return []
            row = _row(case, loaded, samples, worker)
            after = gpu_megabytes()
    used = None if before is None or after is None else after - before
    return [row | {"in_turns": False, "gpu_megabytes": used}]


def _asked(worker: Worker, what: str, case: Case, result: dict[str, Any]) -> Any:
    """A worker's answer; None, and a line under `missing`, where the case does not run."""
    try:
        return worker.ask(what)
    except KerasepError as error:
        line = f"{case.provider}: does not run {case.file.name}: {str(error).rpartition('Error: ')[2]}"
        result["missing"] += [line] if line not in result["missing"] else []
        return None


def _row(case: Case, loaded: dict[str, Any], samples: list[float], worker: Worker) -> dict[str, Any]:
    return {
        **case._asdict(),
        "file": case.file.name,
        **loaded,
        "samples": samples,
        "peak_megabytes": worker.peak_megabytes(),
    }


def _worker(arguments: list[str], threads: int, environment: Mapping[str, str] = {}) -> Worker:
    own = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "benchmarks.measure.latency_worker", *arguments]
    return Worker(command, {**own, **tf32(arguments[1]), **environment})


def limit(operations: float | None, row: dict[str, Any], size: int, speeds: dict[str, list[float]] | None) -> float | None:
    """Seconds that a call's multiply-adds take as a product of matrices, and its input, outputs and weights as a copy.

    None for other processors than the one whose speed was measured, and where nothing says how many multiply-adds there are.
    """
    if provider_name(row["provider"]) not in ON_PROCESSOR or speeds is None or operations is None:
        return None
    product, copy = (statistics.median(speeds[name]) for name in ("product", "copy"))
    arithmetic = operations * row["audio_seconds"] * product / SIZE**3
    return arithmetic + (row["bytes_moved"] + size) * copy / BYTES
