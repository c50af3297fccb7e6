"""What an importer makes of a checkpoint: a run folder, which training, packing and export start from, or an artifact."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasep
from kerasep.errors import KerasepError
from kerasep.files import replacing, write_json
from kerasep.inference.manifest import Manifest
from kerasep.training.recipe import RECORD, WEIGHTS, Recipe


@dataclass(frozen=True)
class Imported:
    """Networks with somebody else's weights.

    Attributes:
        network: from mixture to a dict of targets.
        recipe: says how it is built.
        targets: what it separates.
        defaults: of the manifest: mask, exponent, wiener, unclaimed, licence, origin.
        files: names and sha256 of what the weights were read from.
    """

    network: keras.Model
    recipe: Recipe
    targets: tuple[str, ...]
    defaults: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)

    def write_run(self, run: Path) -> None:
        """Write a run folder with these weights. Raises KerasepError if there is one, or it cannot be written."""
        if (run / RECORD).exists():
            raise KerasepError(f"{run}: holds a run already: name another folder")
        with replacing(run / WEIGHTS) as partial:
            self.network.save_weights(partial)
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
        write_json(run / RECORD, record)

    def write_artifact(self, output: Path) -> Manifest:
        """Convert to an ONNX file, see `kerasep.conversion.pack.pack`."""
        from kerasep.conversion.pack import pack

        with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
            self.write_run(Path(folder) / "run")
            return pack([Path(folder) / "run"], output)


def check_finite(tensors: dict[str, np.ndarray], source: Path) -> None:
    """Raise KerasepError, naming the first of the tensors that holds what is no number."""
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise KerasepError(f"{source}: {name} holds NaN or infinite numbers: it cannot be used")
