"""Files that the originals made (tests/make_golden.py), read."""

import json
from math import prod
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, part: str = "") -> dict[str, np.ndarray]:
    """The arrays of a file whose keys begin with `part`, without it."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key.removeprefix(part): arrays[key] for key in arrays.files if key.startswith(part)}


def openunmix_states() -> dict[str, dict[str, np.ndarray]]:
    """State dicts of two targets, by PyTorch's names: those behind the stems in openunmix_separator.npz."""
    return {
        target: {name: np.float32(values) for name, values in golden("openunmix_separator", f"state/{target}/").items()}
        for target in ("vocals", "drums")
    }


def htdemucs_state(case: str) -> dict[str, np.ndarray]:
    """A state dict, float32, by PyTorch's names: that behind the stems of a case in htdemucs.npz."""
    arrays = golden("htdemucs", f"{case}/")
    shapes = {name: tuple(shape) for name, shape in json.loads(str(arrays["shapes"])).items()}
    parts = np.split(np.float32(arrays["state"]), np.cumsum([prod(shape) for shape in shapes.values()])[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
