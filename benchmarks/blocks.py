"""What it costs to cut a song into blocks for a network that remembers: agreement with the song in one piece, and time."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.music import agreement
from kerasep.datasets.musdb import songs
from kerasep.files import write_json
from kerasep.hub import load
from kerasep.inference.open import open_separator

BLOCKS, CONTEXTS = (300, 600, 1500, 3000), (0, 16, 64, 128, 256)  # frames


def measure(root: Path, model: str, output: Path) -> None:
    """Measure by frames in a block and frames around it, print and write to `output`.

    Args:
        root: MUSDB18, whose test songs are played one after the other.
        model: a trained network with LSTMs: what a block's ends lack depends on what they have learnt to remember.
    """
    audio = np.concatenate([song.read("mixture") for song in songs(root, "test", progress=True)])
    artifact = load(model)
    manifest = artifact.manifest
    frames = manifest.spectrogram.frames(len(audio))
    whole = manifest.filter_frames * -(-frames // manifest.filter_frames)

    def separated(block: int, context: int) -> tuple[dict[str, np.ndarray], float]:
        artifact.manifest = replace(manifest, block_frames=block, context_frames=context)
        start = time.perf_counter()
        stems = open_separator(artifact, mask="none", wiener=0)(audio, manifest.spectrogram.rate)
        return stems, time.perf_counter() - start

    separated(whole, 0)  # warms up
    expected, seconds = separated(whole, 0)
    rows = []
    for block in BLOCKS:
        for context in CONTEXTS:
            stems, taken = separated(block, context)
            db = {target: agreement(stem, stems[target]) for target, stem in expected.items()}
            rows.append({"block": block, "context": context, "seconds": taken, "agreement_db": db})
            print(f"{block} frames, {context} around: {min(db.values()):.1f} dB at least, {taken / seconds:.2f} x the time")
    result = {"model": manifest.name, "frames": frames, "seconds_in_one_piece": seconds, "rows": rows}
    write_json(output, {**describe("numpy", "scipy", "onnxruntime"), **result})
