"""What a measurement should say of the process and the checkout it was made with."""

import math
import shutil
import subprocess
from pathlib import Path


def peak_megabytes(process: int | None = None) -> float:
    """The most memory that this process, or another by its id, has had so far, in megabytes of 10^6 bytes.

    Linux says it of the process alone; elsewhere it is not known: NaN.

    Example:
        >>> peak_megabytes() > 1
        True
    """
    status = Path(f"/proc/{process or 'self'}/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), math.nan)


def commit(checkout: Path) -> str | None:
    """The commit that a checkout stands at, None where it is no checkout or git is not installed."""
    git = shutil.which("git")
    if git is None or not (checkout / ".git").exists():
        return None
    command = [git, "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False).stdout.strip() or None
