"""What got slower between two results of `python -m benchmarks latency`, whatever machines they are from."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.report import cases, load, spread

LEAST = 0.1  # of a time: less is never called a difference


def compare(old: Path, new: Path) -> tuple[list[str], bool]:
    """A line for each case that both have, and whether any got slower beyond noise.

    Times count in products of matrices, measured in turns with them on as many threads. Noise is the spread of both, but at
    least `LEAST`.

    Raises:
        KerasepError: a file is no results.
    """
    before, after = (_ratios(load(path)) for path in (old, new))
    lines, slower = [], False
    for key in sorted(set(before) & set(after)):
        (first, noise), (second, more) = before[key], after[key]
        change, allowed = second / first - 1, max(LEAST, noise + more)
        verdict = "slower" if change > allowed else "faster" if change < -allowed else "the same"
        slower |= verdict == "slower"
        lines.append(f"{' '.join(map(str, key))}: {100 * change:+.0f} % ({verdict}, noise {100 * allowed:.0f} %)")
    lines += [f"{' '.join(map(str, key))}: only in {old if key in before else new}" for key in sorted(set(before) ^ set(after))]
    return lines, slower


def _ratios(result: dict[str, Any]) -> dict[tuple[Any, ...], tuple[float, float]]:
    """By case: its median in products of matrices, and how far that spreads."""
    found = {}
    for file, case in cases(result):
        product = file["rates"][str(case["threads"])]["product"]
        key = (
            file["name"],
            case["provider"],
            f"{case['threads']} threads",
            f"{case['batch']} x {case['audio_seconds'] / case['batch']:.2f} s",
        )
        ratio = statistics.median(case["samples"]) / statistics.median(product)
        found[key] = ratio, (spread(case["samples"]) + spread(product)) / 2
    return found
