"""Open-Unmix's checkpoints (open-unmix-pytorch): state dicts of PyTorch, one file for each target.

What weights are translated for (`kerasep.models.openunmix`): an LSTM's two biases are added up; the input mean is not negated;
a flattened spectrogram has bins before channels, theirs has channels before bins.
"""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.errors import KerasepError, first_line
from kerasep.importers.imported import Imported, check_finite
from kerasep.inference.artifact import sha256
from kerasep.models import build
from kerasep.models.openunmix import seen_bins
from kerasep.signal.stft import Spectrogram
from kerasep.training.recipe import RECIPES

FILE = re.compile(r"([A-Za-z]\w*?)(?:[-_]([0-9a-f]{8}))?\.pth")
# Early official files hold these too; the package drops them unseen.
LEFT_OVER = {"stft.window", "transform.0.window", "sample_rate"}
PUBLISHED = Spectrogram()

State = dict[str, np.ndarray]


def load(
    folder: Path,
    targets: tuple[str, ...] | None = None,
    rate: int | None = None,
    hop: int | None = None,
    licence: str | None = None,
    origin: str = "an Open-Unmix checkpoint",
) -> Imported:
    """Read a folder as Open-Unmix's training writes it, or one of state dicts alone.

    Args:
        folder: holds TARGET.pth or TARGET-SHA.pth for each target; its training also writes TARGET.json and separator.json.
        targets: which to read, all if None.
        rate: sample rate in Hz, where no JSON in the folder says it.
        hop: of the STFT, likewise.
        licence: terms of use of the weights.
        origin: who made them.

    Raises:
        KerasepError: PyTorch is missing; a file is missing, no state dict, another network's or damaged; sizes differ.
    """
    files = _files(folder, targets)
    states = {target: read(path) for target, path in files.items()}
    sizes = {target: sizes_of(state, files[target]) for target, state in states.items()}
    first = next(iter(files))
    for target, found in sizes.items():
        if found != sizes[first]:
            raise KerasepError(f"{files[target]}: not as large as {files[first].name}: import one by one with --targets")
        check(states[target], found, files[target])
    spectrogram = _spectrogram(folder, first, sizes[first], states[first], {"rate": rate, "hop": hop})
    defaults = {"origin": origin} | ({"licence": licence} if licence else {})
    return from_states(states, spectrogram, defaults, {path.name: sha256(path) for path in files.values()})


def from_states(
    states: dict[str, State], spectrogram: Spectrogram, defaults: dict[str, Any], files: dict[str, str] | None = None
) -> Imported:
    """Networks with checked state dicts of one size, a target each; filtered by default as Open-Unmix filters."""
    sizes = sizes_of(next(iter(states.values())), Path())
    options = options_of(sizes, spectrogram)
    network = build("openunmix", spectrogram, options, tuple(states))
    for target, state in states.items():
        assign(network.get_layer(target), state, sizes)
    recipe = replace(RECIPES["openunmix"], options=options, spectrogram=spectrogram, epochs=dict.fromkeys(states, 1000))
    filtered = {"mask": "none", "exponent": 1.0, "wiener": 1 if len(states) > 1 else 0, "unclaimed": "dropped"}
    return Imported(network, recipe, tuple(states), filtered | defaults, files or {})


