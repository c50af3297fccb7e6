"""The committed result files that the tables of README.md and docs/ are made from."""

import csv
import json
from pathlib import Path
from typing import Any

from benchmarks.pages.results import RESULTS, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "results"
MACHINES = ("xeon-2-cores", "epyc-2-cores")  # the pages show each part of the first that has it
TARGETS = ("vocals", "drums", "bass", "other")


def measured(section: str) -> Any:
    """A section of a machine's results.json."""
    found = [load(ROOT / "benchmarks" / "results" / machine / RESULTS) for machine in MACHINES]
    return next(sections[section] for sections in found if section in sections)


def result(name: str) -> Any:
    """A file of docs/results/."""
    return json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))


def medians(system: str) -> dict[str, float]:
    """The median SDR of a system on the test songs, in dB by target."""
    return {target: medians["SDR"] for target, medians in result(f"test/{system}/summary")["median"].items()}


def published(model: str) -> dict[str, float]:
    """The median SDR of a model as the thesis gives it, in dB by target."""
    with (ROOT / "kerasep" / "data" / "thesis_medians.csv").open(encoding="utf-8") as file:
        return {row["target"]: float(row["SDR"]) for row in csv.DictReader(file) if row["model"] == model}


def numbers(values: dict[str, float], digits: int) -> list[str]:
    """Cells of a table, a column for each of `TARGETS`."""
    return [f"{values[target]:.{digits}f}" if target in values else "–" for target in TARGETS]
