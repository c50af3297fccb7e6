"""python -m benchmarks separate [--model NAME|FILE] -o FILE.json"""

import argparse
import sys
from pathlib import Path

from benchmarks import separate
from kerasep.errors import KerasepError
from kerasep.zoo import DEFAULT


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed and memory on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("separate", help="waveform to stems: time of the parts, memory against length")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument(
        "--minutes", type=float, nargs="+", default=[0.5, 4, 60], help="lengths of whole files (default: 0.5 4 60)"
    )
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    arguments = parser.parse_args()
    try:
        separate.measure(arguments.model, arguments.minutes, arguments.output)
    except KerasepError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
