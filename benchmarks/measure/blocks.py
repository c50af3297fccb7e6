"""What cutting a song into blocks costs a recurrent network: agreement with the song in one piece, and time."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure.machine import describe
from kerasep.datasets.musdb import songs
from kerasep.errors import UsageError
from kerasep.files import write_json
from kerasep.hub import load
from kerasep.inference.graphs import SpectrogramGraph
from kerasep.inference.open import open_separator
from kerasep.signal.levels import agreement_db

BLOCKS, CONTEXTS = (300, 600, 1500, 3000), (0, 16, 64, 128, 256)  # frames


def measure(root: Path, model: str, output: Path) -> None:
    """Measure by frames in a block and frames of context on either side, print and write to `output`.

    Args:
        root: MUSDB18, whose test songs are joined into one.
        model: a trained network with LSTMs: the loss at the ends of a block depends on how long they remember.
    """
    audio = np.concatenate([song.read("mixture") for song in songs(root, "test", progress=True)])
    artifact = load(model)
    manifest = artifact.manifest
    graph = manifest.graph
    if not isinstance(graph, SpectrogramGraph):
        raise UsageError(f"{model}: no spectrogram graph, whose blocks and context could be chosen")
    grid = graph.masking.filter_frames
    whole = grid * -(-graph.spectrogram.frames(len(audio)) // grid)

    def separated(block: int, context: int) -> tuple[dict[str, np.ndarray], float]:
        artifact.manifest = replace(manifest, graph=replace(graph, blocks=replace(graph.blocks, frames=block, context=context)))
        start = time.perf_counter()
        stems = open_separator(artifact, mask="none", wiener=0)(audio, graph.spectrogram.rate)
        return stems, time.perf_counter() - start

    separated(whole, 0)  # warms up
    expected, seconds = separated(whole, 0)
    rows = []
    for block in BLOCKS:
        for context in CONTEXTS:
            stems, taken = separated(block, context)
            db = {target: agreement_db([(stems[target], stem)]) for target, stem in expected.items()}
            rows.append({"block": block, "context": context, "seconds": taken, "agreement_db": db})
            ends = f"{context} on either side"
            print(f"{block} frames, {ends}: {min(db.values()):.1f} dB at least, {taken / seconds:.2f} x the time")
    result = {
        "model": manifest.name,
        "frames": graph.spectrogram.frames(len(audio)),
        "seconds_in_one_piece": seconds,
        "rows": rows,
    }
    write_json(output, {**describe("numpy", "scipy", "onnxruntime"), **result})
