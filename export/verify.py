"""Whether a file does what the networks do that it was made from: python -m export.verify FILE.

- The file's estimates against Keras' on noise and on music, at three lengths and two batch sizes.
- The stems that come of them against those of the float32 networks, in dB.
- With MUSDB18 at hand: what the file loses in SDR against the true stems.
- Its operators against those that every runtime has.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import onnx
from tqdm import tqdm

from export.clips import Clip, magnitudes, to_verify
from export.half import as_hardware
from kerasep.artifact import Artifact, Manifest
from kerasep.bsseval import frame_sdr
from kerasep.conversion import TOLERANCE, Frozen, freeze, relative_error, save
from kerasep.errors import KerasepError, UsageError
from kerasep.separator import Separator

Stems = dict[str, np.ndarray]

# All that a file may need of a runtime; docs/export.md lists them.
BASIC = (
    "Add Concat Conv ConvTranspose Div Elu Gemm LSTM LeakyRelu MatMul Mul Pad Pow Relu Reshape Sigmoid Slice Softmax Split "
    "Squeeze Sub Tanh Transpose Unsqueeze"
)
OPERATORS = {
    "float32": frozenset(BASIC.split()),
    "float16": frozenset(["Cast"]),
    "int8": frozenset(["QuantizeLinear", "DequantizeLinear", "Cast"]),
    "int8-dynamic": frozenset(["DynamicQuantizeLinear", "MatMulInteger", "Cast"]),
}
# By precision: dB by which the stems' error must lie below them, and the largest median loss of SDR in dB.
AGREEMENT = {"float32": 80.0, "float16": 40.0, "int8": 20.0, "int8-dynamic": 20.0}
LOSS = {"float32": 0.001, "float16": 0.01, "int8": 0.1, "int8-dynamic": 0.1}


def verify(artifact: Artifact, frozen: Frozen, clips: Sequence[Clip], reference: Sequence[Stems]) -> dict[str, Any]:
    """Measure a file.

    Args:
        artifact: the file.
        frozen: the networks it was made from.
        clips: music to separate.
        reference: the float32 networks' stems of it (`separated`).

    Returns:
        `parity`: largest max|a - b| / max|b| on noise and on music, over targets, lengths and batches; `agreement_db`: of stems
        with the reference's, all targets of a clip together, the median and the least; where true stems are known, `sdr` by
        target: the reference's and the file's medians over clips, and the median and largest loss of a clip.

    Raises:
        KerasepError: an operator is not on the list, or a number is over its tolerance.
    """
    precision, model = artifact.manifest.precision, onnx.load(artifact.path)
    onnx.checker.check_model(model, full_check=True)
    if extra := sorted({node.op_type for node in model.graph.node} - OPERATORS["float32"] - OPERATORS[precision]):
        raise KerasepError(f"{artifact.path.name}: needs operators that not every runtime has: {', '.join(extra)}")
    parity = _parity(artifact, frozen, clips[0])
    result = {"parity": parity, **_stems(separated(artifact, clips), reference, clips)}
    if precision == "float16":
        result["rounded_like_hardware"] = _stems(_as_hardware(artifact, clips), reference, clips)
    if precision == "float32" and not parity["max_relative_error"] <= TOLERANCE:
        raise KerasepError(f"{artifact.path.name}: differs from Keras by {parity['max_relative_error']:.1e}: not written")
    for found in (result, result.get("rounded_like_hardware", result)):
        agreement, losses = found["agreement_db"]["median"], [row["median_loss"] for row in found.get("sdr", {}).values()]
        if not agreement >= AGREEMENT[precision]:
            raise KerasepError(f"{artifact.path.name}: its stems agree with float32's to {agreement:.1f} dB alone: not written")
        if not max(losses, default=0) <= LOSS[precision]:
            raise KerasepError(f"{artifact.path.name}: loses {max(losses):.2f} dB of SDR: not written")
    return result


def separated(network: Artifact | Frozen, clips: Sequence[Clip]) -> list[Stems]:
    """Stems of clips, with the mask and filter that the manifest has by default."""
    separator = Separator(cast(Artifact, network))  # whatever has a manifest and a predict()
    what = f"{network.manifest.name}, {'Keras' if isinstance(network, Frozen) else network.manifest.precision}"
    bar = tqdm(clips, desc=what, unit="clip", leave=False, disable=None)
    return [separator.separate(clip.mixture, clip.rate) for clip in bar]


def _parity(artifact: Artifact, frozen: Frozen, clip: Clip) -> dict[str, Any]:
    manifest = artifact.manifest
    window = manifest.window_frames
    lengths = (window, 2 * window, 3 * window + 1) if window else (manifest.minimum_frames, 100, 300)
    batches = (manifest.batch,) if manifest.batch else (1, 3)
    size = (lengths[1] + lengths[2], manifest.spectrogram.bins, manifest.spectrogram.channels)
    slope = 100 / (1 + np.arange(size[1]))[:, None]  # music's, roughly
    noise = (np.random.default_rng(0).rayleigh(size=size) * slope).astype(np.float32)
    music = np.resize(magnitudes(clip, manifest), size)
    errors = {}
    for name, sound in {"noise": noise, "music": music}.items():
        pairs = [(artifact.predict(sound[-frames:]), frozen.predict(sound[-frames:])) for frames in lengths]
        for batch in batches:
            frames = window or lengths[1]
            many = np.resize(sound, (batch, frames, *size[1:]))
            pairs.append((artifact.run(many), frozen.run(many)))
        errors[name] = max(relative_error(output[t], expected[t]) for output, expected in pairs for t in manifest.targets)
    return {"max_relative_error": max(errors.values()), **errors, "frames": list(lengths), "batches": list(batches)}


def _stems(stems: Sequence[Stems], reference: Sequence[Stems], clips: Sequence[Clip]) -> dict[str, Any]:
    agreements = []
    for ours, theirs in zip(stems, reference, strict=True):
        error = sum(np.sum(np.square(ours[t] - theirs[t], dtype=np.float64)) for t in theirs)
        energy = sum(np.sum(np.square(theirs[t], dtype=np.float64)) for t in theirs)
        agreements.append(float(10 * np.log10(energy / max(error, 1e-30))))
    known = [target for target in reference[0] if all(target in clip.stems for clip in clips)]
    result: dict[str, Any] = {
        "clips": len(clips),
        "agreement_db": {"median": float(np.median(agreements)), "least": min(agreements)},
    }
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


def _as_hardware(artifact: Artifact, clips: Sequence[Clip]) -> list[Stems]:
    """A float16 file's stems where its arithmetic really is in half precision."""
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        path = Path(folder) / "rounded.onnx"
        save(as_hardware(onnx.load(artifact.path)), artifact.manifest, path)
        return separated(Artifact(path), clips)


