"""Virtual environments for packages that ours must not share theirs with, made on first use and kept in the cache."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

from kerasep.errors import KerasepError
from kerasep.files import cache

TORCH = "torch==2.13.0"


class Original(NamedTuple):
    """A package to compare with.

    Attributes:
        name: of its environment, and in messages.
        package: installed without its dependencies: most of them are for files, or for training.
        needs: the dependencies that separating needs.
    """

    name: str
    package: str
    needs: tuple[str, ...]


OPENUNMIX = Original("openunmix", "openunmix==1.3.0", (TORCH, "numpy", "tqdm"))


def environment(original: Original) -> Path:
    """The Python of a package's environment.

    Raises:
        KerasepError: it cannot be made.
    """
    name, package, needs = original
    wanted = " ".join((sys.version, *needs, package))
    folder = cache() / "peers" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    print(f"{name}: installing {package}, {', '.join(needs)} into {folder}", file=sys.stderr)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    try:
        venv.create(folder, clear=True, with_pip=True)
        for arguments in (needs, ("--no-deps", package)):
            subprocess.run([*install, *arguments], check=True, capture_output=True, text=True, encoding="utf-8")  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        output = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise KerasepError(f"{name}: its packages cannot be installed ({output[-1] if output else error})") from error
    (folder / "ready").touch()
    return python
