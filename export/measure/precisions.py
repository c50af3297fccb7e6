"""Every network in every precision: exported, verified, timed. The tables of docs/export.md come from it.

    python -m export.measure.precisions --network conv RUN... --network openunmix RUN... --root MUSDB18 --web PACKAGE \\
        --artifacts DIR -o docs/results/export.json
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.clips import magnitudes, to_verify
from export.measure.browser import compare
from export.measure.timing import in_turns, surroundings
from export.options import ExportOptions, Format, Precision
from export.pipeline import export
from export.verify import operators
from kerasep.errors import UsageError
from kerasep.files import write_json
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import SpectrogramGraph
from kerasep.measurements import load_or_start
from kerasep.program import reporting

SIZE = 2048  # of the matrices whose product measures this machine's arithmetic
BYTES = 1 << 27  # whose copy measures its memory
MEASURED = ("parity", "agreement_db", "sdr", "rounded_like_hardware", "int8_activations")


def measure(networks: dict[str, list[Path]], root: Path, web: Path, artifacts: Path, output: Path) -> None:
    """Export all networks and add measurements of each file, and of the machine at that time, to `output`."""
    result = load_or_start(output, {**surroundings(), "networks": {}})
    for name, runs in networks.items():
        onnx, tflite = (_exported(runs, artifacts, name, form, root) for form in Format)
        files = {p: {**_file(file), "web": compare(file, _music(_graph(file), 100), web)} for p, file in onnx.items()}
        lite = {**_tflite_times(onnx["float32"], tflite), "files": {p: _file(file) for p, file in tflite.items()}}
        result["networks"][name] = {**_times(onnx), "files": files, "tflite": lite}
        write_json(output, result)


def _exported(runs: list[Path], artifacts: Path, name: str, form: Format, root: Path) -> dict[str, Artifact]:
    """A file of each precision."""
    precisions = Precision.portable()
    options = ExportOptions(name=name, formats=(form,), precisions=precisions, root=root)
    return {
        str(precision): Artifact(path) for precision, path in zip(precisions, export(runs, artifacts, options), strict=True)
    }


def _graph(artifact: Artifact) -> SpectrogramGraph:
    graph = artifact.manifest.graph
    assert isinstance(graph, SpectrogramGraph)  # noqa: S101 - as `_exported` asks for
    return graph


def _file(artifact: Artifact) -> dict[str, Any]:
    details = artifact.manifest.details
    kept: dict[str, Any] = {key: details[key] for key in MEASURED if key in details}
    return {"bytes": artifact.path.stat().st_size, "operators": operators(artifact.path), **kept}


def _music(graph: SpectrogramGraph, frames: int) -> np.ndarray:
    """The demo song's magnitudes (1, frames, bins, channels), with the graph's own number of frames where it has one."""
    _, fixed, *rest = graph.shape
    return np.resize(magnitudes(to_verify(None)[0], graph.spectrogram), (1, fixed or frames, *rest))


def _times(files: dict[str, Artifact]) -> dict[str, Any]:
    """Runs of a block as separating has them, in turns with a product of matrices and a copy.

    The limit is the block's multiply-adds at the rate of the product, and its input, outputs and weights at that of the copy.
    """
    manifest, graph = files["float32"].manifest, _graph(files["float32"])
    spectrogram, frames = graph.spectrogram, graph.blocks.frames + 2 * graph.blocks.context
    block = np.resize(magnitudes(to_verify(None)[0], spectrogram), (frames, spectrogram.bins, spectrogram.channels))
    matrix = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    source, copied = np.ones(BYTES, np.uint8), np.empty(BYTES, np.uint8)
    parts: dict[str, Callable[[], Any]] = {precision: partial(file.estimate, block) for precision, file in files.items()}
    parts |= {"product": partial(np.matmul, matrix, matrix), "copy": partial(np.copyto, copied, source)}
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


def _tflite_times(reference: Artifact, files: dict[str, Artifact]) -> dict[str, Any]:
    """Runs of TFLite files in turns with ONNX Runtime's of the same networks in float32, on the same frames and cores."""
    graph = _graph(files["float32"])
    mixture = _music(graph, graph.blocks.frames + 2 * graph.blocks.context)
    parts = {precision: partial(file.run, mixture) for precision, file in files.items()}
    samples = in_turns({"onnx": partial(reference.run, mixture), **parts})
    seconds = mixture.shape[1] * graph.spectrogram.hop / graph.spectrogram.rate
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
        raise UsageError(f"--network {missing[0]}: name its runs as well")
    measure(networks, given.root, given.web, given.artifacts, given.output)


if __name__ == "__main__":
    sys.exit(main())
