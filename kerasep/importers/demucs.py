"""Weights of Hybrid Transformer Demucs, in both kinds of files that the package `demucs` reads.

- safetensors, as its models on Hugging Face: tensors, and in the metadata the class and its arguments as JSON.
- `.th`: what PyTorch pickles of {klass, args, kwargs, state, training_args}; official names end in a part of the sha256.

Only what the network is built from is taken from the arguments. Those that choose another network are refused, and so are
quantised weights; those that only matter in training are passed over.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.checks import parse, sha256
from kerasep.errors import KerasepError, UsageError, first_line
from kerasep.importers import pytorch
from kerasep.importers.demucs_arguments import Arguments, understood
from kerasep.importers.demucs_tensors import assign, tensors
from kerasep.importers.imported import ImportedWaveform, check_finite
from kerasep.importers.pytorch import State
from kerasep.models.htdemucs import CHANNELS, htdemucs

CLASS = "demucs.htdemucs.HTDemucs"
FILE = re.compile(r".+-([0-9a-f]{8})\.th")  # with the first digits of the file's sha256
HEADER = 1 << 20  # bytes of a safetensors file's header; that of four stems has some fifty thousand
FLOATS = ("F16", "F32", "F64")
# How the names of htdemucs_ft's files begin: each is a whole network, and was trained on for one stem.
FINE_TUNED = {"drums": "f7e0c4bc", "bass": "d12395a8", "other": "92cfc3b6", "vocals": "04573f0d"}
LICENCE = "research only, unless its authors tell you otherwise"  # issues 327 and 508 of the project
ORIGIN = "a checkpoint of Hybrid Transformer Demucs"


@dataclass(frozen=True)
class LoadedDemucs:
    """A network with a file's weights.

    Attributes:
        model: from mixture (batch, segment, channels) to a dict of targets.
        targets: stems, in the file's order.
        rate: in Hz.
        channels: of audio.
        segment: samples that the network takes.
    """

    model: keras.Model
    targets: tuple[str, ...]
    rate: int
    channels: int
    segment: int


def load(path: Path, segment: int | None = None) -> LoadedDemucs:
    """Read a file and build its network.

    Args:
        path: a safetensors file or a .th file of one network; htdemucs_ft is four of them.
        segment: samples that the network is to take; None for as many as in its training, which is also the most.

    Raises:
        KerasepError: a package is missing; the file is damaged, holds code, is of another network or quantised.
        UsageError: more or fewer samples than the network can take.

    Example:
        loaded = load(Path("955717e8-8726e21a.th"))
        stems = loaded.model(mixture[None])  # (1, loaded.segment, 2) each
    """
    arguments, state = read(path)
    _check(state, arguments, path)
    longest = arguments.segment
    if segment is not None and not 0 < segment <= longest:
        raise UsageError(f"{path}: a segment of {segment:,} samples: it was trained on {longest:,}, take as many or fewer")
    try:
        network = htdemucs(arguments.targets, segment or longest, *arguments.sizes)
    except ValueError as error:
        raise (UsageError if segment else KerasepError)(f"{path}: {error}") from error
    assign(network, state, arguments.sizes)
    return LoadedDemucs(network, arguments.targets, arguments.rate, CHANNELS, segment or longest)


def read(path: Path) -> tuple[Arguments, State]:
    """What a file's network is built with, and its tensors, float32. Raises KerasepError as `load` does."""
    args, kwargs, state = _read_pickled(path) if path.suffix == ".th" else _read_safetensors(path)
    try:
        arguments = understood(args, kwargs)
    except ValueError as error:
        raise KerasepError(f"{path}: {error}: name a file of htdemucs, htdemucs_ft or htdemucs_6s") from error
    check_finite(state, path)
    return arguments, state


class _Network:
    """Stands in for the class that a .th file names; nothing is made of it."""


def _fraction(*parts: Any) -> dict[str, Any]:
    """Stands in for a fraction, as safetensors files have it: a hostile one takes all memory as soon as it is made."""
    return {"_type": "fraction"} | dict(zip(("numerator", "denominator"), parts, strict=False))


def _read_pickled(path: Path) -> tuple[Any, Any, State]:
    named = FILE.fullmatch(path.name)
    content = pytorch.load(path, {"demucs.htdemucs HTDemucs": _Network, "fractions Fraction": _fraction})
    if named and not sha256(path).startswith(named[1]):
        raise KerasepError(f"{path}: its sha256 does not start with {named[1]}, as its name says: download it again")
    if not isinstance(content, dict) or content.get("klass") is not _Network:
        raise KerasepError(f"{path}: not a network of the package demucs: name the .th file of HTDemucs")
    state = content.get("state")
    if isinstance(state, dict) and "__quantized" in state:
        raise KerasepError(f"{path}: its weights are quantised: name a file whose weights are not")
    return content.get("args"), content.get("kwargs"), pytorch.arrays(state, path)


