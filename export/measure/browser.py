"""A file on onnxruntime-web's WebAssembly, under Node: its largest difference from ONNX Runtime's CPU provider."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError
from kerasep.inference.artifact import Artifact
from kerasep.signal.levels import relative_error

SCRIPT = Path(__file__).with_suffix(".mjs")
TIMEOUT = 600  # seconds


def compare(artifact: Artifact, mixture: np.ndarray, package: Path) -> dict[str, Any]:
    """Run a file under Node and here.

    Args:
        artifact: the file.
        mixture: what it takes, float32 (batch, frames, bins, channels).
        package: folder of the npm package onnxruntime-web.

    Returns:
        `version` of the package, and `max_relative_error` over targets.

    Raises:
        KerasepError: no Node, no such package, or the file doesn't run on it.
    """
    node = shutil.which("node")
    if node is None or not (package / "dist").is_dir():
        raise KerasepError(f"{package}: needs Node and onnxruntime-web there: npm install onnxruntime-web")
    expected = artifact.run(mixture)
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        given = Path(folder) / "mixture.f32"
        np.ascontiguousarray(mixture, np.float32).tofile(given)
        call = [node, str(SCRIPT), str(package), str(artifact.path), str(given), json.dumps(mixture.shape), folder]
        done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT)  # noqa: S603
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "rror" in line), "no reason given")
            raise KerasepError(f"{artifact.path}: does not run on onnxruntime-web: {reason.strip()}")
        errors = [
            relative_error(np.fromfile(Path(folder) / f"{target}.f32", np.float32).reshape(output.shape), output)
            for target, output in expected.items()
        ]
    return {"version": json.loads(done.stdout)["version"], "max_relative_error": max(errors)}
