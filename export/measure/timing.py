"""Times of several functions on the same machine, and what machine that is."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

REPETITIONS = 15
WARM_UP = 2
PACKAGES = ("numpy", "onnx", "onnxruntime", "ai-edge-litert", "tensorflow", "keras", "tf2onnx")


def surroundings() -> dict[str, Any]:
    """The machine, and versions of the packages that matter, as JSON values."""
    return {
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }


def in_turns(parts: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each function, interleaved, so that a slow moment of the machine affects all of them.

    Returns:
        `REPETITIONS` times for each, after `WARM_UP` calls that are not counted.
    """
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for repetition in range(WARM_UP + REPETITIONS):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if repetition >= WARM_UP:
                samples[name].append(time.perf_counter() - start)
    return samples
