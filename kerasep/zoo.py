"""Separators by name."""

from pathlib import Path

from kerasep.artifact import Artifact
from kerasep.errors import UsageError

DEFAULT = "conv"
BUNDLED = {"conv": Path(__file__).parent / "weights" / "conv.onnx"}


def load(model: str | Path = DEFAULT, threads: int | None = None) -> Artifact:
    """Open a separator by its name (`kerasep models` lists them) or its file.

    Raises:
        UsageError: no such name or file.
        KerasepError: the file cannot be used, see `Artifact`.
    """
    if model in BUNDLED:
        return Artifact(BUNDLED[str(model)], threads)
    if not Path(model).exists():
        raise UsageError(f"unknown model {str(model)!r}: name a file or one of {', '.join(BUNDLED)}")
    return Artifact(model, threads)
