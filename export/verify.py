"""Whether a file does what the networks do that it was made from: python -m export.verify FILE.

- The file's estimates against Keras' on noise and on music, at three lengths and two batch sizes.
- Of a reduced precision, the stems that come of them against float32's, in dB.
- With MUSDB18 at hand: what the file loses in SDR against the true stems.
- Its operators against those that every runtime has.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from export.clips import Clip, fitted, magnitudes, to_verify
from export.onnx.float16 import as_hardware
from export.options import Format, Precision
from export.stems import Stems, compared, separated
from export.tflite.convert import operators as tflite_operators
from kerasep.conversion.freeze import Frozen, freeze, freeze_step
from kerasep.conversion.trace import to_onnx
from kerasep.conversion.verify import OPERATORS as ONNX_OPERATORS
from kerasep.conversion.verify import check_operators, check_parity, measure_parity
from kerasep.conversion.verify import operators as onnx_operators
from kerasep.conversion.write import save_onnx
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact, manifest_path, sha256
from kerasep.inference.graphs import StepGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.program import reporting
from kerasep.training.record import WEIGHTS

# All that a file may need of a runtime; docs/export.md lists them.
LITE = (
    "ADD BATCH_MATMUL CONCATENATION CONV_2D DIV ELU FULLY_CONNECTED GATHER LEAKY_RELU LESS LOGISTIC MUL PACK PAD POW RELU "
    "RESHAPE REVERSE_V2 SLICE SOFTMAX SPLIT STRIDED_SLICE SUB TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK WHILE"
)
WAVEFORM = {  # and what waveform graphs may need as well
    "onnx": frozenset(["Max", "ReduceMax", "ReduceSum", "Sqrt"]),
    "tflite": frozenset(["MAXIMUM", "MIRROR_PAD", "REDUCE_MAX", "SQRT", "SQUARE", "SUM"]),
}
OPERATORS = {  # by format and precision, beyond float32's
    "onnx": {
        "float32": ONNX_OPERATORS,
        "float16": frozenset(["Cast"]),
        "int8": frozenset(["QuantizeLinear", "DequantizeLinear", "Cast"]),
        "int8-dynamic": frozenset(["DynamicQuantizeLinear", "MatMulInteger", "Cast"]),
        "int8-tensorrt": frozenset(["QuantizeLinear", "DequantizeLinear"]),
    },
    "tflite": {
        "float32": frozenset(LITE.split()),
        "float16": frozenset(["DEQUANTIZE"]),
        "int8": frozenset(["DEQUANTIZE", "QUANTIZE"]),
        "int8-dynamic": frozenset(["DEQUANTIZE"]),
    },
}
# By precision: dB by which the stems' error must lie below them, and the largest median loss of SDR in dB.
AGREEMENT = {"float32": 60.0, "float16": 40.0, "int8": 20.0, "int8-dynamic": 20.0, "int8-tensorrt": 20.0}
LOSS = {"float32": 0.01, "float16": 0.01, "int8": 0.1, "int8-dynamic": 0.1, "int8-tensorrt": 0.1}


def verify(artifact: Artifact, frozen: Frozen, clips: Sequence[Clip], reference: Sequence[Stems]) -> dict[str, Any]:
    """Measure a file.

    Args:
        artifact: the file.
        frozen: the networks it was made from.
        clips: music to separate.
        reference: the stems of the same in float32 (`float32_stems`).

    Returns:
        `parity`, but for waveform graphs: largest max|a - b| / max|b| on noise and on music, over targets, lengths and batches;
        `agreement_db`, but for other graphs in float32: of stems with the reference's, all targets of a clip together, the
        median and the least; where true stems are known, `sdr` by target: the reference's and the file's medians over clips,
        and the median and largest loss of a clip.

    Raises:
        KerasepError: an operator is not on the list, or a number is over its tolerance.
    """
    manifest, form = artifact.manifest, Format(artifact.path.suffix[1:])
    precision, waveform = Precision(manifest.precision), isinstance(manifest.graph, WaveformGraph)
    what = file_name(manifest, form)  # `artifact` has another name until it has passed
    allowed = OPERATORS[form]["float32"] | OPERATORS[form][precision] | (WAVEFORM[form] if waveform else frozenset())
    check_operators(what, operators(artifact.path), allowed)
    details: dict[str, Any] = {}
    if not waveform:
        details["parity"] = measure_parity(artifact, frozen, magnitudes(clips[0], frozen.spectrogram))
        if precision is Precision.FLOAT32:
            check_parity(what, details["parity"])
    measured = compared(separated(artifact, clips), reference, clips)
    if precision is Precision.FLOAT32 and not waveform:  # which is the reference, or as good as it
        return details | {"sdr": measured["sdr"]}
    _check_stems(what, precision, measured)
    if precision is Precision.FLOAT16 and form is Format.ONNX and not waveform:
        hardware = float32_stems(as_hardware(onnx.load(artifact.path)), manifest, clips)
        details["rounded_like_hardware"] = compared(hardware, reference, clips)
        _check_stems(what, precision, details["rounded_like_hardware"])
    return details | measured


def _check_stems(what: str, precision: Precision, measured: dict[str, Any]) -> None:
    """Raise KerasepError where stems are too far from float32's, or are no numbers."""
    agreement = measured["agreement_db"]["median"]
    if not agreement >= AGREEMENT[precision]:
        raise KerasepError(f"{what}: stems agree with float32's to {agreement:.1f} dB, less than {AGREEMENT[precision]:g}")
    loss = max((row["median_loss"] for row in measured["sdr"].values()), default=0)
    if not loss <= LOSS[precision]:
        raise KerasepError(f"{what}: loses {loss:.3f} dB of SDR, more than {LOSS[precision]:g}")


