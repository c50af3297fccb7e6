"""Results as one page to read: report.html, with its charts inside, and report.md."""

import html
import io
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.latency import WIDE
from benchmarks.latency_worker import BYTES, SIZE
from benchmarks.peers import ratios
from kerasep.errors import KerasepError
from kerasep.files import check_writable, replacing, write_json

RESULTS, PAGE = "results.json", "report.html"
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
FILES = ("file", "cold, from nothing", "processor time", "times real time", "again, warm", "peak memory")
PARTS = ("part", "ms per second of audio", "range", "times real time")
SCORING = ("side", "song", "time", "peak memory")
PEERS = ("beside", "way", "ours", "theirs", "theirs / ours", "range", "agreement", "peak memory, ours", "theirs")
STEPS = ("recipe", "data", "live", "cached", "ratio", "peak memory")
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def load(path: Path) -> dict[str, Any]:
    """A results file. Raises KerasepError if it is none."""
    try:
        result = json.loads(path.read_text())
        if not result or any(not {"machine", "versions", "commit"} <= set(section) for section in result.values()):
            raise ValueError("no section with a machine")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise KerasepError(f"{path}: not a results.json of python -m benchmarks ({error}): measure again") from error
    return result


def add(folder: Path, sections: dict[str, Any]) -> None:
    """Put sections among the results that a folder holds, and make its pages anew: results.json, report.md and report.html."""
    check_writable(folder)
    result = (load(folder / RESULTS) if (folder / RESULTS).exists() else {}) | sections
    write_json(folder / RESULTS, result)
    tables = {title: table(result[name]) for title, (name, table) in TABLES.items() if name in result}
    with replacing(folder / "report.md") as partial:
        partial.write_text("\n".join(_markdown(result, tables)))
    with replacing(folder / PAGE) as partial:
        partial.write_text(_page(result, tables))


def cases(latency: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each file with each of its cases."""
    return ((file, case) for file in latency["files"] for case in file["cases"])


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


def _latency(section: dict[str, Any]) -> Table:
    return COLUMNS, [_row(file, case) for file, case in cases(section)]


def files(section: dict[str, Any]) -> Table:
    """Whole processes of `benchmarks.separate`."""
    rows: list[tuple[str, ...]] = []
    for file in section["files"]:
        seconds = 60 * file["minutes"]
        rows.append(
            (
                f"{seconds:g} s" if seconds < 60 else f"{file['minutes']:g} min",
                f"{file['wall_seconds']:.1f} s",
                f"{file['cpu_seconds']:.1f} s",
                f"{seconds / file['wall_seconds']:.0f}",
                f"{file['warm_seconds']:.1f} s",
                f"{file['peak_megabytes']:.0f} MB",
            )
        )
    return FILES, rows


def parts(section: dict[str, Any]) -> Table:
    """What `benchmarks.separate` timed part by part."""
    rows: list[tuple[str, ...]] = []
    for name, samples in section["parts"]["samples"].items():
        middle = statistics.median(samples)
        low, high = min(samples), max(samples)
        rows.append((name, f"{1000 * middle:.1f}", f"{1000 * low:.1f} to {1000 * high:.1f}", f"{1 / middle:.0f}"))
    return PARTS, rows


def scoring(section: dict[str, Any]) -> Table:
    """Runs of `benchmarks.scoring`."""
    return SCORING, [
        (run["side"], f"{run['seconds_of_audio'] / 60:g} min", f"{run['seconds']:.1f} s", f"{run['peak_megabytes']:.0f} MB")
        for run in section["runs"]
    ]


def peers(section: dict[str, Any]) -> Table:
    """Ours and theirs, of `benchmarks.peers`; the range is that of the turns' ratios."""
    rows = []
    for peer in section["peers"]:
        for way, sides in peer["samples"].items():
            ours, theirs = (statistics.median(samples) for samples in sides.values())
            agreement = f"{min(peer['agreement_db'][way].values()):.0f} dB" if peer["agreement_db"] else "–"
            found = ratios(sides)
            rows.append(
                (
                    peer["what"],
                    way,
                    f"{ours:.2f} s",
                    f"{theirs:.2f} s",
                    f"{statistics.median(found):.2f}",
                    f"{min(found):.2f} to {max(found):.2f}",
                    agreement,
                    *(f"{peak:.0f} MB" for peak in peer["peak_megabytes"].values()),
                )
            )
    return PEERS, rows


def _training(section: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for run in section["steps"]:
        live, cached = (statistics.median(run["samples"][side]) for side in ("live", "cached"))
        times = (f"{live:.2f} s", f"{cached:.2f} s", f"{live / cached:.2f}")
        rows.append((run["recipe"], run["data"], *times, f"{run['peak_megabytes']:.0f} MB"))
    return STEPS, rows


SECTIONS = ("latency", "separate", "peers", "training", "scoring")
TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], Table]]] = {
    "Latency": ("latency", _latency),
    "Waveform to stems, part by part": ("separate", parts),
    "Files to stems, whole processes": ("separate", files),
    "Beside others": ("peers", peers),
    "Steps of training": ("training", _training),
    "BSSEval": ("scoring", scoring),
}