def read(path: Path) -> State:
    """The tensors of a state dict, as float32 arrays. Never unpickles anything else.

    Raises:
        KerasepError: PyTorch is missing; the file is no state dict, holds code, is cut short or not what its name says.
    """
    try:
        import torch
    except ImportError as error:
        raise KerasepError("PyTorch is not installed, which .pth files are read with: pip install 'kerasep[torch]'") from error
    named = FILE.fullmatch(path.name)
    if named and named[2] and not sha256(path).startswith(named[2]):
        raise KerasepError(f"{path}: its sha256 does not start with {named[2]}, as its name says: fetch it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise KerasepError(
            f"{path}: holds more than tensors, or is no PyTorch file: it is not opened; fetch it again"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise KerasepError(f"{path}: cannot be read ({first_line(error)}): fetch it again") from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise KerasepError(
            f"{path}: no state dict (a whole training checkpoint, perhaps): name the .pth file of the best weights"
        )
    state = {str(name): tensor.detach().to(torch.float32).numpy() for name, tensor in content.items()}
    check_finite(state, path)
    return state


def assign(network: keras.Model, state: State, sizes: dict[str, Any]) -> None:
    """Give one target's network a checked state dict."""

    def spread(name: str, axis: int) -> np.ndarray:
        """A tensor with (channels, bins) along an axis, with (bins, channels) instead."""
        values = np.moveaxis(state[name], axis, -1)
        swapped = values.reshape(*values.shape[:-1], sizes["channels"], -1).swapaxes(-1, -2)
        return np.moveaxis(swapped.reshape(values.shape), -1, axis)

    def normalisation(name: str) -> list[np.ndarray]:
        keys = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return [spread(key, 0) if name == "bn3" else state[key] for key in keys]

    def lstm(suffix: str) -> list[np.ndarray]:
        # Gates in the same order, input, forget, cell, output.
        bias = state[f"lstm.bias_ih_{suffix}"] + state[f"lstm.bias_hh_{suffix}"]
        return [state[f"lstm.weight_ih_{suffix}"].T, state[f"lstm.weight_hh_{suffix}"].T, bias]

    def give(layer: str, *weights: np.ndarray) -> None:
        network.get_layer(layer).set_weights(list(weights))

    give("standardise", -state["input_mean"], state["input_scale"])
    give("fc1", spread("fc1.weight", 1).T)
    give("bn1", *normalisation("bn1"))
    for number in range(sizes["depth"]):
        backward = lstm(f"l{number}_reverse") if sizes["bidirectional"] else []
        give(f"lstm{number}", *lstm(f"l{number}"), *backward)
    give("fc2", state["fc2.weight"].T)
    give("bn2", *normalisation("bn2"))
    give("fc3", spread("fc3.weight", 0).T)
    give("bn3", *normalisation("bn3"))
    give("rescale", state["output_scale"], state["output_mean"])


def _files(folder: Path, targets: tuple[str, ...] | None) -> dict[str, Path]:
    if not folder.is_dir():
        raise KerasepError(f"{folder}: no such folder: name the one that holds the .pth files")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.pth")):
        if match := FILE.fullmatch(path.name):
            if match[1] in found:
                raise KerasepError(f"{path}: a second file for {match[1]}: leave one of them")
            found[match[1]] = path
    if not found:
        raise KerasepError(f"{folder}: holds no TARGET.pth: name the folder that Open-Unmix's training wrote")
    if missing := [target for target in targets or () if target not in found]:
        raise KerasepError(f"{folder}: holds no {missing[0]}.pth: it has {', '.join(found)}")
    order = targets or [target for target in ("vocals", "drums", "bass", "other", *found) if target in found]
    return {target: found[target] for target in dict.fromkeys(order)}


def sizes_of(state: State, path: Path) -> dict[str, Any]:
    """What a network's tensors say of it."""
    try:
        hidden, inputs = state["fc1.weight"].shape
        (seen,), (bins,) = state["input_mean"].shape, state["output_mean"].shape
        depth = sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in state)
    except (KeyError, ValueError) as error:
        raise KerasepError(
            f"{path}: not Open-Unmix's: fc1.weight, input_mean or output_mean is missing or misshapen"
        ) from error
    sizes = {"hidden": hidden, "seen": seen, "bins": bins, "channels": inputs // seen, "depth": depth}
    sizes["bidirectional"] = "lstm.weight_ih_l0_reverse" in state
    if not depth or hidden % 2 or bins % 2 == 0 or seen > bins or sizes["channels"] not in (1, 2):
        raise KerasepError(f"{path}: not a network that Open-Unmix builds: its sizes are {sizes}")
    return sizes


def check(state: State, sizes: dict[str, Any], path: Path) -> None:
    """Every tensor there, of its shape, and no other. Raises KerasepError naming the first that is not."""
    expected = _shapes(**sizes)
    for name, shape in expected.items():
        if name not in state:
            raise KerasepError(f"{path}: {name} is missing: not a whole Open-Unmix checkpoint")
        if state[name].shape != shape:
            raise KerasepError(f"{path}: {name} is {state[name].shape} and should be {shape}: not an Open-Unmix checkpoint")
    for name in state:
        if name not in expected and name not in LEFT_OVER and not name.endswith(".num_batches_tracked"):
            raise KerasepError(f"{path}: holds {name}, which Open-Unmix has no use for: a checkpoint of another network")


def _shapes(hidden: int, seen: int, bins: int, channels: int, depth: int, bidirectional: bool) -> dict[str, tuple[int, ...]]:
    units = hidden // 2 if bidirectional else hidden
    shapes: dict[str, tuple[int, ...]] = {
        "input_mean": (seen,),
        "input_scale": (seen,),
        "output_scale": (bins,),
        "output_mean": (bins,),
        "fc1.weight": (hidden, seen * channels),
        "fc2.weight": (hidden, 2 * hidden),
        "fc3.weight": (bins * channels, hidden),
    }
    for name, size in (("bn1", hidden), ("bn2", hidden), ("bn3", bins * channels)):
        shapes |= {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
    for layer in range(depth):
        for side in ("", "_reverse") if bidirectional else ("",):
            shapes[f"lstm.weight_ih_l{layer}{side}"] = (4 * units, hidden)
            shapes[f"lstm.weight_hh_l{layer}{side}"] = (4 * units, units)
            shapes |= {f"lstm.bias_{part}_l{layer}{side}": (4 * units,) for part in ("ih", "hh")}
    return shapes


def _spectrogram(folder: Path, target: str, sizes: dict[str, Any], state: State, given: dict[str, int | None]) -> Spectrogram:
    """As given, or as separator.json or TARGET.json say it; from the tensors alone where they have the published size."""
    fft = 2 * (sizes["bins"] - 1)
    told: dict[str, Any] = {}
    for path, part in ((folder / "separator.json", None), (folder / f"{target}.json", "args")):
        if path.is_file() and not told:
            try:
                content = json.loads(path.read_text())
                content = content[part] if part else content
                told = {"hop": int(content["nhop"])} | (
                    {"rate": int(content["sample_rate"])} if "sample_rate" in content else {}
                )
                if content["nfft"] != fft:
                    raise KerasepError(
                        f"{path}: says nfft {content['nfft']}, and the tensors {fft}: they do not belong together"
                    )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise KerasepError(f"{path}: not as Open-Unmix writes it ({first_line(error)}): repair or remove it") from error
    if "sample_rate" in state:
        told.setdefault("rate", int(state["sample_rate"]))
    if fft == PUBLISHED.fft:
        told = {"rate": PUBLISHED.rate, "hop": PUBLISHED.hop} | told
    told |= {key: value for key, value in given.items() if value is not None}
    if missing := [f"--{key}" for key in ("rate", "hop") if key not in told]:
        raise KerasepError(
            f"{folder}: has no separator.json, and its networks are not of the published size: add {' and '.join(missing)}"
        )
    try:
        return Spectrogram(rate=told["rate"], channels=sizes["channels"], fft=fft, hop=told["hop"])
    except ValueError as error:
        raise KerasepError(f"{folder}: {error}: the JSON beside it, --rate or --hop is wrong") from error


def options_of(sizes: dict[str, Any], spectrogram: Spectrogram) -> dict[str, Any]:
    """Keywords of `kerasep.models.openunmix.openunmix`, those at their defaults left out."""
    options: dict[str, Any] = {"hidden": sizes["hidden"]}
    if seen_bins(spectrogram) != sizes["seen"]:
        options["bandwidth"] = (sizes["seen"] - 0.5) * spectrogram.rate / spectrogram.fft
    if sizes["depth"] != 3:
        options["depth"] = sizes["depth"]
    if not sizes["bidirectional"]:
        options["bidirectional"] = False
    return options
