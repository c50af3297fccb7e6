"""A page that separates songs in the browser, on onnxruntime-web: python -m export.web FILE.onnx --output DIR."""

import argparse
import shutil
import sys
from pathlib import Path

from kerasep.errors import KerasepError, UsageError
from kerasep.files import making, write_json
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.graphs import WaveformGraph
from kerasep.inference.usage import described
from kerasep.program import reporting

PAGE = Path(__file__).parent / "examples" / "web"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


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
    if not isinstance(manifest.graph, WaveformGraph):
        raise UsageError(f"{file}: takes spectrograms: export it with --graph waveform")
    for name in RUNTIME:
        if not (package / "dist" / name).is_file():
            raise KerasepError(f"{package}: no {name} in it: npm install onnxruntime-web, and name its folder with --package")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: is there already: remove it or choose another folder")
    with making(output) as folder:
        shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        (folder / "ort").mkdir()
        for name in RUNTIME:
            shutil.copyfile(package / "dist" / name, folder / "ort" / name)
        shutil.copyfile(file, folder / "model.onnx")
        write_json(folder / "model.json", described(manifest) | {"bytes": file.stat().st_size, "sha256": sha256(file)})


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
