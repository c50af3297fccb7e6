"""What a measurement was made on and with."""

import os
import platform
import re
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kerasep


def describe(*packages: str) -> dict[str, Any]:
    """The machine, the versions that matter, and the checkout."""
    return {
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "gpu": _gpu(), "system": platform.platform()},
        "versions": {
            "kerasep": kerasep.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
        },
        "commit": commit(),
    }


def _version(package: str) -> str:
    """Of ONNX Runtime, the one that is imported: there are packages of several names."""
    return import_module(package).__version__ if package == "onnxruntime" else version(package)


def commit() -> str | None:
    """What the checkout stands at, None where there is none; with a + where it has changes of its own."""
    git = shutil.which("git")
    if git is None:
        return None
    root = Path(__file__).parents[1]
    asked = ([git, "-C", str(root), "rev-parse", "HEAD"], [git, "-C", str(root), "status", "--porcelain"])
    head, changes = (subprocess.run(call, capture_output=True, text=True, check=False) for call in asked)  # noqa: S603
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else None


def megabytes(key: str) -> float:
    """Memory of this process, as Linux names it: VmRSS, what it has, or VmHWM, the most it has had."""
    return int(re.findall(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _gpu() -> str | None:
    """Name and driver, where there is one of NVIDIA's."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None  # noqa: S603
