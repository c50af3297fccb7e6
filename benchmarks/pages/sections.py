"""The sections of results.json as tables of a report."""

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.pages.results import WIDE, cases, quantile, ran_on, spread
from benchmarks.peers.comparison import ratios

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
    "calls a second",
    "times real time",
    "of the limit",
    "peak memory",
    "GPU memory",
    "agrees with cpu",
)
FILES = ("file", "cold, from nothing", "processor time", "times real time", "again, warm", "peak memory")
PARTS = ("part", "ms per second of audio", "range", "times real time")
SCORING = ("side", "song", "time", "peak memory")
PEERS = ("original", "way", "ours", "theirs", "theirs / ours", "range", "agreement", "peak memory, ours", "theirs")
STEPS = ("recipe", "data", "live", "cached", "ratio", "peak memory")
NOTHING = "–"  # in a cell
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # head and rows


def duration(seconds: float) -> str:
    """Seconds in three digits, or in milliseconds.

    Example:
        >>> duration(12.345), duration(0.0123)
        ('12.35 s', '12.3 ms')
    """
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _row(file: dict[str, Any], case: dict[str, Any]) -> tuple[str, ...]:
    samples = case["samples"]
    middle = statistics.median(samples)
    wide = " (wide)" if spread(samples) > WIDE else ""
    share = f"{middle / case['limit_seconds']:.1f} x" if case["limit_seconds"] else NOTHING
    return (
        file["name"],
        ran_on(case),
        str(case["threads"]),
        str(case["batch"]),
        f"{case['audio_seconds']:.2f} s",
        f"{1000 * case['load_seconds']:.0f} ms",
        f"{1000 * case['first_seconds']:.1f} ms",
        f"{1000 * middle:.2f} ms{wide}",
        *(f"{1000 * quantile(samples, share):.2f} ms" for share in (0.9, 0.99)),
        f"{1 / middle:.3g}",
        f"{case['audio_seconds'] / middle:.0f}",
        share,
        f"{case['peak_megabytes']:.0f} MB",
        f"{used:.0f} MB" if (used := case.get("gpu_megabytes")) else NOTHING,
        f"{agreement:.0f} dB" if (agreement := case.get("agreement_db")) else NOTHING,
    )


def latency(section: dict[str, Any]) -> Table:
    """Cases of `benchmarks.measure.latency`, without columns in which none has anything."""
    rows = [_row(file, case) for file, case in cases(section)]
    used = [place for place in range(len(COLUMNS)) if any(row[place] != NOTHING for row in rows)]
    return tuple(COLUMNS[place] for place in used), [tuple(row[place] for place in used) for row in rows]


def files(section: dict[str, Any]) -> Table:
    """Whole processes of `benchmarks.measure.separate`."""
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
    """Parts of `benchmarks.measure.separate`."""
    rows: list[tuple[str, ...]] = []
    for name, samples in section["parts"]["samples"].items():
        middle = statistics.median(samples)
        low, high = min(samples), max(samples)
        rows.append((name, f"{1000 * middle:.1f}", f"{1000 * low:.1f} to {1000 * high:.1f}", f"{1 / middle:.0f}"))
    return PARTS, rows


def scoring(section: dict[str, Any]) -> Table:
    """Runs of `benchmarks.measure.scoring`."""
    return SCORING, [
        (run["side"], f"{run['seconds_of_audio'] / 60:g} min", f"{run['seconds']:.1f} s", f"{run['peak_megabytes']:.0f} MB")
        for run in section["runs"]
    ]


def peers(section: dict[str, Any]) -> Table:
    """Turns of `benchmarks.peers.comparison`; the range is that of their ratios."""
    rows = []
    for peer in section["peers"]:
        for way, sides in peer["samples"].items():
            ours, theirs = (statistics.median(samples) for samples in sides.values())
            agreement = f"{min(peer['agreement_db'][way].values()):.0f} dB" if peer["agreement_db"] else NOTHING
            found = ratios(sides)
            rows.append(
                (
                    peer["what"],
                    way,
                    duration(ours),
                    duration(theirs),
                    f"{statistics.median(found):.2f}",
                    f"{min(found):.2f} to {max(found):.2f}",
                    agreement,
                    *(f"{peak:.0f} MB" for peak in peer["peak_megabytes"].values()),
                )
            )
    return PEERS, rows


def training(section: dict[str, Any]) -> Table:
    """Steps of `benchmarks.measure.training`."""
    rows: list[tuple[str, ...]] = []
    for run in section["steps"]:
        live, cached = (statistics.median(run["samples"][side]) for side in ("live", "cached"))
        times = (duration(live), duration(cached), f"{live / cached:.2f}")
        count = run.get("targets", 1)  # earlier results have one
        rows.append(
            (f"{run['recipe']}, {count} target{'s' * (count > 1)}", run["data"], *times, f"{run['peak_megabytes']:.0f} MB")
        )
    return STEPS, rows


# {title: (section, its table)}, in the order of the page
TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], Table]]] = {
    "Latency": ("latency", latency),
    "Waveform to stems, part by part": ("separate", parts),
    "Files to stems, whole processes": ("separate", files),
    "Compared with PyTorch": ("peers", peers),
    "Steps of training": ("training", training),
    "BSSEval": ("scoring", scoring),
}
