"""The record of a run, run.json: read, and checked as far as anything depends on it."""

from pathlib import Path
from typing import Any

from kerasep.checks import parse, sha256, short
from kerasep.errors import KerasepError, first_line
from kerasep.training.recipe import Recipe

RECORD, WEIGHTS = "run.json", "best.weights.h5"  # of a run folder
DIGEST = "weights_sha256"  # in the record; runs of before have none


def load_record(run: Path) -> dict[str, Any]:
    """The record of a run folder.

    Raises:
        KerasepError: the folder holds no run, or its record is damaged.
    """
    try:
        record = parse((run / RECORD).read_bytes())
        check_record(record)
    except FileNotFoundError as error:
        remedy = "train one first, or make one of other people's weights with kerasep import --keras"
        raise KerasepError(f"{run}: holds no run ({RECORD} is missing): {remedy}") from error
    except NotADirectoryError as error:
        raise KerasepError(f"{run}: a file: name the run's folder") from error
    except (OSError, ValueError, KeyError, TypeError, KerasepError) as error:
        reason = first_line(error)
        raise KerasepError(f"{run / RECORD}: damaged or of another version ({reason}): train it again") from error
    return dict(record)


def check_record(record: Any) -> None:
    """Check what others rely on.

    Raises:
        KerasepError, ValueError, KeyError, TypeError: it is no record of a run.
    """
    if not isinstance(record, dict):
        raise ValueError(f"not the record of a run, but {short(record)}")
    Recipe.from_json(record["recipe"])
    kinds = {"targets": list, "epochs": list, "songs": dict, "finished": bool, "defaults": dict, "files": dict, "best": dict}
    missing: dict[str, Any] = {"defaults": {}, "files": {}, "best": {}, "finished": True}  # in imported or earlier runs
    for name, kind in kinds.items():
        if not isinstance((missing | record)[name], kind):
            raise ValueError(f"{name} is {short(record[name])}")
    if not record["targets"] or not all(isinstance(target, str) for target in record["targets"]):
        raise ValueError(f"targets are {short(record['targets'])}")
    for epoch in record["epochs"]:
        for name in ("seconds", "validation_db"):
            if not isinstance(epoch[name], int | float):
                raise ValueError(f"{name} of an epoch is {short(epoch[name])}")
    for names in record["songs"].values():
        len(names)


def weights_are_those(run: Path, record: dict[str, Any]) -> bool:
    """Whether the weights in a run folder are the ones that its record is about, as far as it says."""
    return DIGEST not in record or ((run / WEIGHTS).is_file() and sha256(run / WEIGHTS) == record[DIGEST])
