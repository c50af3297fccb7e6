"""The commands of python -m benchmarks. Each imports what it measures with, so that the others start at once.

Those from `latency` to `all_` add a section to the results.json of a folder and write its pages; most others write a file
that a page of docs/ is made from.
"""

import shutil
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kerasep.errors import UsageError
from kerasep.files import check_writable, write_json
from kerasep.hub import DEFAULT
from kerasep.inference.providers import CPU


def calibrate(given: Namespace) -> None:
    from benchmarks.measure import calibration

    print(calibration.calibrate())


def latency(given: Namespace) -> None:
    from benchmarks.measure import latency

    _add(given.output, "latency", lambda: latency.measure(given.files or [DEFAULT], given.quick, given.provider))


def separate(given: Namespace) -> None:
    from benchmarks.measure import separate

    minutes = [7 / 60, 1] if given.quick else [7 / 60, 4, 60]
    _add(given.output, "separate", lambda: separate.measure(given.model, minutes, _one(given.provider)))


def peers(given: Namespace) -> None:
    from benchmarks.peers import comparison
    from benchmarks.peers.peers import PEERS

    _add(given.output, "peers", lambda: comparison.measure(given.names or list(PEERS), given.quick, _one(given.provider)))


def training(given: Namespace) -> None:
    from benchmarks.measure import training

    _add(given.output, "training", lambda: training.measure(given.root))


def scoring(given: Namespace) -> None:
    from benchmarks.measure import scoring

    _add(given.output, "scoring", lambda: scoring.measure([0.25] if given.quick else [0.5, 1, 2], 0.25 if given.quick else 4))


def _one(provider: str | None) -> str:
    """The provider that is asked for, or the CPU."""
    if provider == "auto":
        raise UsageError("--provider auto: name one, so that what was measured is known")
    return provider or CPU


def all_(given: Namespace) -> None:
    given.model, given.names = DEFAULT, []
    latency(given)
    separate(given)
    if find_spec("museval") and shutil.which("ffmpeg"):
        scoring(given)
    if not given.quick:
        peers(given)
    if given.root:
        training(given)


def _add(folder: Path, name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure a section and add it to the results in a folder."""
    from benchmarks.pages import report

    check_writable(folder)
    report.add(folder, {name: measure()})
    print(folder / report.PAGE)


def pages(given: Namespace) -> None:
    from benchmarks.pages import report
    from benchmarks.pages.results import RESULTS, load

    report.add(given.folder, load(given.folder / RESULTS))
    print(given.folder / report.PAGE)


def compare(given: Namespace) -> int:
    from benchmarks.pages.compare import compare

    lines, slower = compare(given.old, given.new)
    print("\n".join(lines))
    return 1 if slower else 0


def stream(given: Namespace) -> None:
    from benchmarks.measure import stream

    stream.measure(given.models, given.output)


def producer(given: Namespace) -> None:
    from benchmarks.measure import producer

    write_json(given.output, producer.measure(given.root))


def blocks(given: Namespace) -> None:
    from benchmarks.measure import blocks

    blocks.measure(given.root, given.model, given.output)


def agreement(given: Namespace) -> None:
    from benchmarks.measure import agreement  # imports museval, which needs ffmpeg

    agreement.measure(given.model, given.root, given.output)


def runs(given: Namespace) -> None:
    from benchmarks.pages import scores

    scores.runs(given.runs, given.output)


def trials(given: Namespace) -> None:
    from benchmarks.pages import scores

    scores.trials(given.trials, given.root, given.output)


def masks(given: Namespace) -> None:
    from benchmarks.pages import scores

    scores.masks(given.model, given.root, given.output)


def scores(given: Namespace) -> None:
    from benchmarks.pages import scores

    scores.scores({Path(model).stem: model for model in given.models}, given.root, given.output)


def tables(given: Namespace) -> None:
    from benchmarks.pages import tables

    tables.write()
