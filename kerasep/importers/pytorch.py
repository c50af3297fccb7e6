"""State dicts from PyTorch's files: plain tensors and nothing else, checked before PyTorch opens the file.

A file is a zip archive with a pickle and the bytes of each tensor or, until 2020, a few pickles and all bytes behind them.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError, first_line
from kerasep.importers.archives import members, opened

STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
# What a pickle of plain tensors names. PyTorch's own list has kinds of tensors whose numbers stand nowhere, and `bytearray`.
PLAIN = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
PLAIN |= {f"torch {kind}Storage" for kind in STORAGES}
ZIP = b"PK\x03\x04"  # how PyTorch knows an archive
PICKLE = 1 << 20  # bytes of a pickle; those of a state dict have some ten thousand
PICKLES = 5  # of an early file: magic number, version, machine, tensors, order of their bytes

State = dict[str, np.ndarray]


def read(path: Path) -> State:
    """Read a state dict as float32 arrays. Unpickles nothing but tensors.

    Raises:
        KerasepError: PyTorch is missing; or the file is not a state dict, holds code, is damaged, or smaller than its tensors.
    """
    return arrays(load(path, {}), path)


def load(path: Path, stand_ins: Mapping[str, Callable]) -> Any:
    """Read a file as PyTorch has it. Unpickles plain values and tensors, and what stands in for other things.

    Args:
        path: the file.
        stand_ins: what is to be called where a pickle names something else, by that name, as in "fractions Fraction".

    Raises:
        KerasepError: PyTorch is missing; or the file holds other code, or is damaged.
    """
    try:
        import torch
    except ImportError as error:
        raise KerasepError(
            f"PyTorch is not installed, and {path.suffix} files need it: pip install 'kerasep[torch]'"
        ) from error
    _check_names(path, PLAIN | set(stand_ins))
    named: list[Any] = [(stand_in, name.replace(" ", ".")) for name, stand_in in stand_ins.items()]
    try:
        with torch.serialization.safe_globals(named):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises whatever damaged bytes lead to
        _, _, reason = str(error).partition("WeightsUnpickler error: ")  # behind advice to let the file run code
        reason = reason.strip().partition("\n")[0] or first_line(error)
        raise KerasepError(f"{path}: cannot be read ({reason}): download it again") from error


def arrays(content: Any, path: Path) -> State:
    """A state dict as float32 arrays. Raises KerasepError where it is none, or has more tensors than the file can hold."""
    import torch

    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise KerasepError(
            f"{path}: not a state dict, perhaps a training checkpoint: name the {path.suffix} file of the best weights"
        )
    if (size := sum(tensor.nbytes for tensor in content.values())) > path.stat().st_size:
        raise KerasepError(f"{path}: its tensors have {size:,} bytes, more than the file: not a checkpoint")
    return {str(name): tensor.detach().to(torch.float32).numpy() for name, tensor in content.items()}


def _check_names(path: Path, allowed: set[str]) -> None:
    """Raise KerasepError where a pickle names anything but what is allowed, or checksums say that it is damaged."""
    for pickle in _pickles(path):
        try:
            named = {str(argument) for operation, argument, _ in pickletools.genops(pickle) if operation.name == "GLOBAL"}
        except Exception as error:  # so does the standard library
            raise KerasepError(f"{path}: not a PyTorch file ({first_line(error)}): download it again") from error
        if more := sorted(named - allowed):
            raise KerasepError(f"{path}: holds more than plain tensors ({more[0]}), which could run code: download it again")


def _pickles(path: Path) -> list[io.BytesIO]:
    """Places in the file where pickles begin: one of an archive; of an early file the same one again and again."""
    try:
        with path.open("rb") as file:
            start = file.read(PICKLE)
        size = path.stat().st_size
    except OSError as error:
        raise KerasepError(f"{path}: cannot be read ({error.strerror}): check the file") from error
    if not start.startswith(ZIP):
        return [io.BytesIO(start)] * PICKLES
    with opened(path) as archive:
        contents = members(archive, archive.infolist(), size)  # PyTorch does not compress
        pickles = [content for name, content in contents if name.endswith(".pkl")]
    if any(len(content) > PICKLE for content in pickles):
        raise KerasepError(f"{path}: lists more than a state dict does: name the .pth file of the best weights")
    return [io.BytesIO(content) for content in pickles]
