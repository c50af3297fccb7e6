"""Results as one page to read: report.html, with its charts inside, and report.md."""

import html
import statistics
from pathlib import Path
from typing import Any

from benchmarks.measure.latency_worker import LEAST
from benchmarks.pages.charts import CHARTS, label, svg
from benchmarks.pages.results import RESULTS, WIDE, cases, load, ran_on, spread
from benchmarks.pages.sections import TABLES, Table, duration
from kerasep.files import check_writable, replacing, write_json
from kerasep.inference.providers import CPU
from kerasep.markdown import table

PAGE = "report.html"
SECTIONS = ("latency", "separate", "peers", "training", "scoring")
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid #8885; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: 0.5rem; }
"""


def add(folder: Path, sections: dict[str, Any]) -> None:
    """Add sections to the results.json of a folder, in place of earlier ones, and write its report.md and report.html."""
    check_writable(folder)
    result = (load(folder / RESULTS) if (folder / RESULTS).exists() else {}) | sections
    write_json(folder / RESULTS, result)
    with replacing(folder / "report.md") as partial:
        partial.write_text(markdown(result), encoding="utf-8")
    with replacing(folder / PAGE) as partial:
        partial.write_text(page(result), encoding="utf-8")


def _tables(result: dict[str, Any]) -> dict[str, Table]:
    return {title: rows(result[name]) for title, (name, rows) in TABLES.items() if name in result}


def _notes(result: dict[str, Any]) -> list[str]:
    """What a reader should know about the numbers."""
    notes: dict[str, list[str]] = {}
    for name, section in result.items():
        machine, versions = section["machine"], ", ".join(f"{name} {number}" for name, number in section["versions"].items())
        place = f"{machine['cores']} cores, {machine['processor']}, {machine['gpu'] or 'no GPU'}, {machine['system']}"
        notes.setdefault(f"{place}; {versions}; commit {section['commit'] or 'unknown'}.", []).append(name)
    lines = [f"{', '.join(names).capitalize()}: {note}" for note, names in notes.items()]
    if "latency" in result:
        lines += _latency_notes(result["latency"])
    if (provider := result.get("separate", {}).get("provider", CPU)) != CPU:
        lines.append(f"Separate: with provider {provider}.")
    if "training" in result:
        peer = result["training"]["peer"]
        ours, theirs = (duration(statistics.median(samples)) for samples in peer["samples"].values())
        names = " and ".join(f"{name} {number}" for name, number in peer["versions"].items())
        lines.append(
            f"Training, on {peer.get('device', CPU)}: a step of `openunmix` took {ours}; that of {names}, same device, batch "
            f"and shapes, in turns with it, {theirs}."
        )
    if "peers" in result:
        provider = result["peers"].get("provider", CPU)
        place = "as many threads" if provider == CPU else f"provider {provider}, PyTorch on the same device"
        lines.append(
            f"Compared with PyTorch: {result['peers']['seconds']} s of stereo, waveform to stems, {place}, in turns, "
            "after one that is not counted; the range is that of the turns' ratios; agreement is that of the stems."
        )
    lines += [f"Not measured: {line}." for section in result.values() for line in section.get("missing", ())]
    return lines + [f"Not measured: {name}, python -m benchmarks {name}." for name in SECTIONS if name not in result]


def _latency_notes(section: dict[str, Any]) -> list[str]:
    notes = [
        f"{section['rounds'] - 1} calls each, in turns with each other, after one that is not counted. Load and first call: "
        "from the file to a session, and to the first result. The limit: what a call's multiply-adds take as a product of "
        "matrices, and its input, outputs and weights as a copy, both measured in the same turns on as many threads."
    ]
    if not all(case.get("in_turns", True) for _, case in cases(section)):
        notes.append(
            f"On a GPU at least {LEAST} calls in a row, of one case at a time. TF32 is off but where it says use_tf32=1. GPU "
            "memory: what the case adds to that in use. Agreement: of the worst output, with ONNX Runtime on the CPU."
        )
    for file, case in cases(section):
        if len(case["nodes"]) > 1:
            parts = ", ".join(f"{count} on {provider}" for provider, count in case["nodes"].items())
            notes.append(f"{file['name']} on {ran_on(case)}: nodes did not all run there: {parts}.")
        if spread(case["samples"]) > WIDE:
            notes.append(f"{label(file, case)}: times spread widely; the machine was busy.")
    return notes


def markdown(result: dict[str, Any]) -> str:
    """The report of results in Markdown: tables and notes."""
    lines = ["# Benchmarks", ""]
    for title, (columns, rows) in _tables(result).items():
        lines += [f"## {title}", "", *table(columns, rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in _notes(result)), ""])


def page(result: dict[str, Any]) -> str:
    """The report of results as one HTML page: charts, tables and notes."""

    def cells(kind: str, row: tuple[str, ...]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>"

    shown = "".join(
        f"<h2>{title}</h2><table>{cells('th', columns)}{''.join(cells('td', row) for row in rows)}</table>"
        for title, (columns, rows) in _tables(result).items()
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in _notes(result))
    drawn = {title: draw(result[name]) for title, (name, draw) in CHARTS.items() if name in result}
    charts = "".join(f"<h2>{title}</h2>{svg(figure)}" for title, figure in drawn.items() if figure)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kerasep: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><h1>Benchmarks</h1>{charts}{shown}"
        f"<h2>Notes</h2><ul>{notes}</ul></body></html>\n"
    )
