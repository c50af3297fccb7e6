"""Whether a file does what the networks do that it was made from: python -m export.verify FILE.

- The file's estimates against Keras' on noise and on music, at three lengths and two batch sizes.
- Of a reduced precision, the stems that come of them against float32's, in dB.
- With MUSDB18 at hand: what the file loses in SDR against the true stems.
- Its operators against those that every runtime has.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import onnx
from onnx import ModelProto
from tqdm import tqdm

from export.clips import Clip, fitted, magnitudes, to_verify
from export.onnx.float16 import as_hardware
from export.tflite.convert import operators as operators_of_tflite
from kerasep.conversion.convert import TOLERANCE, Frozen, freeze, measure_parity, save, to_onnx
from kerasep.errors import KerasepError, UsageError, reporting
from kerasep.evaluation.bsseval import frame_sdr
from kerasep.inference.artifact import Artifact, beside, sha256
from kerasep.inference.manifest import Manifest
from kerasep.inference.waveform import separator_of
from kerasep.training.recipe import WEIGHTS

Stems = dict[str, np.ndarray]

# All that a file may need of a runtime; docs/export.md lists them.
BASIC = (
    "Add Concat Conv ConvTranspose Div Elu Gemm LSTM LeakyRelu MatMul Mul Pad Pow Relu Reshape Sigmoid Slice Softmax Split "
    "Squeeze Sub Tanh Transpose Unsqueeze"
)
LITE = (
    "ADD BATCH_MATMUL CONCATENATION CONV_2D DIV ELU FULLY_CONNECTED GATHER LEAKY_RELU LESS LOGISTIC MUL PACK PAD POW RELU "
    "RESHAPE REVERSE_V2 SLICE SOFTMAX SPLIT STRIDED_SLICE SUB TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK WHILE"
)
WAVEFORM = {  # what waveform graphs may need besides
    "onnx": frozenset(["Max", "ReduceMax", "ReduceSum", "Sqrt"]),
    "tflite": frozenset(["MAXIMUM", "MIRROR_PAD", "REDUCE_MAX", "SQRT", "SQUARE", "SUM"]),
}
OPERATORS = {  # by format and precision, beyond float32's
    "onnx": {
        "float32": frozenset(BASIC.split()),
        "float16": frozenset(["Cast"]),
        "int8": frozenset(["QuantizeLinear", "DequantizeLinear", "Cast"]),
        "int8-dynamic": frozenset(["DynamicQuantizeLinear", "MatMulInteger", "Cast"]),
    },
    "tflite": {
        "float32": frozenset(LITE.split()),
        "float16": frozenset(["DEQUANTIZE"]),
        "int8": frozenset(["DEQUANTIZE", "QUANTIZE"]),
        "int8-dynamic": frozenset(["DEQUANTIZE"]),
    },
}
# By precision: dB by which the stems' error must lie below them, and the largest median loss of SDR in dB.
AGREEMENT = {"float32": 60.0, "float16": 40.0, "int8": 20.0, "int8-dynamic": 20.0}
LOSS = {"float32": 0.01, "float16": 0.01, "int8": 0.1, "int8-dynamic": 0.1}


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
    manifest, precision = artifact.manifest, artifact.manifest.precision
    form = artifact.path.suffix[1:]
    what = file_name(manifest, form)  # `artifact` has another name until it has passed
    listed = OPERATORS[form]["float32"] | OPERATORS[form][precision]
    if manifest.graph == "waveform":
        listed |= WAVEFORM[form]
    if extra := sorted(set(operators(artifact.path)) - listed):
        raise KerasepError(f"{what}: needs operators that not every runtime has: {', '.join(extra)}")
    details: dict[str, Any] = {}
    if manifest.graph != "waveform":
        details["parity"] = parity = measure_parity(artifact, frozen, magnitudes(clips[0], manifest))
        error = parity["max_relative_error"]
        if precision == "float32" and not error <= TOLERANCE:
            raise KerasepError(f"{what}: differs from Keras by {error:.1e}, more than {TOLERANCE:g}")
    measured = _stems(_separated(artifact, clips), reference, clips)
    if precision == "float32" and manifest.graph != "waveform":
        return details | {"sdr": measured["sdr"]}
    found = {"": measured}
    if precision == "float16" and form == "onnx" and manifest.graph != "waveform":
        model = onnx.load(artifact.path)
        found["rounded_like_hardware"] = _stems(float32_stems(as_hardware(model), manifest, clips), reference, clips)
    for numbers in found.values():
        agreement = numbers["agreement_db"]["median"]
        loss = max((row["median_loss"] for row in numbers["sdr"].values()), default=0)
        if not agreement >= AGREEMENT[precision]:
            raise KerasepError(f"{what}: stems agree with float32's to {agreement:.1f} dB, less than {AGREEMENT[precision]:g}")
        if not loss <= LOSS[precision]:
            raise KerasepError(f"{what}: loses {loss:.3f} dB of SDR, more than {LOSS[precision]:g}")
    return {**details, **found.pop(""), **found}


def file_name(manifest: Manifest, form: str) -> str:
    """What a file is called."""
    return f"{manifest.name}{'' if manifest.precision == 'float32' else '-' + manifest.precision}.{form}"


def operators(path: Path) -> dict[str, int]:
    """How often a file has each operator."""
    if path.suffix == ".tflite":
        return operators_of_tflite(path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return dict(Counter(node.op_type for node in model.graph.node))


def float32_stems(graph: ModelProto, manifest: Manifest, clips: Sequence[Clip]) -> list[Stems]:
    """Stems of clips, of a float32 graph."""
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        path = Path(folder) / "float32.onnx"
        save(graph, manifest, path)
        return _separated(Artifact(path), clips)


def _separated(artifact: Artifact, clips: Sequence[Clip]) -> list[Stems]:
    """Stems of clips, with the mask and filter that the manifest has by default."""
    separator = separator_of(artifact)
    what = f"{artifact.manifest.name}, {artifact.path.stem}"
    bar = tqdm(clips, desc=what, unit="clip", leave=False, disable=None)
    return [separator.separate(clip.mixture, clip.rate) for clip in bar]


def _stems(stems: Sequence[Stems], reference: Sequence[Stems], clips: Sequence[Clip]) -> dict[str, Any]:
    agreements = []
    for ours, theirs in zip(stems, reference, strict=True):
        error = sum(np.sum(np.square(ours[t] - theirs[t], dtype=np.float64)) for t in theirs)
        energy = sum(np.sum(np.square(theirs[t], dtype=np.float64)) for t in theirs)
        agreements.append(float(10 * np.log10(energy / max(error, 1e-30))))
    known = [target for target in reference[0] if any(clip.stems.get(target, np.zeros(1)).any() for clip in clips)]
    result: dict[str, Any] = {"agreement_db": {"median": float(np.median(agreements)), "least": min(agreements)}, "sdr": {}}
    if known:
        before, after = (
            np.array([_sdr(clip, ours, known) for clip, ours in zip(clips, s, strict=True)]) for s in (reference, stems)
        )
        loss = before - after
        result["sdr"] = {
            target: {
                "float32": float(np.nanmedian(before[:, place])),
                "median": float(np.nanmedian(after[:, place])),
                "median_loss": float(np.nanmedian(loss[:, place])),
                "largest_loss": float(np.nanmax(loss[:, place])),
            }
            for place, target in enumerate(known)
        }
    return result


def _sdr(clip: Clip, stems: Stems, targets: Sequence[str]) -> list[float]:
    """Medians over frames of a second, as BSSEval v4 has them."""
    scores = frame_sdr({t: clip.stems[t] for t in targets}, {t: stems[t] for t in targets}, clip.rate)
    return [float(np.nanmedian(scores[target])) if not np.isnan(scores[target]).all() else np.nan for target in targets]


@reporting("export.verify")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export.verify", description="Compare a file with the runs it was made from.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--runs", nargs="+", type=Path, metavar="RUN", help="(default: where they were when it was exported)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="MUSDB18: also what is lost in SDR on its test songs")
    given = parser.parse_args()
    artifact = Artifact(given.file)
    frozen = _frozen(artifact, given.runs)
    manifest, clips = frozen.manifest, to_verify(given.root)
    if artifact.manifest.graph == "waveform":
        clips = fitted(clips, artifact.manifest)
    graph = to_onnx(frozen.lean, manifest.spectrogram, manifest.window_frames, manifest.batch)
    print(json.dumps(verify(artifact, frozen, clips, float32_stems(graph, manifest, clips)), indent=1))


def _frozen(artifact: Artifact, runs: Sequence[Path] | None) -> Frozen:
    """The networks a file was made from, by the hashes of their weights."""
    manifest, description = artifact.manifest, beside(artifact.path)
    if runs is None:
        sources = json.loads(description.read_text()).get("sources", []) if description.is_file() else []
        runs = [(artifact.path.parent / source).resolve() for source in sources]
        if not runs or not all(run.is_dir() for run in runs):
            raise UsageError(f"{artifact.path}: the runs it was made from are not where they were: name them with --runs")
    hashes = [run["weights_sha256"] for run in manifest.details["runs"]]
    given = {sha256(run / WEIGHTS): run for run in runs if (run / WEIGHTS).is_file()}
    if set(given) != set(hashes):
        raise KerasepError(f"{artifact.path}: was made from other runs than {', '.join(map(str, runs))}: export it again")
    step = manifest.graph == "step"
    fixed = manifest.window_frames if manifest.margin_frames else 0
    batch = manifest.batch if manifest.graph == "spectrogram" else 0
    return freeze([given[digest] for digest in hashes], manifest.name, frames=fixed, batch=batch, step=step)


if __name__ == "__main__":
    sys.exit(main())
