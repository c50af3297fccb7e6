"""Open-Unmix's checkpoints (open-unmix-pytorch): one PyTorch state dict per target.

What changes on the way to `kerasep.models.openunmix`: the two biases of an LSTM become their sum; the input mean changes its
sign; flattened spectrograms run (bins, channels) instead of (channels, bins).
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.checks import parse
from kerasep.errors import KerasepError, first_line
from kerasep.importers import pytorch
from kerasep.importers.imported import Imported, check_finite
from kerasep.importers.pytorch import State
from kerasep.inference.artifact import sha256
from kerasep.models import build
from kerasep.models.openunmix import seen_bins
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training.recipe import RECIPES

FILE = re.compile(r"([A-Za-z]\w*?)(?:[-_]([0-9a-f]{8}))?\.pth")  # target, and the first digits of the file's sha256
UNUSED = {"stft.window", "transform.0.window", "sample_rate"}  # in early official files; open-unmix-pytorch ignores them too
OFFICIAL = Spectrogram()  # of umx, umxhq and umxl


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network, as its tensors show them.

    Attributes:
        hidden: features between layers.
        seen: bins that the network looks at.
        bins: bins of the spectrogram.
        channels: audio channels, 1 or 2.
        depth: LSTM layers.
        bidirectional: whether they also run backwards.
    """

    hidden: int
    seen: int
    bins: int
    channels: int
    depth: int
    bidirectional: bool


def load(
    folder: Path,
    targets: tuple[str, ...] | None = None,
    rate: int | None = None,
    hop: int | None = None,
    licence: str | None = None,
    origin: str = "an Open-Unmix checkpoint",
) -> Imported:
    """Read a folder that Open-Unmix's training wrote, or one with state dicts alone.

    Args:
        folder: has TARGET.pth or TARGET-SHA256.pth per target; training also writes TARGET.json and separator.json.
        targets: which to read; None for all.
        rate: sample rate in Hz, needed where no JSON file in the folder gives it; overrides the file's.
        hop: of the STFT in samples, likewise.
        licence: terms of use of the weights.
        origin: who trained them.

    Raises:
        KerasepError: PyTorch or a file is missing; a file is damaged or from another network; sizes differ between targets.

    Example:
        openunmix.load(Path("umxse"), ("speech", "noise"), rate=16000, hop=512).write_artifact(Path("umxse.onnx"))
    """
    files = _files(folder, targets)
    states = {target: read(path) for target, path in files.items()}
    sizes = {target: sizes_of(state, files[target]) for target, state in states.items()}
    first = next(iter(files))
    for target, found in sizes.items():
        if found != sizes[first]:
            raise KerasepError(
                f"{files[target]}: differs in size from {files[first].name}: import them one by one with --targets"
            )
        check(states[target], found, files[target])
    spectrogram = _spectrogram(folder, first, sizes[first], states[first], {"rate": rate, "hop": hop})
    defaults = {"origin": origin} | ({"licence": licence} if licence else {})
    return from_states(states, spectrogram, defaults, {path.name: sha256(path) for path in files.values()})


def from_states(
    states: dict[str, State], spectrogram: Spectrogram, defaults: dict[str, Any], files: dict[str, str] | None = None
) -> Imported:
    """Build networks from checked state dicts of equal size, one per target; filtering defaults to that of Open-Unmix."""
    sizes = sizes_of(next(iter(states.values())), Path())
    options = options_of(sizes, spectrogram)
    network = build("openunmix", spectrogram, options, tuple(states))
    for target, state in states.items():
        assign(network.get_layer(target), state, sizes)
    recipe = replace(RECIPES["openunmix"], options=options, spectrogram=spectrogram, epochs=dict.fromkeys(states, 1000))
    filtering = {"mask": "none", "exponent": 1.0, "wiener": 1 if len(states) > 1 else 0, "unclaimed": "dropped"}
    return Imported(network, recipe, tuple(states), filtering | defaults, files or {})


