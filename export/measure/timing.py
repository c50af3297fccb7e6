"""How files are timed side by side, and what on."""

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
    """The machine, and the versions that matter."""
    return {
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }


def in_turns(parts: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds that each takes, one after the other again and again, so that a slow moment of the machine hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for repetition in range(WARM_UP + REPETITIONS):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if repetition >= WARM_UP:
                samples[name].append(time.perf_counter() - start)
    return samples
