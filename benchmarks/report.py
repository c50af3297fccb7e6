"""Results as one page to read: report.html, with its charts inside, and report.md."""

import html
import io
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.latency import WIDE
from benchmarks.latency_worker import BYTES, SIZE
from kerasep.errors import KerasepError
from kerasep.files import check_writable, replacing, write_json

RESULTS = "results.json"
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid #8885; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: 0.5rem; }
"""
COLUMNS = (
    "file",
    "provider",
    "threads",
    "batch",
    "audio",
    "load",
    "first call",
    "median",
    "90 %",
    "99 %",
    "times real time",
    "of the limit",
    "peak memory",
)
FILES = ("file", "time", "processor time", "times real time", "peak memory")
SCORING = ("side", "song", "time", "peak memory")
Tables = dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]]


def load(path: Path) -> dict[str, Any]:
    """A results file. Raises KerasepError if it is none."""
    try:
        result = json.loads(path.read_text())
        result["files"], result["machine"], result["versions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasepError(f"{path}: not a results.json of python -m benchmarks latency ({error})") from error
    return result


def write(result: dict[str, Any], folder: Path) -> None:
    """`results.json`, `report.md` and `report.html`."""
    check_writable(folder)
    write_json(folder / RESULTS, result)
    tables: Tables = {"Latency": (COLUMNS, [_row(file, case) for file, case in cases(result)])}
    if "separate" in result:
        tables["Files to stems, whole processes"] = FILES, [_file_row(file) for file in result["separate"]["files"]]
    if "scoring" in result:
        tables["BSSEval"] = SCORING, [_scoring_row(run) for run in result["scoring"]["runs"]]
    with replacing(folder / "report.md") as partial:
        partial.write_text("\n".join(_markdown(result, tables)))
    with replacing(folder / "report.html") as partial:
        partial.write_text(_page(result, tables))


def cases(result: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each file with each of its cases."""
    return ((file, case) for file in result["files"] for case in file["cases"])


def quantile(samples: list[float], share: float) -> float:
    """Of sorted samples, the one at this share of them."""
    return sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]


def spread(samples: list[float]) -> float:
    """From the first quarter to the third, as a share of the median."""
    return (quantile(samples, 0.75) - quantile(samples, 0.25)) / statistics.median(samples)


def _row(file: dict[str, Any], case: dict[str, Any]) -> tuple[str, ...]:
    samples = case["samples"]
    middle = statistics.median(samples)
    wide = " (wide)" if spread(samples) > WIDE else ""
    share = f"{middle / case['limit_seconds']:.1f} x" if case["limit_seconds"] else "–"
    return (
        file["name"],
        case["provider"].removesuffix("ExecutionProvider"),
        str(case["threads"]),
        str(case["batch"]),
        f"{case['audio_seconds']:.2f} s",
        f"{1000 * case['load_seconds']:.0f} ms",
        f"{1000 * case['first_seconds']:.1f} ms",
        f"{1000 * middle:.2f} ms{wide}",
        *(f"{1000 * quantile(samples, share):.2f} ms" for share in (0.9, 0.99)),
        f"{case['audio_seconds'] / middle:.0f}",
        share,
        f"{case['peak_megabytes']:.0f} MB",
    )


def _file_row(file: dict[str, Any]) -> tuple[str, ...]:
    seconds = 60 * file["minutes"]
    times = (f"{file['wall_seconds']:.1f} s", f"{file['cpu_seconds']:.1f} s", f"{seconds / file['wall_seconds']:.0f}")
    return (f"{seconds:.0f} s", *times, f"{file['peak_megabytes']:.0f} MB")


def _scoring_row(run: dict[str, Any]) -> tuple[str, ...]:
    return (run["side"], f"{run['seconds_of_audio']} s", f"{run['seconds']:.1f} s", f"{run['peak_megabytes']:.0f} MB")


def _notes(result: dict[str, Any]) -> list[str]:
    """What a reader has to know of the numbers."""
    machine, versions = result["machine"], ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    place = f"{machine['cores']} cores, {machine['processor']}, {machine['system']}"
    notes = [
        f"{place}; {versions}; commit {result['commit'] or 'unknown'}.",
        f"{result['rounds'] - 1} calls each, in turns with each other, after one that is not counted. Load and first call: "
        "from the file to a session, and to the first result. The limit: what a call's multiply-adds take as a product of "
        "matrices, and its input, outputs and weights as a copy, both measured in the same turns on as many threads.",
    ]
    for file, case in cases(result):
        if len(case["nodes"]) > 1:
            parts = ", ".join(f"{count} on {provider}" for provider, count in case["nodes"].items())
            notes.append(f"{file['name']} on {case['provider']}: nodes did not all run there: {parts}.")
        if spread(case["samples"]) > WIDE:
            notes.append(f"{_label(file, case)}: times spread widely; the machine was busy.")
    return notes + [f"Not measured: {line}." for line in result["missing"]]


