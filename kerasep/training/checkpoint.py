"""Checkpoints: the whole state of a run after an epoch in one file, written atomically, with checksums.

A file is a NumPy archive (no pickle; each part has a checksum) of all variables of the learner and its optimizer, including the
states of random number generators, and the record so far. The last two files are kept.
"""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.files import replacing
from kerasep.training.learner import Learner

FOLDER = "checkpoints"  # of a run folder
KEPT = 2


def save(folder: Path, learner: Learner, record: dict[str, Any]) -> None:
    """Write the state after the record's last epoch. Raises KerasepError where it cannot be written."""
    epoch = len(record["epochs"])
    arrays: dict[str, Any] = {f"{index:05}": np.asarray(variable) for index, variable in enumerate(_variables(learner))}
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    with replacing(folder / f"epoch-{epoch:05}.npz") as partial:
        np.savez(partial, **arrays)
    for path in _files(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


def restore(folder: Path, learner: Learner) -> dict[str, Any] | None:
    """Set all variables to the newest state that can be read; returns its record, or None if there is none.

    A damaged file is skipped with a warning.
    """
    variables = _variables(learner)
    for path in reversed(_files(folder)):
        try:
            with np.load(path, allow_pickle=False) as archive:
                record = json.loads(archive["record"].tobytes())
                arrays = [archive[f"{index:05}"] for index in range(len(variables))]
            if any(array.shape != tuple(variable.shape) for array, variable in zip(arrays, variables, strict=True)):
                raise ValueError("it belongs to another network")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"{path}: damaged ({error}): resuming from the one before", stacklevel=2)
            continue
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        return record
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"))


def _variables(learner: Learner) -> list[keras.Variable]:
    unique = {id(variable): variable for variable in (*learner.state, *learner.optimizer.variables)}
    return list(unique.values())
