"""A separator on disk: one ONNX or TFLite file that holds its manifest, and the same manifest as JSON beside it.

A spectrogram graph takes `mixture`, magnitudes (batch, frames, bins, channels), and gives one output of that shape per target,
named after it; a step graph takes a frame at a time (`stepping`). The manifest says everything else that is needed to
go from a waveform to stems.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kerasep.errors import KerasepError
from kerasep.inference.manifest import INPUT, Manifest
from kerasep.inference.runtime import RUNTIMES, Arrays, Runtime
from kerasep.inference.stepping import Steps
from kerasep.inference.windows import crossfade, cut, middles

Run = Callable[[np.ndarray], Arrays]  # from a batch of magnitudes to each target's


class Artifact:
    """An opened separator.

    Attributes:
        path: the file.
        manifest: its manifest.
        runtime: what runs its graph.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open an ONNX file on ONNX Runtime's CPU provider, or a TFLite file on LiteRT.

        Args:
            path: the file; where its manifest stands `beside` it, the file's sha256 must be the one in there.
            threads: of the network, all cores if None.

        Raises:
            KerasepError: the file is missing, damaged, neither ONNX nor TFLite or none of kerasep's, or what runs it is not
                installed.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise KerasepError(f"{path}: no such file")
        if self.path.suffix not in RUNTIMES:
            raise KerasepError(f"{path}: not one of {', '.join(RUNTIMES)}: name a file that kerasep packed or exported")
        _check_hash(self.path)
        self.runtime: Runtime = RUNTIMES[self.path.suffix](self.path, threads)
        self.manifest = _read_manifest(self.path, self.runtime.manifest)
        if self.runtime.inputs != self.manifest.inputs() or self.runtime.outputs != self.manifest.outputs():
            raise KerasepError(f"{self.path}: its manifest does not describe its graph: export it again")

    def predict(self, magnitudes: np.ndarray) -> Arrays:
        """Run the network on one stretch of a song.

        Args:
            magnitudes: of the mixture, float32 (frames, bins, channels).

        Returns:
            Each target's magnitudes, float32 (frames, bins, channels). (All of them: runtimes compute what is not asked for
            as well.)
        """
        if self.manifest.graph == "step":
            masks = Steps(self.runtime.run, self.manifest).whole(magnitudes)
            return {target: mask * magnitudes for target, mask in masks.items()}
        return predict(self.run, self.manifest, magnitudes)

    def run(self, mixture: np.ndarray) -> Arrays:
        """Run a spectrogram graph: mixture and each target's estimate float32 (batch, frames, bins, channels), of its sizes."""
        outputs = self.runtime.run({INPUT: mixture})
        return {target: outputs[target] for target in self.manifest.targets}


def predict(run: Run, manifest: Manifest, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
    """A stretch of a song through a network that takes what its manifest says.

    Args:
        run: from mixture to estimates, all (batch, frames, bins, channels).
        manifest: says how many frames and how large a batch it takes.
        magnitudes: of the mixture, float32 (frames, bins, channels).

    Returns:
        Each target's magnitudes, (frames, bins, channels).
    """
    frames, window, step = len(magnitudes), manifest.window_frames, manifest.step_frames
    missing = max(0, manifest.minimum_frames - frames)
    batch = cut(magnitudes, window, step) if window else _filled(magnitudes, missing)[None]
    size = manifest.batch or len(batch)
    filled = _filled(batch, -len(batch) % size)
    parts = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    estimates = {}
    for target in manifest.targets:
        output = parts[0][target] if len(parts) == 1 else np.concatenate([part[target] for part in parts])
        if manifest.margin_frames:
            whole = middles(output[: len(batch)], manifest.margin_frames)
        else:
            whole = crossfade(output[: len(batch)], step) if window else output[0]
        estimates[target] = whole[:frames]
    return estimates


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    """With so many zeros more along the first axis."""
    return np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1))) if missing else array


def sha256(path: Path) -> str:
    """A file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside(path: Path) -> Path:
    """Where a file's manifest stands: NAME.json for NAME.onnx, NAME.tflite.json for NAME.tflite."""
    return path.with_suffix(".json" if path.suffix == ".onnx" else f"{path.suffix}.json")


def _check_hash(path: Path) -> None:
    manifest = beside(path)
    if not manifest.is_file():
        return
    try:
        expected = json.loads(manifest.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasepError(f"{manifest}: not a manifest ({error}): remove it or export {path.name} again") from error
    if sha256(path) != expected:
        raise KerasepError(f"{path}: its sha256 is not the one in {manifest.name}: fetch or export both again")


def _read_manifest(path: Path, text: str | None) -> Manifest:
    if text is None:
        raise KerasepError(f"{path}: none of kerasep's files (no manifest in it)")
    try:
        return Manifest.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KerasepError(f"{path}: its manifest cannot be used ({error}): export it with this version") from error