def read(path: Path) -> State:
    """Read a target's state dict.

    Raises:
        KerasepError: the file is not a state dict, is damaged, or has another sha256 than its name says.
    """
    named = FILE.fullmatch(path.name)
    if named and named[2] and not sha256(path).startswith(named[2]):
        raise KerasepError(f"{path}: its sha256 does not start with {named[2]}, as its name says: download it again")
    state = pytorch.read(path)
    check_finite(state, path)
    return state


def sizes_of(state: State, path: Path) -> Sizes:
    """Sizes from the shapes of tensors. Raises KerasepError if no network of Open-Unmix has such shapes."""
    try:
        hidden, inputs = state["fc1.weight"].shape
        (seen,), (bins,) = state["input_mean"].shape, state["output_mean"].shape
    except (KeyError, ValueError) as error:
        raise KerasepError(
            f"{path}: not an Open-Unmix checkpoint: fc1.weight, input_mean or output_mean is missing or has a wrong shape"
        ) from error
    depth = sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in state)
    sizes = Sizes(hidden, seen, bins, inputs // max(seen, 1), depth, "lstm.weight_ih_l0_reverse" in state)
    if not (depth and hidden and seen) or hidden % 2 or bins % 2 == 0 or seen > bins or sizes.channels not in (1, 2):
        raise KerasepError(f"{path}: not an Open-Unmix checkpoint: impossible {sizes}")
    return sizes


def check(state: State, sizes: Sizes, path: Path) -> None:
    """Check that every tensor is there, has its shape, and there is no other. Raises KerasepError naming the first at fault."""
    expected = _shapes(sizes)
    for name, shape in expected.items():
        if name not in state:
            raise KerasepError(f"{path}: {name} is missing: not a complete Open-Unmix checkpoint")
        if state[name].shape != shape:
            raise KerasepError(f"{path}: {name} is {state[name].shape} and should be {shape}: not an Open-Unmix checkpoint")
    for name in state:
        if name not in expected and name not in UNUSED and not name.endswith(".num_batches_tracked"):
            raise KerasepError(f"{path}: holds {name}, which Open-Unmix does not have: a checkpoint of another network")


def options_of(sizes: Sizes, spectrogram: Spectrogram) -> dict[str, Any]:
    """Keywords for `kerasep.models.openunmix.openunmix`, without those at their defaults."""
    options: dict[str, Any] = {"hidden": sizes.hidden}
    if seen_bins(spectrogram) != sizes.seen:
        options["bandwidth"] = (sizes.seen - 0.5) * spectrogram.rate / spectrogram.fft
    if sizes.depth != 3:
        options["depth"] = sizes.depth
    if not sizes.bidirectional:
        options["bidirectional"] = False
    return options


def assign(network: keras.Model, state: State, sizes: Sizes) -> None:
    """Set the weights of one target's network from a checked state dict."""

    def bins_first(name: str, axis: int) -> np.ndarray:
        """Reorder a flattened axis from (channels, bins) to (bins, channels)."""
        values = np.moveaxis(state[name], axis, -1)  # (..., channels * bins)
        swapped = values.reshape(*values.shape[:-1], sizes.channels, -1).swapaxes(-1, -2)  # (..., bins, channels)
        return np.moveaxis(swapped.reshape(values.shape), -1, axis)

    def normalisation(name: str) -> list[np.ndarray]:
        keys = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return [bins_first(key, 0) if name == "bn3" else state[key] for key in keys]

    def lstm(suffix: str) -> list[np.ndarray]:
        # Both order the gates input, forget, cell, output.
        bias = state[f"lstm.bias_ih_{suffix}"] + state[f"lstm.bias_hh_{suffix}"]
        return [state[f"lstm.weight_ih_{suffix}"].T, state[f"lstm.weight_hh_{suffix}"].T, bias]

    def put(layer: str, *weights: np.ndarray) -> None:
        network.get_layer(layer).set_weights(list(weights))

    put("standardise", -state["input_mean"], state["input_scale"])
    put("fc1", bins_first("fc1.weight", 1).T)
    put("bn1", *normalisation("bn1"))
    for number in range(sizes.depth):
        backward = lstm(f"l{number}_reverse") if sizes.bidirectional else []
        put(f"lstm{number}", *lstm(f"l{number}"), *backward)
    put("fc2", state["fc2.weight"].T)
    put("bn2", *normalisation("bn2"))
    put("fc3", bins_first("fc3.weight", 0).T)
    put("bn3", *normalisation("bn3"))
    put("rescale", state["output_scale"], state["output_mean"])


def _files(folder: Path, targets: tuple[str, ...] | None) -> dict[str, Path]:
    if not folder.is_dir():
        raise KerasepError(f"{folder}: no such folder: name the one with the .pth files")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.pth")):
        if match := FILE.fullmatch(path.name):
            if match[1] in found:
                raise KerasepError(f"{path}: a second file for {match[1]}: remove one of them")
            found[match[1]] = path
    if not found:
        raise KerasepError(f"{folder}: has no TARGET.pth: name the folder that Open-Unmix's training wrote")
    if missing := [target for target in targets or () if target not in found]:
        raise KerasepError(f"{folder}: has no {missing[0]}.pth: it has {', '.join(found)}")
    order = targets or [target for target in ("vocals", "drums", "bass", "other", *found) if target in found]
    return {target: found[target] for target in dict.fromkeys(order)}


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that a network has."""
    hidden, outputs = sizes.hidden, sizes.bins * sizes.channels
    units = hidden // 2 if sizes.bidirectional else hidden
    shapes: dict[str, tuple[int, ...]] = {
        "input_mean": (sizes.seen,),
        "input_scale": (sizes.seen,),
        "output_scale": (sizes.bins,),
        "output_mean": (sizes.bins,),
        "fc1.weight": (hidden, sizes.seen * sizes.channels),
        "fc2.weight": (hidden, 2 * hidden),
        "fc3.weight": (outputs, hidden),
    }
    for name, size in (("bn1", hidden), ("bn2", hidden), ("bn3", outputs)):
        shapes |= {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
    for layer in range(sizes.depth):
        for suffix in ("", "_reverse") if sizes.bidirectional else ("",):
            shapes[f"lstm.weight_ih_l{layer}{suffix}"] = (4 * units, hidden)
            shapes[f"lstm.weight_hh_l{layer}{suffix}"] = (4 * units, units)
            shapes |= {f"lstm.bias_{part}_l{layer}{suffix}": (4 * units,) for part in ("ih", "hh")}
    return shapes


def _spectrogram(folder: Path, target: str, sizes: Sizes, state: State, given: dict[str, int | None]) -> Spectrogram:
    """Rate and hop as given, else from separator.json or TARGET.json, from the state dict, or official where the size is."""
    fft = 2 * (sizes.bins - 1)
    known = {"rate": OFFICIAL.rate, "hop": OFFICIAL.hop} if fft == OFFICIAL.fft else {}
    if "sample_rate" in state and state["sample_rate"].size == 1:
        known["rate"] = int(state["sample_rate"].item())
    known |= _settings(folder, target, fft)
    known |= {key: value for key, value in given.items() if value is not None}
    if missing := [f"--{key}" for key in ("rate", "hop") if key not in known]:
        raise KerasepError(f"{folder}: has no separator.json, and not the official fft size: add {' and '.join(missing)}")
    try:
        return Spectrogram(rate=known["rate"], channels=sizes.channels, fft=fft, hop=known["hop"])
    except ValueError as error:
        raise KerasepError(f"{folder}: {error}: correct its JSON file, --rate or --hop") from error


def _settings(folder: Path, target: str, fft: int) -> dict[str, int]:
    """Hop, and rate where it is written, from the JSON files of Open-Unmix's training; nothing where there are none."""
    path = next((path for path in (folder / "separator.json", folder / f"{target}.json") if path.is_file()), None)
    if path is None:
        return {}
    try:
        content = parse(path.read_bytes())
        content = content if path.name == "separator.json" else content["args"]
        found = {"hop": int(content["nhop"])} | ({"rate": int(content["sample_rate"])} if "sample_rate" in content else {})
        nfft = int(content["nfft"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise KerasepError(f"{path}: not as Open-Unmix writes it ({first_line(error)}): repair or remove it") from error
    if nfft != fft:
        raise KerasepError(f"{path}: says nfft {nfft}, but the tensors need {fft}: they do not belong together")
    return found
