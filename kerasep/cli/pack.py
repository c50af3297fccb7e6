"""`kerasep pack`: runs into one ONNX file."""

import argparse
from pathlib import Path

from kerasep.cli.console import print_packed, quiet_tensorflow
from kerasep.cli.options import MASKS, Commands, add_command


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "pack", run, "Pack trained or imported runs, each with its own targets, into one ONNX file")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--licence", help="terms of use, in a line (default: the runs')")
    parser.add_argument("--mask", choices=MASKS, help="default of the model (default: the runs', or ratio)")
    parser.add_argument("--exponent", type=float, metavar="P", help="default of the model (default: the runs', or 1)")
    parser.add_argument("--wiener", type=int, metavar="N", help="default of the model (default: the runs', or 0)")


def run(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from kerasep.conversion.pack import pack

    manifest = pack(arguments.runs, arguments.output, arguments.licence, arguments.mask, arguments.exponent, arguments.wiener)
    print_packed(arguments.output, manifest)
    return 0
