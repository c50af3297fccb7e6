"""python -m benchmarks COMMAND.

latency, separate, peers, training, scoring and all measure speed and memory, and share a page of results; compare reads two of
those. The others each write what a page of docs/ is made from.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import blocks, latency, peers, scores, scoring, separate, stream, tables, training
from kerasep.errors import reporting
from kerasep.files import check_writable
from kerasep.hub import DEFAULT


@reporting("benchmarks")
def main() -> int | None:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed and memory on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    speed = {
        "latency": (_latency, "networks on every runtime, provider and number of threads here"),
        "separate": (_separate, "waveform to stems: time of the parts, time and memory against length"),
        "peers": (_peers, "Open-Unmix, Spleeter and Demucs in PyTorch beside ours; installs them in the cache"),
        "training": (_training, "steps with live data against cached, PyTorch's Open-Unmix, memory"),
        "scoring": (_scoring, "BSSEval: time and memory against museval's"),
        "all": (_all, "all of these; training with --root alone, peers without --quick alone"),
    }
    for name, (run, text) in speed.items():
        sub = commands.add_parser(name, help=text)
        if name in ("latency", "all"):
            sub.add_argument("files", nargs="*", metavar="ARTIFACT|RUN", help="for latency (default: the default model)")
        if name == "separate":
            sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
        if name == "peers":
            sub.add_argument("names", nargs="*", metavar="PEER", help=f"of {', '.join(peers.PEERS)} (default: all)")
        if name in ("training", "all"):
            sub.add_argument("--root", type=Path, required=name == "training", metavar="DIR", help="MUSDB18")
        if name != "training":
            sub.add_argument("--quick", action="store_true", help="fewer turns, cases and lengths")
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="results.json, report.html, report.md")
        sub.set_defaults(run=run)
    sub = commands.add_parser("pages", help="report.html and report.md anew from a folder's results.json")
    sub.add_argument("folder", type=Path, metavar="DIR")
    sub.set_defaults(run=_pages)
    sub = commands.add_parser("compare", help="what got slower from one results.json to another")
    sub.add_argument("old", type=Path, metavar="OLD.json")
    sub.add_argument("new", type=Path, metavar="NEW.json")
    sub.set_defaults(run=_compare)
    sub = commands.add_parser("stream", help="hop by hop on one core: time of a hop, latency, memory")
    sub.add_argument("models", nargs="+", type=Path, metavar="FILE", help="step graphs")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: stream.measure(given.models, given.output))
    sub = commands.add_parser("blocks", help="what blocks of a song cost a network that remembers")
    sub.add_argument("--model", required=True, metavar="FILE", help="one with LSTMs, trained")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: blocks.measure(given.root, given.model, given.output))
    sub = commands.add_parser("agreement", help="BSSEval against museval on MUSDB18's test songs, every frame")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=_agreement)
    sub = commands.add_parser("runs", help="the records of training runs in one file")
    sub.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: scores.runs(given.runs, given.output))
    sub = commands.add_parser("trials", help="scores of trained runs on MUSDB18's validation songs, added to a file")
    sub.add_argument("tried", nargs="+", type=Path, metavar="RUN|FILE")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    sub.set_defaults(run=lambda given: scores.trials(given.tried, given.root, given.output))
    sub = commands.add_parser("masks", help="a model's scores on MUSDB18's validation songs by mask and filter")
    sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=lambda given: scores.masks(given.model, given.root, given.output))
    sub = commands.add_parser("scores", help="models, floor and oracles on MUSDB18's test songs")
    sub.add_argument("--models", nargs="+", default=[DEFAULT], metavar="NAME|FILE", help="(default: the default model)")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=lambda given: scores.scores({Path(m).stem: m for m in given.models}, given.root, given.output))
    sub = commands.add_parser("tables", help="make the tables of README.md and docs/ anew from docs/results/")
    sub.set_defaults(run=lambda given: tables.write())
    arguments = parser.parse_args()
    return arguments.run(arguments)


def _latency(given: argparse.Namespace) -> None:
    _write(given.output, "latency", lambda: latency.measure(given.files or [DEFAULT], given.quick))


def _separate(given: argparse.Namespace) -> None:
    _write(given.output, "separate", lambda: separate.measure(given.model, [7 / 60, 1] if given.quick else [7 / 60, 4, 60]))


def _peers(given: argparse.Namespace) -> None:
    _write(given.output, "peers", lambda: peers.measure(given.names or list(peers.PEERS), given.quick))


def _training(given: argparse.Namespace) -> None:
    _write(given.output, "training", lambda: training.measure(given.root))


def _scoring(given: argparse.Namespace) -> None:
    _write(given.output, "scoring", lambda: scoring.measure([0.25] if given.quick else [0.5, 1, 2], 0.25 if given.quick else 4))


def _all(given: argparse.Namespace) -> None:
    given.model, given.names = DEFAULT, []
    _latency(given)
    _separate(given)
    if find_spec("museval") and shutil.which("ffmpeg"):
        _scoring(given)
    if not given.quick:
        _peers(given)
    if given.root:
        _training(given)


def _write(folder: Path, name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure a section and put it among the results that the folder holds."""
    from benchmarks import report  # needs matplotlib

    check_writable(folder)
    report.add(folder, {name: measure()})
    print(folder / report.PAGE)


def _pages(given: argparse.Namespace) -> None:
    from benchmarks import report

    report.add(given.folder, report.load(given.folder / report.RESULTS))
    print(given.folder / report.PAGE)


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
