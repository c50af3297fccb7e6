"""Streaming on one core: the time of a hop, the latency of the stems, and whether memory grows."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.machine import describe
from benchmarks.measure.music import song
from kerasep.files import write_json
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.stream import StreamSeparator
from kerasep.machine import peak_megabytes
from kerasep.measurements import load_or_start, replace_row

SECONDS = 60
WARM_UP = 5  # seconds of these, which are not counted


def measure(models: list[Path], output: Path) -> None:
    """Stream music through step graphs, on the first of this process' cores, and add the time of every hop to `output`."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        surroundings = describe("numpy", "scipy", "onnxruntime", "ai-edge-litert")
        result = load_or_start(output, {**surroundings, "models": []})
        for path in models:
            result["models"] = replace_row(result["models"], {**_model(path), "machine": surroundings["machine"]})
            write_json(output, result)
    finally:
        os.sched_setaffinity(0, cores)


def _model(path: Path) -> dict[str, Any]:
    artifact = Artifact(path, threads=1)
    stream = StreamSeparator(artifact)
    music = song()
    hop, hops = stream.hop, SECONDS * stream.rate // stream.hop
    seconds, late, before = [], 0, 0.0
    for number in range(hops):
        sound = np.take(music, range(number * hop, (number + 1) * hop), axis=0, mode="wrap")
        start = time.perf_counter()
        stream.push(sound)
        seconds.append(time.perf_counter() - start)
        late = max(late, stream.given - stream.taken + hop)  # the first sample of this hop arrived one hop ago
        if number == WARM_UP * stream.rate // hop:
            before, seconds = peak_megabytes(), []
    print(f"{path.name}: median {1000 * np.median(seconds):.2f} ms, 99 % {1000 * np.quantile(seconds, 0.99):.2f} ms")
    return {
        "name": artifact.manifest.name,
        "format": path.suffix[1:],
        "sha256": sha256(path),
        "targets": artifact.manifest.targets,
        "hop_seconds": hop / stream.rate,
        "latency_seconds": stream.latency / stream.rate,
        "latency_seen_seconds": late / stream.rate,
        "look_ahead_frames": stream.graph.look_ahead,
        "grown_kilobytes": round(1000 * (peak_megabytes() - before)),
        "samples": seconds,
    }
