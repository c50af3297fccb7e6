"""python -m export RUN... --output DIR: files for ONNX Runtime and LiteRT, each verified before it is written."""

import argparse
import os
import sys
from pathlib import Path

from export.options import ExportOptions, Format, Precision
from kerasep.errors import UsageError
from kerasep.inference.graphs import Kind
from kerasep.program import reporting


@reporting("export")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export", description="Export trained or imported runs to files to deploy.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, each of other targets")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", help="of the files (default: the network's)")
    parser.add_argument("--format", nargs="+", default=["onnx"], metavar="FORMAT", help=f"{', '.join(Format)} (default: onnx)")
    parser.add_argument(
        "--precision", nargs="+", default=["float32"], metavar="P", help=f"{', '.join(Precision)} (default: float32)"
    )
    parser.add_argument("--graph", default=str(Kind.SPECTROGRAM), metavar="G", help=f"{', '.join(Kind)} (default: %(default)s)")
    parser.add_argument("--frames", default="dynamic", metavar="N", help="that the graph takes (default: dynamic, any)")
    parser.add_argument("--batch", default="dynamic", metavar="N", help="that the graph takes (default: dynamic, any)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="MUSDB18: to calibrate int8, and to say what is lost in SDR")
    parser.add_argument("--licence", help="terms of use of the weights, in a line (default: the run's own)")
    parser.add_argument(
        "--triton", type=Path, metavar="DIR", help="a model repository of NVIDIA's server to add the files to, too"
    )
    given = parser.parse_args()
    options = ExportOptions(
        name=given.name,
        formats=given.format,
        precisions=given.precision,
        graph=given.graph,
        frames=_number("--frames", given.frames),
        batch=_number("--batch", given.batch),
        root=given.root,
        licence=given.licence,
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from export import triton  # imports NumPy, and the next TensorFlow: seconds that --help and wrong calls need not
    from export.pipeline import export

    for path in export(given.runs, given.output, options):
        print(path)
        if given.triton:
            print(triton.add(path, given.triton))


def _number(option: str, text: str) -> int:
    """A positive number, or 0 for "dynamic"."""
    if text == "dynamic":
        return 0
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise UsageError(f"{option} {text}: give a positive number, or dynamic")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
