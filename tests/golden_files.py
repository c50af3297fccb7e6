"""Files that the originals made (tests/make_golden.py), read."""

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