def main() -> int:
    parser = argparse.ArgumentParser("python -m export.verify", description="Compare a file with the runs it was made from.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--runs", nargs="+", type=Path, metavar="RUN", help="(default: where they were when it was exported)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="MUSDB18: also what is lost in SDR on its test songs")
    given = parser.parse_args()
    try:
        artifact = Artifact(given.file)
        frozen = _frozen(artifact, given.runs)
        clips = to_verify(given.root)
        print(json.dumps(verify(artifact, frozen, clips, separated(frozen, clips)), indent=1))
    except KerasepError as error:
        print(f"export.verify: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _frozen(artifact: Artifact, runs: Sequence[Path] | None) -> Frozen:
    """The networks a file was made from, by the hashes of their weights."""
    manifest, beside = artifact.manifest, artifact.path.with_suffix(".json")
    if runs is None:
        sources = json.loads(beside.read_text()).get("sources", []) if beside.is_file() else []
        runs = [(artifact.path.parent / source).resolve() for source in sources]
        if not runs or not all(run.is_dir() for run in runs):
            raise UsageError(f"{artifact.path}: the runs it was made from are not where they were: name them with --runs")
    fixed = manifest.window_frames if manifest.margin_frames else 0
    frozen = freeze(runs, manifest.name, frames=fixed, batch=manifest.batch)
    if _hashes(frozen.manifest) != _hashes(manifest):
        raise KerasepError(f"{artifact.path}: was made from other runs than {', '.join(map(str, runs))}: export it again")
    return frozen


def _hashes(manifest: Manifest) -> list[str]:
    return [run["weights_sha256"] for run in manifest.details["runs"]]


if __name__ == "__main__":
    sys.exit(main())
