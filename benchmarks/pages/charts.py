"""The sections of results.json as charts of a report."""

import io
import statistics
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.measure.calibration import BYTES, SIZE
from benchmarks.pages.results import cases, quantile, ran_on
from benchmarks.peers.comparison import ratios


def svg(figure: Any) -> str:
    """A figure as an SVG element, the same text for the same numbers."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kerasep"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def label(file: dict[str, Any], case: dict[str, Any]) -> str:
    """A case in a few words."""
    length = f"{case['batch']} x {case['audio_seconds'] / case['batch']:.3g} s"
    return f"{file['name']}, {ran_on(case)}, {case['threads']} thread{'s' * (case['threads'] > 1)}, {length}"


def _bars(section: dict[str, Any]) -> Any:
    """Times real time, with the interquartile range."""
    found = list(cases(section))
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.3 * len(found)))
    for place, (_, case) in enumerate(found):
        middle = case["audio_seconds"] / statistics.median(case["samples"])
        low, high = (case["audio_seconds"] / quantile(case["samples"], share) for share in (0.75, 0.25))
        axes.barh(place, middle, xerr=[[middle - low], [high - middle]], color="#2f6fdf")
    axes.set_yticks(range(len(found)), [label(file, case) for file, case in found], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times real time")
    return figure


def _plain(axis: Any) -> None:
    """Plain numbers on an axis, not powers of ten."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda x, _: f"{x:g}" if str(f"{x:e}")[0] in "25" else "")


def _roofline(section: dict[str, Any]) -> Any:
    """A roofline: multiply-adds per second over those per byte, under the limit of the machine's product and copy."""
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
    """Time of the originals over ours, turn by turn."""
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


# {title: (section, its chart)}, in the order of the page
CHARTS = {
    "Times real time": ("latency", _bars),
    "Compared with the machine's limit": ("latency", _roofline),
    "Files to stems": ("separate", _memory),
    "Compared with PyTorch": ("peers", _ratios),
}
