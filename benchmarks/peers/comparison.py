"""Our separators and the PyTorch originals on the same music and device, with as many threads, in turns."""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.measure.calibration import SIZE, rates
from benchmarks.measure.environments import environment
from benchmarks.measure.machine import describe, tf32
from benchmarks.measure.music import music
from benchmarks.measure.workers import Worker
from benchmarks.peers.peers import PEERS
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference.providers import CPU, Provider, check
from kerasep.signal.levels import agreement_db

SECONDS = 30  # of music
DEVICES = {CPU: "cpu", "cuda": "cuda", "tensorrt": "cuda"}  # PyTorch's, by ONNX Runtime's provider
TORCH_WORKER = Path(__file__).with_name("torch_worker.py")


def measure(names: list[str], quick: bool = False, provider: str = CPU) -> dict[str, Any]:
    """Every sample of ours and theirs, by peer and way of running it, and how far stems agree.

    Args:
        names: of peers.
        quick: two turns each.
        provider: NAME[:key=value,...] of ONNX Runtime; PyTorch runs on the same device.

    Raises:
        UsageError: an unknown peer or provider.
        KerasepError: none can be installed; those that cannot are listed under `missing`.
    """
    for name in names:
        if name not in PEERS:
            raise UsageError(f"unknown peer {name}: choose from {', '.join(PEERS)}")
    asked = Provider.parse(provider).name
    check(asked)
    if asked not in DEVICES:
        raise UsageError(f"--provider {provider}: PyTorch is measured with {', '.join(DEVICES)}")
    found, missing = [], []
    for name in names:
        try:
            found.append(_compare(name, 2 if quick else PEERS[name].rounds, provider))
        except KerasepError as error:
            missing.append(str(error))
    if not found:
        raise KerasepError("; ".join(missing))
    about = {"seconds": SECONDS, "provider": provider, "peers": found, "missing": missing}
    return describe("numpy", "scipy", "onnxruntime") | about


def _compare(name: str, rounds: int, provider: str) -> dict[str, Any]:
    peer, threads = PEERS[name], len(os.sched_getaffinity(0))
    python, processor = environment(peer.original), Provider.parse(provider).name
    with tempfile.TemporaryDirectory(prefix="kerasep-") as temporary:
        folder = Path(temporary)
        np.save(folder / "audio.npy", music(SECONDS))
        with Worker([str(python), str(TORCH_WORKER), name, str(folder), DEVICES[processor], str(threads)]) as theirs:
            start = theirs.answer()
            file = peer.ours(folder)
            with Worker(
                [sys.executable, "-m", "benchmarks.peers.ours_worker", str(file), str(folder), provider], tf32(provider)
            ) as ours:
                loaded = ours.answer()
                samples: dict[str, dict[str, list[float]]] = {way: {"ours": [], "theirs": []} for way in start["ways"]}
                products, product = [], rates(threads)
                for turn in tqdm(range(1 + rounds), desc=name, unit="round", leave=False, disable=None):
                    products.append(product()["product"])
                    for way, sides in samples.items():
                        for side, worker in (("ours", ours), ("theirs", theirs)):
                            seconds = worker.ask(way)
                            sides[side] += [seconds] if turn else []
                agreements = {way: _agreement(folder, way, ours, theirs) for way in samples} if peer.same else {}
                looked_into = rounds if name == "openunmix" and processor == CPU else 0
                parts = [ours.ask("parts") for _ in range(looked_into)]
                operators = [ours.ask("operators") for _ in range(looked_into)]
                peaks = {"ours": ours.peak_megabytes(), "theirs": theirs.peak_megabytes()}
        manifest = load(str(file)).manifest
    for way, sides in samples.items():
        found = ratios(sides)
        print(f"{peer.what}, {way}: theirs / ours {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")
    return {
        "name": name,
        "what": peer.what,
        "versions": start["versions"],
        "samples": samples,
        "agreement_db": agreements,
        "peak_megabytes": peaks,
        "loaded_megabytes": loaded,
        "parts": parts,
        "operators": operators,
        "multiply_adds_per_second": manifest.multiply_adds,
        "product": {"multiply_adds": SIZE**3, "samples": products},
    }


def ratios(sides: dict[str, list[float]]) -> list[float]:
    """Theirs over ours, turn by turn."""
    return [theirs / ours for ours, theirs in zip(sides["ours"], sides["theirs"], strict=True)]


def _agreement(folder: Path, way: str, ours: Worker, theirs: Worker) -> dict[str, float]:
    """How far each stem of ours agrees with theirs, in dB."""
    theirs.ask(f"stems {way}")
    with np.load(ours.ask(f"stems {way}")) as found, np.load(folder / f"{way}.npz") as expected:
        length = min(len(found[target]) for target in found) - 4096  # not every original reconstructs the end of a song
        return {target: agreement_db([(found[target][:length], expected[target][:length])]) for target in found}
