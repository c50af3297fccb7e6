"""ONNX Runtime, which is imported here and nowhere else."""

import importlib
import os
from typing import Any

from kerasep.errors import KerasepError


def onnxruntime(module: str = "onnxruntime") -> Any:
    """The package, or a module of it; with its telemetry off.

    From version 1.29 on it tells its vendor of every session, and marks the user's machine with an identity to do so, unless a
    variable in the environment says otherwise when it is imported. Whoever sets that has the last word.

    Raises:
        KerasepError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KerasepError("ONNX Runtime is not installed: pip install 'kerasep[cpu]', or 'kerasep[gpu]'") from error
