"""Every network in every precision: exported, verified, timed. The table of docs/export.md is made of it.

    python -m export.matrix --network conv RUN... --network openunmix RUN... --root MUSDB18 --web PACKAGE \\
        --artifacts DIR -o docs/results/export.json
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import onnx

from export.clips import magnitudes, to_verify
from export.exporting import PRECISIONS, export
from export.web import compare
from kerasep.artifact import Artifact
from kerasep.errors import KerasepError, UsageError
from kerasep.files import write_json

REPETITIONS = 15
WARM_UP = 2
SIZE = 2048  # of the matrices whose product says how fast this machine multiplies
BYTES = 1 << 27  # copied to see how fast it copies
MEASURED = ("parity", "agreement_db", "sdr", "rounded_like_hardware", "int8_activations")
PACKAGES = ("numpy", "onnx", "onnxruntime", "tensorflow", "keras", "tf2onnx")


def measure(networks: dict[str, list[Path]], root: Path, web: Path, artifacts: Path, output: Path) -> None:
    """Export all, and write what was measured of each file, and of the machine at the same time, to `output`."""
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "networks": {},
    }
    for name, runs in networks.items():
        paths = list(export(runs, artifacts, name=name, precisions=PRECISIONS, root=root))
        files = {precision: Artifact(path) for precision, path in zip(PRECISIONS, paths, strict=True)}
        result["networks"][name] = {**_times(files), "files": {p: _file(file, web) for p, file in files.items()}}
        write_json(output, result)


def _file(artifact: Artifact, web: Path) -> dict[str, Any]:
    details = artifact.manifest.details
    kept: dict[str, Any] = {key: details[key] for key in MEASURED if key in details}
    manifest = artifact.manifest
    shape = (1, manifest.window_frames or 100, manifest.spectrogram.bins, manifest.spectrogram.channels)
    mixture = np.resize(magnitudes(to_verify(None)[0], manifest), shape)
    operators = Counter(node.op_type for node in onnx.load(artifact.path).graph.node)
    return {"bytes": artifact.path.stat().st_size, "operators": dict(operators), **kept, "web": compare(artifact, mixture, web)}


def _times(files: dict[str, Artifact]) -> dict[str, Any]:
    """Runs of a block as separating has them, in turns with a product of matrices and a copy.

    The limit is what the block's multiply-adds take at the product's rate, and its input, outputs and weights at the copy's.
    """
    manifest = files["float32"].manifest
    spectrogram, frames = manifest.spectrogram, manifest.block_frames + 2 * manifest.context_frames
    block = np.resize(magnitudes(to_verify(None)[0], manifest), (frames, spectrogram.bins, spectrogram.channels))
    matrix = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    given, taken = np.ones(BYTES, np.uint8), np.empty(BYTES, np.uint8)
    parts: dict[str, Callable[[], Any]] = {precision: partial(file.predict, block) for precision, file in files.items()}
    parts |= {"product": partial(np.matmul, matrix, matrix), "copy": partial(np.copyto, taken, given)}
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for repetition in range(WARM_UP + REPETITIONS):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if repetition >= WARM_UP:
                samples[name].append(time.perf_counter() - start)
    seconds = frames * spectrogram.hop / spectrogram.rate
    moved = block.nbytes * (1 + len(manifest.targets)) + files["float32"].path.stat().st_size
    product, copy = (statistics.median(samples.pop(name)) for name in ("product", "copy"))
    return {
        "seconds_of_audio": seconds,
        "multiply_adds_per_second_of_audio": manifest.multiply_adds,
        "bytes_moved": moved,
        "multiply_adds_per_second": SIZE**3 / product,
        "bytes_copied_per_second": BYTES / copy,
        "limit_seconds": manifest.multiply_adds * seconds * product / SIZE**3 + moved * copy / BYTES,
        "samples": samples,
    }


def main() -> int:
    parser = argparse.ArgumentParser("python -m export.matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", nargs="+", action="append", required=True, metavar=("NAME", "RUN"))
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    parser.add_argument("--web", type=Path, required=True, metavar="PACKAGE", help="folder of onnxruntime-web, from npm")
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="for the files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()
    networks = {name: [Path(run) for run in runs] for name, *runs in given.network}
    try:
        if missing := [name for name, runs in networks.items() if not runs]:
            raise UsageError(f"--network {missing[0]}: name its runs too")
        measure(networks, given.root, given.web, given.artifacts, given.output)
    except KerasepError as error:
        print(f"export.matrix: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