def _notes(result: dict[str, Any]) -> list[str]:
    """What a reader has to know of the numbers."""
    notes: dict[str, list[str]] = {}
    for name, section in result.items():
        machine, versions = section["machine"], ", ".join(f"{name} {number}" for name, number in section["versions"].items())
        place = f"{machine['cores']} cores, {machine['processor']}, {machine['gpu'] or 'no GPU'}, {machine['system']}"
        notes.setdefault(f"{place}; {versions}; commit {section['commit'] or 'unknown'}.", []).append(name)
    lines = [f"{', '.join(names).capitalize()}: {note}" for note, names in notes.items()]
    if "latency" in result:
        lines += _latency_notes(result["latency"])
    if "peers" in result:
        lines.append(
            f"Beside others: {result['peers']['seconds']} s of stereo, waveform to stems, as many threads, in turns, after one "
            "that is not counted; the range is that of the turns' ratios; agreement is that of the stems."
        )
    lines += [f"Not measured: {line}." for section in result.values() for line in section.get("missing", ())]
    return lines + [f"Not measured: {name}, python -m benchmarks {name}." for name in SECTIONS if name not in result]


def _latency_notes(section: dict[str, Any]) -> list[str]:
    notes = [
        f"{section['rounds'] - 1} calls each, in turns with each other, after one that is not counted. Load and first call: "
        "from the file to a session, and to the first result. The limit: what a call's multiply-adds take as a product of "
        "matrices, and its input, outputs and weights as a copy, both measured in the same turns on as many threads."
    ]
    for file, case in cases(section):
        if len(case["nodes"]) > 1:
            parts = ", ".join(f"{count} on {provider}" for provider, count in case["nodes"].items())
            notes.append(f"{file['name']} on {case['provider']}: nodes did not all run there: {parts}.")
        if spread(case["samples"]) > WIDE:
            notes.append(f"{_label(file, case)}: times spread widely; the machine was busy.")
    return notes


def _markdown(result: dict[str, Any], tables: dict[str, Table]) -> list[str]:
    lines = ["# Benchmarks", ""]
    for title, (columns, rows) in tables.items():
        lines += [f"## {title}", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (columns, ("---",) * len(columns), *rows)] + [""]
    return [*lines, *(f"- {note}" for note in _notes(result)), ""]


def _page(result: dict[str, Any], tables: dict[str, Table]) -> str:
    def cells(kind: str, row: tuple[str, ...]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>"

    shown = "".join(
        f"<h2>{title}</h2><table>{cells('th', columns)}{''.join(cells('td', row) for row in rows)}</table>"
        for title, (columns, rows) in tables.items()
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in _notes(result))
    drawn = {title: draw(result[name]) for title, (name, draw) in CHARTS.items() if name in result}
    charts = "".join(f"<h2>{title}</h2>{_svg(figure)}" for title, figure in drawn.items() if figure)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kerasep: benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><h1>Benchmarks</h1>{charts}{shown}"
        f"<h2>Notes</h2><ul>{notes}</ul></body></html>\n"
    )


