"""What the tables of README.md and docs/ are made of: the committed result files, and rows of Markdown."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
MACHINES = ("xeon-2-cores", "epyc-2-cores")  # the pages show each part of the first that has it
TARGETS = ("vocals", "drums", "bass", "other")


def measured(section: str) -> Any:
    found = [report.load(ROOT / "benchmarks" / "results" / machine / report.RESULTS) for machine in MACHINES]
    return next(sections[section] for sections in found if section in sections)


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def medians(system: str) -> dict[str, float]:
    return {target: medians["SDR"] for target, medians in result(f"test/{system}/summary")["median"].items()}


def published(model: str) -> dict[str, float]:
    with (ROOT / "kerasep" / "data" / "thesis_medians.csv").open() as file:
        return {row["target"]: float(row["SDR"]) for row in csv.DictReader(file) if row["model"] == model}


def numbers(values: dict[str, float], digits: int) -> list[str]:
    return [f"{values[target]:.{digits}f}" if target in values else "–" for target in TARGETS]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
