"""Imported networks: written as a run folder, which training, packing and export start from, or as an artifact."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasep
from kerasep.errors import KerasepError
from kerasep.files import write_json
from kerasep.inference.graphs import Segments, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.training.recipe import Recipe
from kerasep.training.record import RECORD
from kerasep.training.runs import save_weights


@dataclass(frozen=True)
class Imported:
    """A network with weights from another project.

    Attributes:
        network: from the mixture's magnitudes to a dict of the targets'.
        recipe: how the network is built.
        targets: what it separates.
        defaults: fields of the manifest: mask, exponent, wiener, unclaimed, licence, origin.
        files: name -> sha256 of the files that the weights come from.

    Example:
        imported = openunmix.load(Path("umx"))
        imported.write_run(Path("runs/umx"))  # kerasep train --start runs/umx
        imported.write_artifact(Path("umx.onnx"))  # kerasep separate --model umx.onnx
    """

    network: keras.Model
    recipe: Recipe
    targets: tuple[str, ...]
    defaults: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)

    def write_run(self, run: Path) -> None:
        """Write a run folder. Raises KerasepError if `run` already is one, or cannot be written to."""
        if (run / RECORD).exists():
            raise KerasepError(f"{run}: is a run already: name another folder")
        record = {
            "kerasep": kerasep.__version__,
            "recipe": self.recipe.to_json(),
            "targets": list(self.targets),
            "parameters": self.network.count_params(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "finished": True,
            "songs": {},
            "epochs": [],
            "defaults": self.defaults,
            "files": self.files,
        }
        save_weights(self.network, run, record)
        write_json(run / RECORD, record)

    def write_artifact(self, output: Path) -> Manifest:
        """Convert to an artifact, an ONNX file. Raises KerasepError, see `kerasep.conversion.pack.pack`."""
        from kerasep.conversion.pack import pack

        with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
            self.write_run(Path(folder) / "run")
            return pack([Path(folder) / "run"], output)


@dataclass(frozen=True)
class ImportedWaveform:
    """A network on waveforms with weights from another project.

    Attributes:
        network: from (batch, segment, channels) to a dict of targets of that shape.
        rate: in Hz.
        overlap: of a segment with the next, from 0 to less than 1.
        licence: terms of use of the weights.
        origin: who trained them.
        files: name -> sha256 of the files that the weights come from.
    """

    network: keras.Model
    rate: int
    overlap: float
    licence: str
    origin: str
    files: dict[str, str]

    def write_artifact(self, output: Path) -> Manifest:
        """Convert to an artifact, an ONNX file. Raises KerasepError, see `kerasep.conversion.waveform.pack_waveform`."""
        from kerasep.conversion.waveform import pack_waveform

        _, samples, channels = self.network.input_shape
        segments = Segments(samples, int((1 - self.overlap) * samples), margin=0)
        graph = WaveformGraph(self.rate, channels, segments, fixed=True, exact=False, blended=True, normalised=True)
        details = {"files": self.files, "versions": {"kerasep": kerasep.__version__, "keras": keras.__version__}}
        manifest = Manifest(
            output.stem,
            tuple(self.network.output),
            graph,
            self.licence,
            origin=self.origin,
            parameters=self.network.count_params(),
            details=details,
        )
        return pack_waveform(self.network, manifest, output)


def check_finite(tensors: dict[str, np.ndarray], source: Path) -> None:
    """Raise KerasepError naming the first tensor, if any, that is not finite."""
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise KerasepError(f"{source}: {name} holds NaN or infinity: the file is damaged, or its training failed")
