"""Every network in every precision: exported, verified, timed. The table of docs/export.md is made of it.

    python -m export.measure.precisions --network conv RUN... --network openunmix RUN... --root MUSDB18 --web PACKAGE \\
        --artifacts DIR -o docs/results/export.json
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from export.clips import magnitudes, to_verify
from export.measure.results import load_or_start
from export.measure.timing import in_turns, surroundings
from export.pipeline import PRECISIONS, export
from export.verify import operators
from export.web import compare
from kerasep.errors import UsageError, reporting
from kerasep.files import write_json
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest

SIZE = 2048  # of the matrices whose product says how fast this machine multiplies
BYTES = 1 << 27  # copied to see how fast it copies
MEASURED = ("parity", "agreement_db", "sdr", "rounded_like_hardware", "int8_activations")


def measure(networks: dict[str, list[Path]], root: Path, web: Path, artifacts: Path, output: Path) -> None:
    """Export all, and add what was measured of each file, and of the machine at the same time, to `output`."""
    result = load_or_start(output, {**surroundings(), "networks": {}})
    for name, runs in networks.items():
        files, lite = (_exported(runs, artifacts, name, form, root) for form in ("onnx", "tflite"))
        described = {p: {**_file(file), "web": compare(file, _music(file.manifest, 100), web)} for p, file in files.items()}
        beside = {**_lite_times(files["float32"], lite), "files": {p: _file(file) for p, file in lite.items()}}
        result["networks"][name] = {**_times(files), "files": described, "tflite": beside}
        write_json(output, result)


def _exported(runs: list[Path], artifacts: Path, name: str, form: str, root: Path) -> dict[str, Artifact]:
    """A file of each precision."""
    paths = export(runs, artifacts, name=name, formats=[form], precisions=PRECISIONS, root=root)
    return {precision: Artifact(path) for precision, path in zip(PRECISIONS, paths, strict=True)}


def _file(artifact: Artifact) -> dict[str, Any]:
    details = artifact.manifest.details
    kept: dict[str, Any] = {key: details[key] for key in MEASURED if key in details}
    return {"bytes": artifact.path.stat().st_size, "operators": operators(artifact.path), **kept}


def _music(manifest: Manifest, frames: int) -> np.ndarray:
    """Magnitudes of music as a graph takes them, of its own number of frames or of this."""
    shape = (1, manifest.window_frames or frames, manifest.spectrogram.bins, manifest.spectrogram.channels)
    return np.resize(magnitudes(to_verify(None)[0], manifest), shape)


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
    samples = in_turns(parts)
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


def _lite_times(reference: Artifact, files: dict[str, Artifact]) -> dict[str, Any]:
    """Runs of TFLite files in turns with ONNX Runtime's of the same networks in float32, on the same frames and cores."""
    manifest = files["float32"].manifest
    mixture = _music(manifest, manifest.block_frames + 2 * manifest.context_frames)
    parts = {precision: partial(file.run, mixture) for precision, file in files.items()}
    samples = in_turns({"onnx": partial(reference.run, mixture), **parts})
    seconds = mixture.shape[1] * manifest.spectrogram.hop / manifest.spectrogram.rate
    return {"frames": mixture.shape[1], "seconds_of_audio": seconds, "samples": samples}


@reporting("export.measure.precisions")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export.measure.precisions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", nargs="+", action="append", required=True, metavar=("NAME", "RUN"))
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    parser.add_argument("--web", type=Path, required=True, metavar="PACKAGE", help="folder of onnxruntime-web, from npm")
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="for the files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()
    networks = {name: [Path(run) for run in runs] for name, *runs in given.network}
    if missing := [name for name, runs in networks.items() if not runs]:
        raise UsageError(f"--network {missing[0]}: name its runs too")
    measure(networks, given.root, given.web, given.artifacts, given.output)


if __name__ == "__main__":
    sys.exit(main())