def _svg(figure: Any) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kerasep"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _label(file: dict[str, Any], case: dict[str, Any]) -> str:
    provider = case["provider"].removesuffix("ExecutionProvider")
    length = f"{case['batch']} x {case['audio_seconds'] / case['batch']:.3g} s"
    return f"{file['name']}, {provider}, {case['threads']} thread{'s' * (case['threads'] > 1)}, {length}"


def _bars(section: dict[str, Any]) -> Any:
    """Times real time, with the spread between quarters."""
    found = list(cases(section))
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.3 * len(found)))
    for place, (_, case) in enumerate(found):
        middle = case["audio_seconds"] / statistics.median(case["samples"])
        low, high = (case["audio_seconds"] / quantile(case["samples"], share) for share in (0.75, 0.25))
        axes.barh(place, middle, xerr=[[middle - low], [high - middle]], color="#2f6fdf")
    axes.set_yticks(range(len(found)), [_label(file, case) for file, case in found], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times real time")
    return figure


def _plain(axis: Any) -> None:
    """Numbers as they are written."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda x, _: f"{x:g}" if str(f"{x:e}")[0] in "25" else "")


def _roofline(section: dict[str, Any]) -> Any:
    """Multiply-adds a second over multiply-adds a byte, under what the processor's product and copy allow."""
    figure, axes = pyplot.subplots(figsize=(9, 5))
    found = [(file, case) for file, case in cases(section) if case["limit_seconds"]]
    if not found:
        return None
    points = []
    for file, case in found:
        operations = file["multiply_adds_per_second"] * case["audio_seconds"]
        points.append((operations / (case["bytes_moved"] + file["bytes"]), operations / statistics.median(case["samples"])))
    left, right = min(x for x, _ in points) / 2, max(x for x, _ in points) * 2
    for threads in sorted({case["threads"] for _, case in found}):
        samples = [file["rates"][str(threads)] for file in section["files"] if str(threads) in file["rates"]]
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


def _ratios(section: dict[str, Any]) -> Any:
    """How many times as long others take, turn by turn."""
    found = {f"{peer['name']}, {way}": ratios(sides) for peer in section["peers"] for way, sides in peer["samples"].items()}
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.4 * len(found)))
    for place, values in enumerate(found.values()):
        axes.barh(place, statistics.median(values), color="#2f6fdf")
        axes.plot(values, [place] * len(values), "k.", markersize=3)
    axes.set_yticks(range(len(found)), list(found), fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="k", linewidth=0.5)
    axes.set(xscale="log", xlabel="theirs / ours, time for the same song")
    _plain(axes.xaxis)
    return figure


def _memory(section: dict[str, Any]) -> Any:
    """Time and peak memory over the length of a file."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3))
    minutes = [file["minutes"] for file in section["files"]]
    sides = (("wall_seconds", "cold", "o-"), ("cpu_seconds", "processor time", "s:"), ("warm_seconds", "again, warm", "^--"))
    for name, label, style in sides:
        axes[0].plot(minutes, [file[name] for file in section["files"]], style, label=label)
    axes[1].plot(minutes, [file["peak_megabytes"] for file in section["files"]], "o-")
    axes[0].set(xscale="log", yscale="log", xlabel="minutes of sound", ylabel="seconds")
    axes[0].legend(fontsize=8)
    axes[1].set(xscale="log", xlabel="minutes of sound", ylabel="peak memory in MB", ylim=(0, None))
    for axis in (axes[0].xaxis, axes[0].yaxis, axes[1].xaxis):
        _plain(axis)
    figure.tight_layout()
    return figure


CHARTS = {
    "Times real time": ("latency", _bars),
    "Beside the machine's limit": ("latency", _roofline),
    "Files to stems": ("separate", _memory),
    "Beside others": ("peers", _ratios),
}
