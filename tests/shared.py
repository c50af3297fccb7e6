"""What one test process makes for all of them."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

NAME = "KERASEP_TESTS_FOLDER"  # in the environment, where there are several processes
OWN = None if NAME in os.environ else tempfile.TemporaryDirectory(prefix="kerasep-tests-")  # removed when the process ends
FOLDER = Path(OWN.name if OWN else os.environ[NAME])


def once(name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder of this name that the first process to ask for it makes; others wait until it is there."""
    path = FOLDER / name
    done = FOLDER / f"{name}.done"
    with FileLock(f"{path}.lock"):
        if not done.exists():
            make(path)
            done.touch()
    return path
