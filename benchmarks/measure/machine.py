"""The machine, the packages and the commit that a measurement was made with."""

import os
import platform
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kerasep
from kerasep.machine import commit

ROOT = Path(__file__).parents[2]


def describe(*packages: str) -> dict[str, Any]:
    """The machine, the versions of kerasep, Python and these packages, and the commit of the checkout."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "gpu": _nvidia("name,driver_version"),
            "system": platform.platform(),
        },
        "versions": {
            "kerasep": kerasep.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
        },
        "commit": commit(ROOT),
    }


def _version(package: str) -> str:
    """Of ONNX Runtime, the version of the module: packages of several names install it."""
    return import_module(package).__version__ if package == "onnxruntime" else version(package)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def tf32(provider: str) -> dict[str, str]:
    """An environment in which a provider of ONNX Runtime does without TF32, unless it asks for it: TensorRT has no option."""
    return {} if "tf32=1" in provider else {"NVIDIA_TF32_OVERRIDE": "0"}


def gpu_megabytes() -> float | None:
    """Memory in use on NVIDIA GPUs, of all processes, in megabytes of 10^6 bytes; None where there is none."""
    try:
        return sum(float(line) for line in (_nvidia("memory.used", ",nounits") or "nothing").splitlines()) * 2**20 / 1e6
    except ValueError:  # no GPU, or one that does not say
        return None


def _nvidia(query: str, style: str = "") -> str | None:
    """What NVIDIA's driver says of its GPUs, a line each; None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--query-gpu={query}", f"--format=csv,noheader{style}"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)  # noqa: S603
    return done.stdout.strip() or None if done.returncode == 0 else None
