"""Networks on every runtime, provider and number of threads at hand: loading, first and warm calls, memory, the limit."""

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.latency_worker import BYTES, CPU, KERAS, SIZE
from benchmarks.machine import describe
from benchmarks.workers import worker
from kerasep.errors import KerasepError
from kerasep.hub import load
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.manifest import Manifest
from kerasep.training.recipe import WEIGHTS, load_record

PROVIDERS = {
    ".onnx": ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"),
    ".tflite": ("XNNPACK",),
    "": (KERAS,),
}
PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", "": "keras"}
ROUNDS, QUICK_ROUNDS = 30, 8  # of which the first warms up
BATCHES, GPU_BATCHES, SECONDS = (1, 8), (1, 32), (1.0, 10.0)
WIDE = 0.25  # of the median: a spread from quarter to quarter that is said


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


def measure(names: Sequence[str], quick: bool = False, only: str | None = None) -> dict[str, Any]:
    """Every sample of every case of files, models by name, and run folders; perhaps on one provider only.

    Cases of a file take turns with each other and with a product of matrices and a copy on as many threads, each in a process
    of its own, so that a slow moment of the machine hits all alike.

    Raises:
        KerasepError: a file cannot be opened.
    """
    networks = [_network(name) for name in names]
    packages = {PACKAGES[network.file.suffix] for network in networks}
    result: dict[str, Any] = describe(*sorted(packages)) | {"rounds": QUICK_ROUNDS if quick else ROUNDS}
    result |= {"files": [], "missing": []}
    for network in networks:
        found, missing = cases(network, quick)
        found = [case for case in found if only in (None, case.provider)]
        result["missing"] += [line for line in missing if line not in result["missing"]]
        result["files"].append(_file(network, found, result))
    return result


def _network(name: str) -> Network:
    if Path(name).is_dir():
        load_record(Path(name))
        return Network(Path(name), None)
    path = load(name).path
    return Network(path, Artifact(path).manifest)


def cases(network: Network, quick: bool) -> tuple[list[Case], list[str]]:
    """How a network can be run here, and what is not here."""
    file, manifest = network
    available = list(PROVIDERS[file.suffix])
    if file.suffix == ".onnx":
        import onnxruntime

        available = [provider for provider in available if provider in onnxruntime.get_available_providers()]
    missing = [f"{provider}: not in this machine's runtime" for provider in PROVIDERS[file.suffix] if provider not in available]
    cores = len(os.sched_getaffinity(0))
    fixed = manifest and (manifest.graph == "step" or manifest.window_frames or manifest.samples)
    lengths = (0.0,) if fixed else SECONDS[1:] if quick else SECONDS

    def batches(provider: str) -> tuple[int, ...]:
        if manifest and manifest.batch:
            return (manifest.batch,)
        return BATCHES[:1] if quick else BATCHES if provider in (*CPU, KERAS) else GPU_BATCHES

    return [
        Case(file, provider, threads, batch, seconds)
        for provider in available
        for threads in (sorted({1, cores}) if provider in (*CPU, KERAS) else [cores])
        for batch in batches(provider)
        for seconds in lengths
    ], missing


def _file(network: Network, found: list[Case], result: dict[str, Any]) -> dict[str, Any]:
    file, manifest = network
    threads = sorted({case.threads for case in found})
    with ExitStack() as stack:
        rates = {number: stack.enter_context(_worker(["rates", str(number)], number)) for number in threads}
        rows: list[tuple[Case, Any, dict[str, Any], list[float]]] = []
        for case in found:
            ask = stack.enter_context(_worker([str(value) for value in case], case.threads))
            try:
                rows.append((case, ask, ask("load"), []))
            except KerasepError:
                line = f"{case.provider}: does not run {file.name}"
                result["missing"] += [line] if line not in result["missing"] else []
        speeds: dict[int, dict[str, list[float]]] = {number: {"product": [], "copy": []} for number in threads}
        for turn in tqdm(range(result["rounds"]), desc=file.name, unit="round", leave=False, disable=None):
            for number, ask in rates.items():
                for name, seconds in ask("run").items():
                    speeds[number][name] += [seconds] if turn else []
            for _, ask, _, samples in rows:
                seconds = ask("run")
                samples += [seconds] if turn else []
        measured = [
            {**case._asdict(), "file": file.name, **loaded, "samples": samples, **ask("end")}
            for case, ask, loaded, samples in rows
        ]
    stored = file / WEIGHTS if file.is_dir() else file
    size, operations = stored.stat().st_size, manifest.multiply_adds if manifest else None
    for row in measured:
        row["limit_seconds"] = limit(operations, row, size, speeds[row["threads"]])
    return {
        "name": file.name,
        "graph": manifest.graph if manifest else "spectrogram",
        "precision": manifest.precision if manifest else "float32",
        "bytes": size,
        "sha256": sha256(stored),
        "multiply_adds_per_second": operations,
        "rates": {str(number): samples for number, samples in speeds.items()},
        "cases": measured,
    }


def _worker(arguments: list[str], threads: int) -> Any:
    environment = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return worker([sys.executable, "-m", "benchmarks.latency_worker", *arguments], environment)


def limit(operations: float | None, row: dict[str, Any], size: int, speeds: dict[str, list[float]]) -> float | None:
    """Seconds that a call's multiply-adds take as a product of matrices, and its input, outputs and weights as a copy.

    None for other processors than the one whose speed was measured, and where nothing says how many multiply-adds there are.
    """
    if row["provider"] not in CPU or operations is None:
        return None
    product, copy = (statistics.median(speeds[name]) for name in ("product", "copy"))
    arithmetic = operations * row["audio_seconds"] * product / SIZE**3
    return arithmetic + (row["bytes_moved"] + size) * copy / BYTES
