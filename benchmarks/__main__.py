"""python -m benchmarks COMMAND: separate, scoring, training and openunmix are about speed, masks and scores about quality."""

import argparse
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks import scores, scoring, separate, stream, tables, training, umx
from kerasep.errors import KerasepError
from kerasep.files import check_writable
from kerasep.zoo import DEFAULT, load


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed and memory on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("separate", help="waveform to stems: time of the parts, memory against length")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument(
        "--minutes", type=float, nargs="+", default=[0.5, 4, 60], help="lengths of whole files (default: 0.5 4 60)"
    )
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: separate.measure(given.model, given.minutes, given.output))
    sub = commands.add_parser("latency", help="networks on every runtime and number of threads here, as a page to read")
    sub.add_argument("files", nargs="*", type=Path, metavar="ARTIFACT", help="(default: the bundled model)")
    sub.add_argument("--quick", action="store_true", help="fewer calls and cases")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=_latency)
    sub = commands.add_parser("all", help="latency, separate and scoring, on one page")
    sub.add_argument("files", nargs="*", type=Path, metavar="ARTIFACT", help="for latency (default: the bundled model)")
    sub.add_argument("--quick", action="store_true", help="in minutes: fewer calls, cases and lengths")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=_all)
    sub = commands.add_parser("compare", help="what got slower from one results.json to another")
    sub.add_argument("old", type=Path, metavar="OLD.json")
    sub.add_argument("new", type=Path, metavar="NEW.json")
    sub.set_defaults(run=_compare)
    sub = commands.add_parser("stream", help="hop by hop on one core: time of a hop, latency, memory")
    sub.add_argument("models", nargs="+", type=Path, metavar="FILE", help="step graphs")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: stream.measure(given.models, given.output))
    sub = commands.add_parser("scoring", help="BSSEval: time and memory against museval's")
    sub.add_argument("--minutes", type=float, nargs="+", default=[0.5, 1, 2], help="lengths for kerasep (default: 0.5 1 2)")
    sub.add_argument("--against", type=float, default=4, help="length for both, in minutes (default: %(default)s)")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: scoring.measure(given.minutes, given.against, given.output))
    sub = commands.add_parser("training", help="steps with live data against cached, PyTorch's Open-Unmix, memory")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("--parts", nargs="+", choices=training.PARTS, default=list(training.PARTS), help="(default: all)")
    sub.add_argument("--torch", type=Path, metavar="PYTHON", help="one that has torch and openunmix, to compare with")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: training.measure(given.root, given.output, given.parts, given.torch))
    sub = commands.add_parser("openunmix", help="Open-Unmix beside PyTorch's, same weights; what blocks of a song cost")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("--parts", nargs="+", choices=umx.PARTS, default=list(umx.PARTS), help="(default: all)")
    sub.add_argument("--torch", type=Path, metavar="PYTHON", help="one that has torch and openunmix, to compare with")
    sub.add_argument("--model", metavar="FILE", help="a trained Open-Unmix, to cut songs into blocks for")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: umx.measure(given.root, given.output, given.parts, given.torch, given.model))
    sub = commands.add_parser("agreement", help="BSSEval against museval on MUSDB18's test songs, every frame")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=_agreement)
    sub = commands.add_parser("runs", help="the records of training runs in one file")
    sub.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: scores.runs(given.runs, given.output))
    sub = commands.add_parser("masks", help="a model's scores on MUSDB18's validation songs by mask and filter")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=lambda given: scores.masks(given.model, given.root, given.output))
    sub = commands.add_parser("scores", help="models, floor and oracles on MUSDB18's test songs")
    sub.add_argument("--models", nargs="+", default=[DEFAULT], metavar="NAME|FILE", help="(default: the bundled one)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=lambda given: scores.scores({Path(m).stem: m for m in given.models}, given.root, given.output))
    sub = commands.add_parser("tables", help="make the tables of README.md and docs/ anew from docs/results/")
    sub.set_defaults(run=lambda given: tables.write())
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments) or 0
    except KerasepError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _latency(given: argparse.Namespace) -> None:
    from benchmarks import latency, report

    check_writable(given.output)
    report.write(latency.measure(_paths(given.files), given.quick), given.output)
    print(given.output / "report.html")


def _all(given: argparse.Namespace) -> None:
    from benchmarks import latency, report

    check_writable(given.output)
    result = latency.measure(_paths(given.files), given.quick)
    result["separate"] = separate.measured(DEFAULT, [7 / 60, 1] if given.quick else [7 / 60, 4, 60])
    if find_spec("museval") and shutil.which("ffmpeg"):
        result["scoring"] = scoring.measured([0.25] if given.quick else [0.5, 1, 2], 0.25 if given.quick else 4)
    else:
        result["missing"].append("scoring: museval or ffmpeg is not installed")
    result["missing"] += [
        "training: needs MUSDB18, python -m benchmarks training --root MUSDB18",
        "Open-Unmix beside PyTorch's: needs both, python -m benchmarks openunmix --root MUSDB18 --torch PYTHON",
    ]
    report.write(result, given.output)
    print(given.output / "report.html")


def _paths(files: list[Path]) -> list[Path]:
    """Of files, or of models by name."""
    return [load(str(file)).path for file in files or [Path(DEFAULT)]]


def _compare(given: argparse.Namespace) -> int:
    from benchmarks.compare import compare

    lines, slower = compare(given.old, given.new)
    print("\n".join(lines))
    return 1 if slower else 0


def _agreement(given: argparse.Namespace) -> None:
    from benchmarks import agreement  # imports museval, and so needs ffmpeg

    agreement.measure(given.model, given.root, given.output)


if __name__ == "__main__":
    sys.exit(main())
