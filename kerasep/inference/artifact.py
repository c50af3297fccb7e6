"""A separator on disk: one ONNX or TFLite file with its manifest inside, and the same manifest as JSON next to it.

The manifest says everything that is needed to go from a waveform to stems: `kerasep.inference.graphs` has the kinds of graph.
"""

from pathlib import Path

import numpy as np

from kerasep.checks import parse
from kerasep.checks import sha256 as sha256  # whoever has a file asks here
from kerasep.errors import KerasepError, UsageError, first_line
from kerasep.inference import format1
from kerasep.inference.chunking import estimate
from kerasep.inference.graphs import INPUT, SpectrogramGraph, StepGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.providers import CPU, Provider
from kerasep.inference.runtime import RUNTIMES, Arrays, Runtime
from kerasep.inference.seal import check_seal
from kerasep.inference.stepping import Stepper
from kerasep.threads import threads as chosen


class Artifact:
    """An opened separator.

    Attributes:
        path: the file.
        manifest: its manifest.
        runtime: what runs its graph.
        threads: of it, None for the runtime's own choice.
    """

    def __init__(self, path: str | Path, threads: int | None = None, provider: str = CPU) -> None:
        """Open an ONNX file on ONNX Runtime, or a TFLite file on LiteRT.

        Args:
            path: the file; where its manifest is next to it (`manifest_path`), the file's sha256 must be the one in there.
            threads: of the network, OMP_NUM_THREADS or all cores if None.
            provider: of ONNX Runtime (`kerasep.inference.providers`).

        Raises:
            UsageError: there is no such provider here.
            KerasepError: the file is missing, damaged, neither ONNX nor TFLite or none of kerasep's, or what runs it is not
                installed.
        """
        self.path, self.threads = Path(path), chosen(threads)
        if not self.path.is_file():
            raise KerasepError(f"{path}: no such file")
        if self.path.suffix not in RUNTIMES:
            raise KerasepError(f"{path}: not one of {', '.join(RUNTIMES)}: name a file that kerasep packed or exported")
        _check_hash(self.path)
        check_seal(self.path)
        self.runtime: Runtime = RUNTIMES[self.path.suffix](self.path, self.threads, Provider.parse(provider))
        self.manifest = _read_manifest(self.path, self.runtime.manifest)
        if self.runtime.inputs != self.manifest.inputs() or self.runtime.outputs != self.manifest.outputs():
            raise KerasepError(f"{self.path}: its manifest does not describe its graph: export it again")

    def estimate(self, magnitudes: np.ndarray) -> Arrays:
        """Run the network on one stretch of a song.

        Args:
            magnitudes: of the mixture, float32 (frames, bins, channels).

        Returns:
            Each target's magnitudes, float32 (frames, bins, channels). (All of them: runtimes compute what is not asked for
            as well.)

        Raises:
            UsageError: a graph that takes waveforms.
        """
        graph = self.manifest.graph
        if isinstance(graph, SpectrogramGraph):
            return estimate(self.run, graph, magnitudes)
        if isinstance(graph, StepGraph):
            return Stepper(self.runtime.run, graph, self.manifest.targets).whole(magnitudes)
        raise UsageError(f"{self.path}: takes waveforms: separate with it")

    def run(self, mixture: np.ndarray) -> Arrays:
        """Run the graph once: mixture and each target's output float32, in the graph's shapes."""
        outputs = self.runtime.run({INPUT: mixture})
        return {target: outputs[target] for target in self.manifest.targets}


def manifest_path(path: Path) -> Path:
    """The JSON next to a file: NAME.json for NAME.onnx, NAME.tflite.json for NAME.tflite."""
    return path.with_suffix(".json" if path.suffix == ".onnx" else f"{path.suffix}.json")


def _check_hash(path: Path) -> None:
    manifest = manifest_path(path)
    if not manifest.is_file():
        return
    try:
        expected = parse(manifest.read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasepError(
            f"{manifest}: not a manifest ({first_line(error)}): remove it or export {path.name} again"
        ) from error
    if sha256(path) != expected:
        raise KerasepError(f"{path}: its sha256 is not the one in {manifest.name}: fetch or export both again")


def _read_manifest(path: Path, text: str | None) -> Manifest:
    if text is None:
        raise KerasepError(f"{path}: none of kerasep's files (no manifest in it)")
    try:
        values = parse(text)
        return (format1 if values["format"] == format1.FORMAT else Manifest).from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise KerasepError(f"{path}: its manifest cannot be used ({first_line(error)}): export it with this version") from error
