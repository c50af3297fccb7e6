"""A process that runs cases one after the other: `KIND SEED FOLDER SHARED` a line in, a line of JSON out."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from kerasep.cli import main

from .cases import KINDS
from .checks import faults


def one(kind: str, seed: int, folder: Path, shared: Path) -> dict[str, object]:
    """Run a case in `folder`: what was wrong with it, and what it took."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    command = KINDS[kind](random.Random(f"{kind} {seed}"), folder, shared)  # noqa: S311
    before = set(folder.rglob("*"))
    os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"), XDG_CACHE_HOME=str(folder / "home" / ".cache"))
    import tempfile

    tempfile.tempdir = None  # it is read once
    there = Path.cwd()
    os.chdir(folder)
    start, memory = time.perf_counter(), resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    try:
        with captured(folder / "said") as said:
            try:
                code = main(command)
            except SystemExit as error:  # argparse
                code = int(error.code or 0)
            except BaseException as error:
                print("Traceback", type(error).__name__, error, file=sys.stderr)
                code = 1
    finally:
        os.chdir(there)
    seconds, megabytes = time.perf_counter() - start, resident("VmHWM") - memory
    text = said.read_text(errors="replace")
    said.unlink()
    found = faults(folder, command, code, text, before)
    if (folder / "out").is_mount():
        subprocess.run(["umount", str(folder / "out")], check=True)
    return {
        "faults": found,
        "code": code,
        "seconds": round(seconds, 3),
        "megabytes": round(megabytes),
        "command": command,
        "said": text[-2000:],
    }


@contextlib.contextmanager
def captured(path: Path):
    """Both streams of this process, C libraries' too, in a file."""
    sys.stdout.flush(), sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield path
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


def resident(field: str) -> float:
    """Megabytes of this process, as Linux has them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        kind, seed, folder, shared = line.rstrip("\n").split("\t")
        print(json.dumps(one(kind, int(seed), Path(folder), Path(shared))), file=answers)
