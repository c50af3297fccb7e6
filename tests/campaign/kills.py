"""Commands that are ended at any moment, and called again: no half results in between, the same results in the end."""

import contextlib
import hashlib
import http.server
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import networks
import onnx

from .cases import evaluating
from .checks import LEFT, stems_faults

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENOUGH = 30  # seconds to clean up in
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
SMALL = ["spectrogram.fft=256", "spectrogram.hop=64", "options.vertical=4", "options.horizontal=3", "options.hidden=4"]


class Command(NamedTuple):
    """A command, what to call after it was ended, and what is wrong with its folder in between."""

    first: list[str]
    again: list[str]
    faults: Callable[[Path], list[str]] = lambda _: []
    begin: Callable[[Path], object] = lambda _: None


def commands(shared: Path) -> dict[str, Command]:
    """The commands that write, small enough to be run hundreds of times."""
    model = str(networks.artifact("thesis").path)
    songs = [str(shared / "songs" / f"song.{name}") for name in ("wav", "m4a", "mp3")]
    folders = [str(shared / "long" / f"{number}.wav") for number in range(4)]
    separate = ["separate", *folders, "--model", model, "-o", "out"]
    evaluate = [*evaluating(shared / "data"), "-o", "out"]
    settings = (*SMALL, "batch=2", "seconds=0.3", "steps=3", "jit=false", "epochs.vocals=3")
    recipe = [word for setting in settings for word in ("--set", setting)]
    train = ["train", "--recipe", "conv-norm", "--target", "vocals", "--root", str(shared / "training"), "-o", "out", *recipe]
    pack = ["pack", str(networks.run("thesis")), "-o", "out/model.onnx"]
    return {
        "separate": Command(separate, [*separate, "--overwrite"], lambda folder: stems_faults(folder / "out")),
        "separate over others": Command(
            [*separate, "--overwrite"],
            [*separate, "--overwrite"],
            lambda folder: stems_faults(folder / "out"),
            lambda folder: shutil.copytree(shared / "earlier", folder / "out"),
        ),
        "separate --jobs": Command(
            [*separate, "--jobs", "2"], [*separate, "--overwrite"], lambda folder: stems_faults(folder / "out")
        ),
        "separate a video": Command(
            ["separate", songs[1], "--model", model, "-o", "out"],
            ["separate", songs[1], "--model", model, "-o", "out", "--overwrite"],
            lambda folder: stems_faults(folder / "out"),
        ),
        "evaluate": Command(evaluate, [*evaluate, "--resume"]),
        "evaluate --jobs": Command([*evaluate, "--jobs", "2"], [*evaluate, "--resume"]),
        "train": Command(train, [*train, "--resume"]),
        "pack": Command(pack, pack),
        "import": Command(*[["import", "openunmix", str(shared / "umx"), "-o", "out/model.onnx"]] * 2),
        "download": Command(*[download(shared)] * 2, faults=lambda folder: [] if whole(folder) else ["half a download"]),
    }


def download(shared: Path) -> list[str]:
    """A program that fetches a file from a server of this process, which sends it in pieces."""
    content = random.Random(0).randbytes(3_000_000)  # noqa: S311

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(content), 10_000):
                    self.wfile.write(content[start : start + 10_000])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, digest = f"http://127.0.0.1:{server.server_port}/model.h5", hashlib.sha256(content).hexdigest()
    return ["-c", FETCH, address, digest]


FETCH = """
import sys
from pathlib import Path
from kerasep.download import fetch
from kerasep.program import reporting
sys.exit(reporting("kerasep")(lambda: fetch(sys.argv[1], Path("out/model.h5"), "sha256:" + sys.argv[2]) and 0)())
"""


def whole(folder: Path) -> bool:
    """Whether a download is there as a whole, if it is there."""
    path = folder / "out" / "model.h5"
    return not path.exists() or path.stat().st_size == 3_000_000


def ended(name: str, command: Command, trials: int, seed: int, folder: Path) -> list[dict[str, object]]:
    """End a command at so many random moments: what was wrong in between and afterwards."""
    whole = folder / "whole"
    seconds = begin(command, whole).wait_for(None)
    expected = contents(whole / "out")
    results = []
    for trial in range(trials):
        chance = random.Random(f"{name} {seed} {trial}")  # noqa: S311
        place = folder / str(trial)
        number, moment = chance.choice(SIGNALS), seconds * chance.uniform(0.1, 1.05)
        running = begin(command, place)
        faults = []
        try:
            running.wait_for(moment, number)
        except subprocess.TimeoutExpired:
            faults.append(f"it, or a process that it began, goes on {ENOUGH} s after {number.name}")
        faults += command.faults(place)
        code = running.process.returncode
        if code not in (0, CODES[number], -number):  # the last of Python itself, before and after our program
            faults.append(f"exit code {code} after {number.name}")
        if number != signal.SIGKILL and (found := remains(place)):
            faults.append(f"left behind: {found}")
        again = run(command.again if (place / "out").exists() else command.first, place)
        _, said = again.communicate()
        if again.returncode:
            faults.append(f"cannot be called again: {said.strip().splitlines()[-1:]}")
        elif contents(place / "out") != expected:
            faults.append("other results than without an end")
        if found := remains(place):
            faults.append(f"left behind by the next call: {found}")
        results.append({"kind": name, "seed": trial, "signal": number.name, "moment": round(moment, 2), "faults": faults})
        shutil.rmtree(place, ignore_errors=True)
    return results


class Running(NamedTuple):
    process: subprocess.Popen
    start: float

    def wait_for(self, moment: float | None, number: signal.Signals = signal.SIGKILL) -> float:
        """Wait until it ends or, at a moment, is ended; its seconds."""
        try:
            self.process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            self.process.send_signal(number)
            self.process.communicate(timeout=ENOUGH)
        return time.monotonic() - self.start


def begin(command: Command, place: Path) -> Running:
    for name in ("home", "tmp"):
        (place / name).mkdir(parents=True)
    command.begin(place)
    return Running(run(command.first, place), time.monotonic())


def run(arguments: list[str], place: Path) -> subprocess.Popen:
    environment = os.environ | {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, *([] if arguments[0] == "-c" else ["-m", "kerasep"]), *arguments],
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def remains(place: Path) -> list[str]:
    """What is nobody's result."""
    paths = [path for path in (place / "tmp").iterdir() if not path.name.startswith(("pymp", "joblib", ".ses", "matplotlib"))]
    paths += [path for path in (place / "out").rglob("*") if LEFT.match(path.name)]
    return [str(path.relative_to(place)) for path in paths]


def contents(folder: Path) -> dict[str, str]:
    """Digests of all results, less the times in them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".wav", ".h5", ".onnx", ".csv"):
            data = path.read_bytes()
            if path.suffix == ".onnx":
                data = onnx.load_from_string(data).graph.SerializeToString(deterministic=True)
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found
