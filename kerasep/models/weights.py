"""Weights files (.weights.h5), also those written under earlier class names.

Keras names a layer's group in the file after its class, in snake case, with a number from the second layer on:
`band_split`, `group_mixer`, `group_mixer_1`. Renaming a class would therefore orphan the weights of every earlier run. (.keras
files, which runs do not use, name the classes themselves: those of earlier versions cannot be loaded.)
"""

import re
import shutil
import tempfile
from pathlib import Path

import h5py  # a dependency of Keras
import keras

RENAMED = {  # group names of earlier versions
    "banded": "band_split",
    "unbanded": "band_merge",
    "ahead": "look_ahead",
    "speaking": "group_mixer",
    "thinking": "group_feed_forward",
}


def load_weights(network: keras.Model, path: Path) -> None:
    """Load a weights file into a network of the same shape.

    Raises:
        Exception: the file is damaged or belongs to another network; HDF5 has errors of many kinds.
    """
    with h5py.File(path) as file:
        _check(file, path.stat().st_size)
        renamed = {name: _current(name) for name in file.get("layers", ()) if _current(name) != name}
    if not renamed:
        network.load_weights(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            for old, new in renamed.items():
                file["layers"].move(old, new)
        network.load_weights(copy)


def _check(file: h5py.File, size: int) -> None:
    """Raise ValueError where arrays are larger than the file, or their numbers stand in another one."""
    left = size

    def check(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal left
        if isinstance(item, h5py.Dataset):
            left -= item.nbytes
            if left < 0 or item.is_virtual or item.external:
                raise ValueError(f"{name} is larger than the file, or in another one")

    file.visititems(check)


def _current(name: str) -> str:
    """A group's name today: `speaking_1` is `group_mixer_1`."""
    base, number = re.fullmatch(r"(.*?)(_\d+)?", name).groups("")  # type: ignore[union-attr] # it matches every name
    return RENAMED.get(base, base) + number