def _read_safetensors(path: Path) -> tuple[Any, Any, State]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise KerasepError(f"safetensors is not installed, and {path} needs it: pip install 'kerasep[safetensors]'") from error
    _check_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("klass") != CLASS:
                raise KerasepError(f"{path}: not HTDemucs of the package demucs: name a file of htdemucs")
            if "structure" in metadata:
                raise KerasepError(f"{path}: its weights are quantised: name a file whose weights are not")
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no dict
            if other := [name for name, kind in kinds.items() if kind not in FLOATS]:
                raise KerasepError(f"{path}: {other[0]} is {kinds[other[0]]}: its weights are no floats of 16 to 64 bits")
            state = {name: file.get_tensor(name).astype(np.float32) for name in kinds}
    except (SafetensorError, OSError) as error:
        raise KerasepError(f"{path}: cannot be read ({first_line(error)}): download it again") from error
    try:
        return parse(metadata["args"]), parse(metadata["kwargs"]), state
    except (KeyError, ValueError) as error:
        raise KerasepError(f"{path}: its arguments cannot be read ({first_line(error)}): download it again") from error


def _check_header(path: Path) -> None:
    """Raise KerasepError where a file has no header of a plausible length: reading a hostile one takes a lot of memory."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise KerasepError(f"{path}: cannot be read ({error.strerror}): check the file") from error
    if len(start) < 8 or not 0 < struct.unpack("<Q", start)[0] <= HEADER:
        raise KerasepError(f"{path}: not a safetensors file: name a .safetensors or .th file of HTDemucs")


def _check(state: State, arguments: Arguments, path: Path) -> None:
    """Check that every tensor is there, has its shape, and there is no other, before a network of that size is built."""
    expected = {tensor.name: tensor.shape for tensor in tensors(arguments.sizes, len(arguments.targets))}
    for name, shape in expected.items():
        if name not in state:
            raise KerasepError(f"{path}: {name} is missing: not a complete HTDemucs")
        if state[name].shape != shape:
            raise KerasepError(f"{path}: {name} is {state[name].shape} and should be {shape}: not what its arguments say")
    for name in state:
        if name not in expected:
            raise KerasepError(f"{path}: holds {name[:80]}, which HTDemucs does not have: a file of another network")


def imported(
    source: Path, seconds: float | None = None, overlap: float = 0.25, licence: str = LICENCE, origin: str = ORIGIN
) -> ImportedWaveform:
    """What a file separates, or a folder with a file for each stem.

    Args:
        source: a file; or a folder with the four of htdemucs_ft, each of which was trained for one stem.
        seconds: that the network is to take at a time; None for as many as in its training.
        overlap: of segments.
        licence, origin: of the weights.

    Raises:
        KerasepError, UsageError: as `load`; a folder does not hold the four files.
    """
    files = _files(source)
    loaded = {stem: _loaded(path, seconds) for stem, path in files.items()}
    first = next(iter(loaded.values()))
    network = first.model if len(files) == 1 else _together(loaded)
    digests = {path.name: sha256(path) for path in files.values()}
    return ImportedWaveform(network, first.rate, overlap, licence, origin, digests)


def _files(source: Path) -> dict[str, Path]:
    """The files to read, by the stem that each is taken for; "" for all of its stems."""
    if not source.is_dir():
        return {"": source}
    names = sorted(path for path in source.iterdir() if path.suffix in (".th", ".safetensors"))
    found = {stem: path for path in names for stem, start in FINE_TUNED.items() if path.name.startswith((start, f"{stem}."))}
    if len(found) != len(FINE_TUNED):
        missing = ", ".join(stem for stem in FINE_TUNED if stem not in found)
        raise KerasepError(f"{source}: no file for {missing}: name one file, or a folder with the four of htdemucs_ft")
    return {stem: found[stem] for stem in FINE_TUNED}


def _loaded(path: Path, seconds: float | None) -> LoadedDemucs:
    if seconds is None:
        return load(path)
    arguments, _ = read(path)
    if not 0 < seconds <= arguments.segment / arguments.rate:  # NaN is neither
        longest = arguments.segment / arguments.rate
        raise UsageError(f"{path}: a segment of {seconds:g} seconds: it was trained on {longest:g}, take as many or fewer")
    return load(path, round(seconds * arguments.rate))


def _together(loaded: dict[str, LoadedDemucs]) -> keras.Model:
    """One network of several on the same mixture, of each of which one stem is taken."""
    sizes = {(one.segment, one.rate, one.channels) for one in loaded.values()}
    if len(sizes) > 1:
        raise KerasepError("the four files take segments of different lengths: give one with --segment")
    ((segment, _, channels),) = sizes
    mixture = keras.Input((segment, channels), name="mixture")
    stems = {}
    for stem, one in loaded.items():
        one.model.name = f"htdemucs_{stem}"
        stems[stem] = one.model(mixture)[stem]
    return keras.Model(mixture, stems, name="htdemucs_ft")
