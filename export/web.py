"""Files in the browser: python -m export.web FILE.onnx --output DIR makes a page that separates songs on onnxruntime-web.

And, for tests, a file there as a browser would run it, its estimates beside those of ONNX Runtime here.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError, UsageError, reporting
from kerasep.files import write_json
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.usage import described

SCRIPT = Path(__file__).with_suffix(".mjs")
PAGE = Path(__file__).parent / "examples" / "web"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
STUCK = 600  # seconds that no run takes


def compare(artifact: Artifact, mixture: np.ndarray, package: Path) -> dict[str, Any]:
    """Run a file under Node.

    Args:
        artifact: the file.
        mixture: what it takes, float32 (batch, frames, bins, channels).
        package: folder of the npm package onnxruntime-web.

    Returns:
        `version` of the package, and `max_relative_error` over targets.

    Raises:
        KerasepError: no Node, no such package, or the file doesn't run on it.
    """
    node = shutil.which("node")
    if node is None or not (package / "dist").is_dir():
        raise KerasepError(f"{package}: needs Node and onnxruntime-web there: npm install onnxruntime-web")
    from kerasep.conversion.convert import relative_error  # TensorFlow, which a page does without

    expected = artifact.run(mixture)
    with tempfile.TemporaryDirectory(prefix="kerasep-") as folder:
        given = Path(folder) / "mixture.f32"
        np.ascontiguousarray(mixture, np.float32).tofile(given)
        call = [node, str(SCRIPT), str(package), str(artifact.path), str(given), json.dumps(mixture.shape), folder]
        done = subprocess.run(call, capture_output=True, text=True, timeout=STUCK)  # noqa: S603
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "rror" in line), "no reason given")
            raise KerasepError(f"{artifact.path}: does not run on onnxruntime-web: {reason.strip()}")
        errors = [
            relative_error(np.fromfile(Path(folder) / f"{target}.f32", np.float32).reshape(output.shape), output)
            for target, output in expected.items()
        ]
    return {"version": json.loads(done.stdout)["version"], "max_relative_error": max(errors)}


def make(file: Path, package: Path, output: Path) -> None:
    """A folder that any web server can serve: the page, the runtime and the network.

    Args:
        file: a waveform graph as ONNX.
        package: folder of the npm package onnxruntime-web.
        output: the folder; it must not be there, or be empty.

    Raises:
        UsageError: the file is no such graph, or something is in the folder.
        KerasepError: the package is not there, or the folder cannot be written.
    """
    if file.suffix != ".onnx":
        raise UsageError(f"{file}: a page runs ONNX files: export one with --graph waveform")
    manifest = Artifact(file).manifest
    if manifest.graph != "waveform":
        raise UsageError(f"{file}: takes spectrograms: export it with --graph waveform")
    for name in RUNTIME:
        if not (package / "dist" / name).is_file():
            raise KerasepError(f"{package}: no {name} in it: npm install onnxruntime-web, and name its folder with --package")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: is there already: remove it or choose another folder")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kerasep-", dir=output.parent) as scratch:
            folder = Path(scratch) / "page"
            shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "ort").mkdir()
            for name in RUNTIME:
                shutil.copyfile(package / "dist" / name, folder / "ort" / name)
            shutil.copyfile(file, folder / "model.onnx")
            write_json(folder / "model.json", described(manifest) | {"bytes": file.stat().st_size, "sha256": sha256(file)})
            folder.replace(output)
    except OSError as error:
        raise KerasepError(f"{output}: cannot be written ({error.strerror or error}): choose another folder") from error


@reporting("export.web")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export.web", description="Make a page that separates songs in the browser.")
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="from python -m export RUN... --graph waveform")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--package",
        type=Path,
        default=Path("node_modules/onnxruntime-web"),
        metavar="DIR",
        help="of the npm package onnxruntime-web (default: %(default)s)",
    )
    given = parser.parse_args()
    make(given.file, given.package, given.output)
    print(f"{given.output}: serve it with python {given.output / 'serve.py'}")


if __name__ == "__main__":
    sys.exit(main())
