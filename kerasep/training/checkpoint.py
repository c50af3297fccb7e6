"""Checkpoints: the whole state of a run after an epoch in one file, written atomically, with checksums.

A file is a NumPy archive (no pickle; each part has a checksum) of all variables of the learner and its optimizer, including the
states of random number generators, and the record so far. The last two files are kept.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.checks import parse
from kerasep.errors import KerasepError, first_line, say
from kerasep.files import replacing
from kerasep.training.learner import Learner
from kerasep.training.record import check_record

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
    """Set all variables to the newest state that can be read; returns its record, or None if there is no file.

    A damaged file is skipped with a line on standard error.

    Raises:
        KerasepError: none of the files can be read.
    """
    variables, paths = _variables(learner), _files(folder)
    for path in reversed(paths):
        try:
            record, arrays = _read(path, variables)
        except Exception as error:  # zipfile, zlib, NumPy and JSON raise all kinds where bytes are wrong
            say(f"{path}: damaged ({first_line(error)}): going on from the one before")
            continue
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        return record
    if paths:
        raise KerasepError(f"{folder}: none of its files can be read: train it again, into another folder")
    return None


def _read(path: Path, variables: list[keras.Variable]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A record and the values of these variables. Raises whatever a damaged file leads to."""
    with np.load(path, allow_pickle=False) as archive:
        record = parse(archive["record"].tobytes())
        arrays = [archive[f"{index:05}"] for index in range(len(variables))]
    check_record(record)
    for array, variable in zip(arrays, variables, strict=True):
        if array.shape != tuple(variable.shape) or array.dtype != np.asarray(variable).dtype:
            raise ValueError("it belongs to another network")
    return record, arrays


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"))


def _variables(learner: Learner) -> list[keras.Variable]:
    unique = {id(variable): variable for variable in (*learner.state, *learner.optimizer.variables)}
    return list(unique.values())
