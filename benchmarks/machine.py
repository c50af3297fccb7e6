"""What a measurement was made on and with, and how things are timed side by side."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kerasep

REPETITIONS = 15
WARM_UP = 2


def describe(*packages: str) -> dict[str, Any]:
    """The machine and the versions that matter."""
    return {
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "system": platform.platform()},
        "versions": {
            "kerasep": kerasep.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


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
