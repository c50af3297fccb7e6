"""What the commands around TensorFlow print, and keep it from printing."""

import os
from pathlib import Path

from kerasep.inference.manifest import Manifest


def quiet_tensorflow() -> None:
    """Call before TensorFlow is imported: its notes about the processor would break up the progress bar. Errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def print_packed(output: Path, manifest: Manifest) -> None:
    """Say what an artifact holds, and how far ONNX Runtime's output is from Keras'."""
    error = manifest.details["parity"]["max_relative_error"]
    print(f"{output}: {', '.join(manifest.targets)}; differs from Keras by {error:.1e} at most")
