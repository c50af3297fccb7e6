"""Networks on every runtime, provider and number of threads at hand: loading, first and warm calls, memory, the limit."""

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.measure.calibration import BYTES, SIZE
from benchmarks.measure.latency_worker import CPU, KERAS
from benchmarks.measure.machine import describe
from benchmarks.measure.workers import Worker
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.graphs import Kind
from kerasep.inference.manifest import Manifest
from kerasep.training.recipe import WEIGHTS, load_record

# ONNX Runtime's execution providers, by the names of `--provider`.
ONNX_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
PROVIDERS = {".onnx": tuple(ONNX_PROVIDERS.values()), ".tflite": ("XNNPACK",), "": (KERAS,)}
PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", "": "keras"}
ROUNDS, QUICK_ROUNDS = 30, 8  # of which the first warms up
BATCHES, GPU_BATCHES, SECONDS = (1, 8), (1, 32), (1.0, 10.0)


class Network(NamedTuple):
    """A file with its manifest, or a run folder, which has none."""

    file: Path
    manifest: Manifest | None


class Case(NamedTuple):
    """A file or run folder, and how it is run."""

    file: Path
    provider: str
    threads: int
    batch: int
    seconds: float


def measure(names: Sequence[str], quick: bool = False, provider: str | None = None) -> dict[str, Any]:
    """Every sample of every case of files, models by name, and run folders.

    Cases of a file take turns with each other and with a product of matrices and a copy on as many threads, each in its own
    process, so that a slow moment of the machine hits all alike.

    Args:
        quick: fewer rounds, batches and lengths.
        provider: a key of `ONNX_PROVIDERS`, for ONNX files alone; None: all that are here.

    Raises:
        UsageError: the provider is unknown or not in the installed ONNX Runtime, or a file is not for ONNX Runtime.
        KerasepError: a file cannot be opened, or none runs on what is here.
    """
    networks = [_network(name) for name in names]
    if provider:
        _check_provider(provider, networks)
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


def _check_provider(provider: str, networks: list[Network]) -> None:
    if provider not in ONNX_PROVIDERS:
        raise UsageError(f"unknown provider {provider}: choose from {', '.join(ONNX_PROVIDERS)}")
    for file, _ in networks:
        if file.suffix != ".onnx":
            raise UsageError(f"{file}: --provider is for ONNX files: leave one of the two out")
    available = _available()
    if ONNX_PROVIDERS[provider] not in available:
        remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        raise UsageError(f"--provider {provider}: the installed ONNX Runtime has only {', '.join(available)}: {remedy}")


def _available() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


def cases(network: Network, quick: bool, provider: str | None = None) -> tuple[list[Case], list[str]]:
    """How a network can be run here, on one provider or on all, and a line for each provider that is not here."""
    file, manifest = network
    wanted = [ONNX_PROVIDERS[provider]] if provider else PROVIDERS[file.suffix]
    present = [name for name in wanted if file.suffix != ".onnx" or name in _available()]
    missing = [f"{name}: not in this machine's runtime" for name in wanted if name not in present]
    cores = len(os.sched_getaffinity(0))
    fixed = manifest is not None and manifest.graph.fixed
    lengths = (0.0,) if fixed else SECONDS[1:] if quick else SECONDS

    def batches(name: str) -> tuple[int, ...]:
        if manifest and manifest.graph.shape[0]:
            return (manifest.graph.shape[0],)
        return BATCHES[:1] if quick else BATCHES if name in (*CPU, KERAS) else GPU_BATCHES

    return [
        Case(file, name, threads, batch, seconds)
        for name in present
        for threads in (sorted({1, cores}) if name in (*CPU, KERAS) else [cores])
        for batch in batches(name)
        for seconds in lengths
    ], missing


def _file(network: Network, found: list[Case], result: dict[str, Any]) -> dict[str, Any]:
    file, manifest = network
    threads = sorted({case.threads for case in found})
    with ExitStack() as stack:
        rates = {number: stack.enter_context(_worker(["rates", str(number)], number)) for number in threads}
        rows: list[tuple[Case, Worker, dict[str, Any], list[float]]] = []
        for case in found:
            worker = stack.enter_context(_worker([str(value) for value in case], case.threads))
            try:
                rows.append((case, worker, worker.ask("load"), []))
            except KerasepError as error:
                line = f"{case.provider}: does not run {file.name}: {str(error).rpartition(': ')[2]}"
                result["missing"] += [line] if line not in result["missing"] else []
        speeds: dict[int, dict[str, list[float]]] = {number: {"product": [], "copy": []} for number in threads}
        for turn in tqdm(range(result["rounds"]), desc=file.name, unit="round", leave=False, disable=None):
            for number, worker in rates.items():
                for name, seconds in worker.ask("run").items():
                    speeds[number][name] += [seconds] if turn else []
            for _, worker, _, samples in rows:
                seconds = worker.ask("run")
                samples += [seconds] if turn else []
        measured = [
            {**case._asdict(), "file": file.name, **loaded, "samples": samples, "peak_megabytes": worker.peak_megabytes()}
            for case, worker, loaded, samples in rows
        ]
    stored = file / WEIGHTS if file.is_dir() else file
    size, operations = stored.stat().st_size, manifest.multiply_adds if manifest else None
    for row in measured:
        row["limit_seconds"] = limit(operations, row, size, speeds[row["threads"]])
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


def _worker(arguments: list[str], threads: int) -> Worker:
    environment = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return Worker([sys.executable, "-m", "benchmarks.measure.latency_worker", *arguments], environment)


def limit(operations: float | None, row: dict[str, Any], size: int, speeds: dict[str, list[float]]) -> float | None:
    """Seconds that a call's multiply-adds take as a product of matrices, and its input, outputs and weights as a copy.

    None for other processors than the one whose speed was measured, and where nothing says how many multiply-adds there are.
    """
    if row["provider"] not in CPU or operations is None:
        return None
    product, copy = (statistics.median(speeds[name]) for name in ("product", "copy"))
    arithmetic = operations * row["audio_seconds"] * product / SIZE**3
    return arithmetic + (row["bytes_moved"] + size) * copy / BYTES