def file_name(manifest: Manifest, form: str) -> str:
    """What a file is called."""
    return f"{manifest.name}{'' if manifest.precision == 'float32' else '-' + manifest.precision}.{form}"


def operators(path: Path) -> dict[str, int]:
    """How often a file has each operator."""
    return (tflite_operators if path.suffix == ".tflite" else onnx_operators)(path)


def float32_stems(graph: ModelProto, manifest: Manifest, clips: Sequence[Clip]) -> list[Stems]:
    """Stems of clips, of a float32 graph."""
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        path = Path(folder) / "float32.onnx"
        save_onnx(graph, manifest, path)
        return separated(Artifact(path), clips)


@reporting("export.verify")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export.verify", description="Compare a file with the runs it was made from.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--runs", nargs="+", type=Path, metavar="RUN", help="(default: where they were when it was exported)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="MUSDB18: also what is lost in SDR on its test songs")
    given = parser.parse_args()
    artifact = Artifact(given.file)
    frozen = _frozen(artifact, given.runs)
    clips = to_verify(given.root)
    if isinstance(artifact.manifest.graph, WaveformGraph):
        clips = fitted(clips, artifact.manifest.graph)
    batch, frames = frozen.manifest.graph.shape[:2]
    reference = float32_stems(to_onnx(frozen.lean, frozen.spectrogram, frames, batch), frozen.manifest, clips)
    print(json.dumps(verify(artifact, frozen, clips, reference), indent=1))


def _frozen(artifact: Artifact, runs: Sequence[Path] | None) -> Frozen:
    """The networks a file was made from, by the hashes of their weights."""
    manifest, description = artifact.manifest, manifest_path(artifact.path)
    if runs is None:
        sources = json.loads(description.read_text(encoding="utf-8")).get("sources", []) if description.is_file() else []
        runs = [(artifact.path.parent / source).resolve() for source in sources]
        if not runs or not all(run.is_dir() for run in runs):
            raise UsageError(f"{artifact.path}: the runs it was made from are not where they were: name them with --runs")
    hashes = [run["weights_sha256"] for run in manifest.details["runs"]]
    given = {sha256(run / WEIGHTS): run for run in runs if (run / WEIGHTS).is_file()}
    if set(given) != set(hashes):
        raise KerasepError(f"{artifact.path}: was made from other runs than {', '.join(map(str, runs))}: export it again")
    found, graph = [given[digest] for digest in hashes], manifest.graph
    if isinstance(graph, StepGraph):
        return freeze_step(found, manifest.name)
    if isinstance(graph, WaveformGraph):
        return freeze(found, manifest.name)
    fixed = graph.windows.frames if graph.windows and graph.windows.margin else 0
    return freeze(found, manifest.name, frames=fixed, batch=graph.batch)


if __name__ == "__main__":
    sys.exit(main())
