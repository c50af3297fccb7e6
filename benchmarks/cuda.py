"""Speed on a GPU whose machine has no package index: fetched here, carried there, measured there in one command.

python -m benchmarks.cuda fetch FOLDER ARTIFACT...   where there is an index: wheels and artifacts, in pieces to carry
python -m benchmarks.cuda run FOLDER -o DIR          beside the GPU: checks, installs into a scratch folder, measures
python -m benchmarks pages DIR                       anywhere: the pages of the results

The machine has Python 3.12 with NumPy, SciPy, PyTorch for CUDA 13 and its libraries; nothing on it is changed. Wheels go where
`run` alone finds them, so that up to then nothing but the standard library is imported.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WHEELS = (
    "onnxruntime-gpu==1.31.1",
    "openunmix==1.3.0",
    *("flatbuffers", "coloredlogs", "humanfriendly", "soundfile", "cffi", "pycparser", "soxr", "tqdm", "filelock"),
)
PLATFORM = ("--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")
PIECE = 50_000_000  # bytes
SUMS = "SHA256SUMS"
SCRIPT = Path(__file__).with_name("peers_torch.py")
CUDA = "CUDAExecutionProvider"
BATCHES, SECONDS, ROUNDS = (1, 32), 10, 12
PAIRS = (  # a graph of ours, in this precision, and PyTorch's way of the same
    ("waveform", "float32", "waveform, eager"),
    ("waveform", "float32", "waveform, compiled"),
    ("spectrogram", "float32", "networks, eager"),
    ("spectrogram", "float32", "networks, compiled"),
    ("spectrogram", "float16", "networks, float16"),
)


def fetch(folder: Path, artifacts: list[Path]) -> None:
    """Wheels for the machine, and artifacts, as pieces with their sums. Ends, saying so, if a wheel cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *PLATFORM]
    with tempfile.TemporaryDirectory(prefix="kerasep-") as scratch:
        done = subprocess.run([*command, "--dest", scratch, *WHEELS], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            sys.exit(f"benchmarks.cuda: wheels cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
        cut([*sorted(Path(scratch).iterdir()), *artifacts], folder)


def cut(files: list[Path], folder: Path) -> None:
    """Files as pieces, with their sums."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = []
    for path in files:
        content = path.read_bytes()
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
        for number, start in enumerate(range(0, len(content), PIECE)):
            (folder / f"{path.name}.{number:02}").write_bytes(content[start : start + PIECE])
    (folder / SUMS).write_text("".join(sums))


def joined(folder: Path, scratch: Path) -> list[Path]:
    """Files put together again, checked. Ends, naming it, at one that is not what was fetched."""
    files = []
    for line in (folder / SUMS).read_text().splitlines():
        expected, name = line.split("  ")
        path = scratch / Path(name).name
        with path.open("wb") as file:
            for piece in sorted(folder.glob(f"{path.name}.[0-9][0-9]")):
                file.write(piece.read_bytes())
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                sys.exit(f"benchmarks.cuda: {folder / name}: a piece is missing or damaged: carry it again")
        files.append(path)
    return files


def run(folder: Path, output: Path, provider: str = CUDA) -> None:
    """Install what was carried here into a scratch folder and measure with it, in a process that sees it."""
    with tempfile.TemporaryDirectory(prefix="kerasep-") as name:
        files = joined(folder, Path(name))
        wheels = [str(path) for path in files if path.suffix == ".whl"]
        site = str(Path(name) / "site")
        if wheels:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, *wheels]
            subprocess.run(install, check=True)  # noqa: S603
        paths = [site, str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        artifacts = [str(path) for path in files if path.suffix == ".onnx"]
        command = [sys.executable, "-m", "benchmarks.cuda", "measure", *artifacts, "-o", str(output), "--provider", provider]
        if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603
            sys.exit("benchmarks.cuda: not everything was measured: see above")


def measure(artifacts: list[Path], output: Path, provider: str) -> None:
    """Latency of all artifacts on a provider, and Open-Unmix's waveform graphs beside PyTorch's on the same device."""
    from benchmarks import latency
    from benchmarks.machine import describe
    from kerasep.errors import KerasepError
    from kerasep.files import write_json
    from kerasep.inference.artifact import Artifact

    result: dict[str, Any] = {"latency": latency.measure([str(path) for path in artifacts], only=provider)}
    graphs = {path: Artifact(path).manifest for path in artifacts if path.name.startswith("openunmix")}
    write_json(output / "results.json", result)
    try:
        peers = [_beside(graphs, batch, provider) for batch in BATCHES]
    except KerasepError as error:
        sys.exit(f"benchmarks.cuda: Open-Unmix beside PyTorch's: {error}")
    result["peers"] = {**describe("numpy", "onnxruntime"), "seconds": SECONDS, "peers": peers}
    write_json(output / "results.json", result)


def _beside(graphs: dict[Path, Any], batch: int, provider: str) -> dict[str, Any]:
    """Ours and PyTorch's Open-Unmix, the same shapes, in turns; `graphs` are files with their manifests."""
    import numpy as np

    from benchmarks.music import music
    from benchmarks.workers import worker

    device, threads = "cuda" if provider == CUDA else "cpu", str(os.cpu_count())
    samples: dict[str, dict[str, list[float]]] = {}
    peaks = {"ours": 0.0, "theirs": 0.0}
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        np.save(Path(folder) / "audio.npy", np.broadcast_to(music(SECONDS), (batch, SECONDS * 44100, 2)))
        with worker([sys.executable, str(SCRIPT), "openunmix", folder, threads, device], greets=True) as (theirs, ways):
            for path, manifest in graphs.items():
                case = [str(path), provider, threads, str(batch), str(SECONDS)]
                beside = [way for *ours, way in PAIRS if ours == [manifest.graph, manifest.precision] and way in ways]
                if not beside or manifest.batch not in (0, batch):
                    continue
                with worker([sys.executable, "-m", "benchmarks.latency_worker", *case]) as mine:
                    mine("load")
                    for way in beside:
                        sides: dict[str, list[float]] = {"ours": [], "theirs": []}
                        for turn in range(1 + ROUNDS):
                            for side, seconds in (("ours", mine("run")), ("theirs", theirs(way))):
                                sides[side] += [seconds] if turn else []
                        samples[way] = sides
                    peaks["ours"] = max(peaks["ours"], mine("end")["peak_megabytes"])
            end = theirs("end")
    return {
        "name": f"openunmix, batch {batch}, {device}",
        "what": f"Open-Unmix, four stems, {batch} x {SECONDS} s, {device}, same shapes, weights made up",
        "versions": end["versions"],
        "samples": samples,
        "agreement_db": {},
        "peak_megabytes": peaks | {"theirs": end["peak_megabytes"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.cuda", description="Measure on a GPU without a package index.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("fetch", help="wheels and artifacts into a folder to carry")
    sub.add_argument("folder", type=Path)
    sub.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT.onnx")
    sub.set_defaults(run=lambda given: fetch(given.folder, given.artifacts))
    sub = commands.add_parser("run", help="install from that folder, and measure")
    sub.add_argument("folder", type=Path)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=lambda given: run(given.folder, given.output))
    sub = commands.add_parser("measure", help="with what is installed")
    sub.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT.onnx")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.add_argument("--provider", default=CUDA, metavar="PROVIDER", help="(default: %(default)s)")
    sub.set_defaults(run=lambda given: measure(given.artifacts, given.output, given.provider))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
