"""What a measurement was made on and with."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kerasep


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
