"""Runs: folders with a record (run.json), weights (best.weights.h5) and checkpoints.

The record holds the recipe, arguments, versions and seed, and losses, validation SNR and time of every epoch.
"""

import math
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

import kerasep
from kerasep.checks import sha256
from kerasep.datasets.musdb import Song
from kerasep.errors import KerasepError, first_line
from kerasep.files import replacing
from kerasep.machine import commit
from kerasep.models import build
from kerasep.models.weights import load_weights
from kerasep.training import engine
from kerasep.training.recipe import Recipe
from kerasep.training.record import DIGEST, RECORD, WEIGHTS, load_record, weights_are_those

ZEROS = bytes(1 << 20)
OVERHEAD = 1 << 12  # bytes that HDF5 needs besides an array, at most
NOTHING = {"epoch": 0, "validation_db": -math.inf}  # is best before the first epoch


def load_run(run: Path) -> tuple[dict[str, Any], keras.Model]:
    """A run's record and its network, in float32, with the best weights so far.

    Raises:
        KerasepError: the folder holds no run, or its weights do not fit.

    Example:
        >>> record, network = load_run(Path("kerasep/weights/bands"))
        >>> list(network.output)
        ['vocals', 'drums', 'bass', 'other']
    """
    record = load_record(run)
    recipe = Recipe.from_json(record["recipe"])
    if not (run / WEIGHTS).exists():
        raise KerasepError(f"{run}: holds no trained weights ({WEIGHTS} is missing): train one first")
    if not weights_are_those(run, record):
        reason = f"damaged, or not the weights that {RECORD} is about (sha256)"
        raise KerasepError(f"{run / WEIGHTS}: {reason}: go on with --resume, or copy both again")
    try:
        network = build(recipe.network, recipe.spectrogram, recipe.options, tuple(record["targets"]))
        load_weights(network, run / WEIGHTS)
    except Exception as error:  # HDF5, and Keras with what it gives, raise all kinds where bytes are wrong
        reason = first_line(error)
        raise KerasepError(f"{run}: its weights are damaged or of another network ({reason}): train it again") from error
    return record, network


def save_weights(network: keras.Model, run: Path, record: dict[str, Any]) -> None:
    """Write a network's weights into a run folder, and their sha256 into its record."""
    weights = network.weights
    size = sum(math.prod(weight.shape) * 4 for weight in weights) + OVERHEAD * (1 + len(weights))
    with replacing(run / WEIGHTS) as partial:
        with partial.open("wb") as file:  # where there is no room, this raises, and HDF5 ends the process
            for written in range(0, size, len(ZEROS)):
                file.write(ZEROS[: size - written])
        network.save_weights(partial)
        record[DIGEST] = sha256(partial)


def new_record(asked: dict[str, Any], songs: dict[str, list[Song]], parameters: int) -> dict[str, Any]:
    """The record of a run before its first epoch.

    Args:
        asked: recipe, targets and seed.
        songs: by subset.
        parameters: of the network.
    """
    backend = keras.backend.backend()
    return {
        "kerasep": kerasep.__version__,
        "commit": commit(Path(kerasep.__file__).parents[1]),
        "arguments": sys.argv[1:],
        **asked,
        "songs": {subset: [song.name for song in group] for subset, group in songs.items()},
        "parameters": parameters,
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("keras", backend, "numpy")},
        },
        "machine": {"cores": os.cpu_count(), "devices": engine.names()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": False,
        "best": NOTHING,
        "epochs": [],
    }


def check_same(record: dict[str, Any], asked: dict[str, Any], output: Path) -> None:
    """Raise KerasepError unless the record has the recipe, targets and seed that are asked for."""
    for name, value in asked.items():
        was = Recipe.from_json(record[name]).to_json() if name == "recipe" else record.get(name)  # earlier ones have fewer keys
        if was != value:
            raise KerasepError(f"{output}: holds a run with another {name}: resume it with what it was started with")
