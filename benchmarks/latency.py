"""Networks on every runtime, provider and number of threads at hand: loading, first and warm calls, memory, the limit."""

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.latency_worker import BYTES, CPU, SIZE
from benchmarks.machine import commit, describe
from benchmarks.workers import worker
from kerasep.artifact import Artifact, sha256
from kerasep.errors import KerasepError
from kerasep.manifest import Manifest

PROVIDERS = {".onnx": ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"), ".tflite": ("XNNPACK",)}
PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert"}
ROUNDS, QUICK_ROUNDS = 30, 8  # of which the first warms up
BATCHES, SECONDS = (1, 8), (1.0, 10.0)
WIDE = 0.25  # of the median: a spread from quarter to quarter that is said


class Case(NamedTuple):
    """A file, and how it is run."""

    file: Path
    provider: str
    threads: int
    batch: int
    seconds: float


def measure(files: Sequence[Path], quick: bool = False) -> dict[str, Any]:
    """Every sample of every case.

    Cases of a file take turns with each other and with a product of matrices and a copy on as many threads, each in a process
    of its own, so that a slow moment of the machine hits all alike.

    Raises:
        KerasepError: a file cannot be opened.
    """
    result: dict[str, Any] = {**describe(*sorted({PACKAGES[Path(file).suffix] for file in files})), "commit": commit()}
    result |= {"rounds": QUICK_ROUNDS if quick else ROUNDS, "files": [], "missing": []}
    for file in files:
        artifact = Artifact(file)
        found, missing = cases(file, artifact.manifest, quick)
        result["missing"] += [line for line in missing if line not in result["missing"]]
        result["files"].append(_file(file, artifact.manifest, found, result))
    return result


def cases(file: Path, manifest: Manifest, quick: bool) -> tuple[list[Case], list[str]]:
    """How a file can be run here, and what is not here."""
    available = list(PROVIDERS[file.suffix])
    if file.suffix == ".onnx":
        import onnxruntime

        available = [provider for provider in available if provider in onnxruntime.get_available_providers()]
    missing = [f"{provider}: not in this machine's runtime" for provider in PROVIDERS[file.suffix] if provider not in available]
    cores = len(os.sched_getaffinity(0))
    batches = (manifest.batch,) if manifest.batch else BATCHES[:1] if quick else BATCHES
    fixed = manifest.graph == "step" or manifest.window_frames or manifest.samples
    lengths = (0.0,) if fixed else SECONDS[1:] if quick else SECONDS
    return [
        Case(file, provider, threads, batch, seconds)
        for provider in available
        for threads in (sorted({1, cores}) if provider in CPU else [cores])
        for batch in batches
        for seconds in lengths
    ], missing


def _file(file: Path, manifest: Manifest, found: list[Case], result: dict[str, Any]) -> dict[str, Any]:
    threads = sorted({case.threads for case in found})
    with ExitStack() as stack:
        rates = {number: stack.enter_context(_worker(["rates", str(number)], number)) for number in threads}
        rows: list[tuple[Case, Any, dict[str, Any], list[float]]] = []
        for case in found:
            ask = stack.enter_context(_worker([str(value) for value in case], case.threads))
            try:
                rows.append((case, ask, ask("load"), []))
            except KerasepError:
                result["missing"].append(f"{case.provider}: does not run {file.name}")
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
    for row in measured:
        row["limit_seconds"] = limit(manifest, row, file.stat().st_size, speeds[row["threads"]])
    return {
        "name": file.name,
        "graph": manifest.graph,
        "precision": manifest.precision,
        "bytes": file.stat().st_size,
        "sha256": sha256(file),
        "multiply_adds_per_second": manifest.multiply_adds,
        "rates": {str(number): samples for number, samples in speeds.items()},
        "cases": measured,
    }


def _worker(arguments: list[str], threads: int) -> Any:
    environment = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return worker([sys.executable, "-m", "benchmarks.latency_worker", *arguments], environment)


def limit(manifest: Manifest, row: dict[str, Any], size: int, speeds: dict[str, list[float]]) -> float | None:
    """Seconds that a call's multiply-adds take as a product of matrices, and its input, outputs and weights as a copy.

    None for other processors than the one whose speed was measured.
    """
    if row["provider"] not in CPU:
        return None
    product, copy = (statistics.median(speeds[name]) for name in ("product", "copy"))
    arithmetic = manifest.multiply_adds * row["audio_seconds"] * product / SIZE**3
    return arithmetic + (row["bytes_moved"] + size) * copy / BYTES
