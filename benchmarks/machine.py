"""What a measurement was made on and with, and how things are timed side by side."""

import os
import platform
import shutil
import subprocess
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


def commit() -> str | None:
    """What the checkout stands at, None where there is none; with a + where it has changes of its own."""
    git = shutil.which("git")
    if git is None:
        return None
    root = Path(__file__).parents[1]
    asked = ([git, "-C", str(root), "rev-parse", "HEAD"], [git, "-C", str(root), "status", "--porcelain"])
    head, changes = (subprocess.run(call, capture_output=True, text=True, check=False) for call in asked)  # noqa: S603
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else None


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