def _markdown(result: dict[str, Any], tables: Tables) -> list[str]:
    lines = ["# Benchmarks", ""]
    for title, (columns, rows) in tables.items():
        lines += [f"## {title}", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (columns, ("---",) * len(columns), *rows)] + [""]
    return [*lines, *(f"- {note}" for note in _notes(result)), ""]


def _page(result: dict[str, Any], tables: Tables) -> str:
    def cells(kind: str, row: tuple[str, ...]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>"

    shown = "".join(
        f"<h2>{title}</h2><table>{cells('th', columns)}{''.join(cells('td', row) for row in rows)}</table>"
        for title, (columns, rows) in tables.items()
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in _notes(result))
    charts = "".join(f"<h2>{title}</h2>{_svg(draw, result)}" for title, draw in CHARTS.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kerasep: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><h1>Benchmarks</h1>{charts}{shown}"
        f"<h2>Notes</h2><ul>{notes}</ul></body></html>\n"
    )


def _svg(draw: Any, result: dict[str, Any]) -> str:
    figure = draw(result)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kerasep"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _label(file: dict[str, Any], case: dict[str, Any]) -> str:
    provider = case["provider"].removesuffix("ExecutionProvider")
    length = f"{case['batch']} x {case['audio_seconds'] / case['batch']:.3g} s"
    return f"{file['name']}, {provider}, {case['threads']} thread{'s' * (case['threads'] > 1)}, {length}"


def _bars(result: dict[str, Any]) -> Any:
    """Times real time, with the spread between quarters."""
    found = list(cases(result))
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.3 * len(found)))
    for place, (_, case) in enumerate(found):
        middle = case["audio_seconds"] / statistics.median(case["samples"])
        low, high = (case["audio_seconds"] / quantile(case["samples"], share) for share in (0.75, 0.25))
        axes.barh(place, middle, xerr=[[middle - low], [high - middle]], color="#2f6fdf")
    axes.set_yticks(range(len(found)), [_label(file, case) for file, case in found], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times real time")
    _plain(axes.xaxis)
    return figure


def _plain(axis: Any) -> None:
    """Numbers as they are written."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda x, _: f"{x:g}" if str(f"{x:e}")[0] in "25" else "")


def _roofline(result: dict[str, Any]) -> Any:
    """Multiply-adds a second over multiply-adds a byte, under what the processor's product and copy allow."""
    figure, axes = pyplot.subplots(figsize=(9, 5))
    found = [(file, case) for file, case in cases(result) if case["limit_seconds"]]
    points = []
    for file, case in found:
        operations = file["multiply_adds_per_second"] * case["audio_seconds"]
        points.append((operations / (case["bytes_moved"] + file["bytes"]), operations / statistics.median(case["samples"])))
    left, right = min(x for x, _ in points) / 2, max(x for x, _ in points) * 2
    for threads in sorted({case["threads"] for _, case in found}):
        samples = [file["rates"][str(threads)] for file in result["files"] if str(threads) in file["rates"]]
        product, copy = (statistics.median(s for file in samples for s in file[name]) for name in ("product", "copy"))
        xs = [left * (right / left) ** (step / 100) for step in range(101)]
        axes.plot(
            xs,
            [min(SIZE**3 / product, x * BYTES / copy) / 1e9 for x in xs],
            "k-" if threads > 1 else "k:",
            label=f"limit, {threads} thread{'s' * (threads > 1)}",
        )
    names = list(dict.fromkeys(file["name"] for file, _ in found))
    for (file, case), (x, y) in zip(found, points, strict=True):
        axes.plot(x, y / 1e9, "o" if case["threads"] > 1 else "^", color=f"C{names.index(file['name']) % 10}", markersize=7)
    for place, name in enumerate(names):
        axes.plot([], [], "s", color=f"C{place % 10}", label=name)
    axes.plot([], [], "^k", label="on one thread")
    axes.plot([], [], "ok", label="on more")
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds a byte", ylabel="G multiply-adds a second")
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    axes.legend(fontsize=8)
    return figure


CHARTS = {"Times real time": _bars, "Beside the machine's limit": _roofline}
