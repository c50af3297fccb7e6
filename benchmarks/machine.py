"""What a measurement was made on and with."""

import os
import platform
import shutil
import subprocess
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
