"""What got slower between two results of `python -m benchmarks`, whatever machines they are from."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.pages.results import cases, load, ran_on, spread
from kerasep.inference.providers import CPU

LEAST = 0.1  # of a time: a smaller change is never called a difference


def compare(old: Path, new: Path) -> tuple[list[str], bool]:
    """A line for each case that both have, and whether any got slower beyond noise.

    Times are compared as multiples of a product of matrices, or of an original's time, measured in turns with them on as many
    threads; those on a GPU as they are. Noise is the spread of both, but at least `LEAST`.

    Raises:
        KerasepError: a file is not a results file.
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
    """By case, part and peer: a ratio that grows as we get slower, and how far it spreads."""
    found: dict[tuple[Any, ...], tuple[float, float]] = {}
    for file, case in cases(result["latency"]) if "latency" in result else ():
        key = (
            file["name"],
            ran_on(case),
            f"{case['threads']} threads",
            f"{case['batch']} x {case['audio_seconds'] / case['batch']:.2f} s",
        )
        in_turns = case.get("in_turns", True)  # earlier results have no others
        found[key] = _over(case["samples"], file["rates"][str(case["threads"])]["product"] if in_turns else [1.0])
    if "separate" in result:
        section = result["separate"]
        model, parts, provider = section["model"]["name"], section["parts"], section.get("provider", CPU)
        for name, samples in parts["samples"].items():
            on = () if provider == CPU else (provider,)
            found["separate", model, *on, name] = _over(samples, parts["products"] if provider == CPU else [1.0])
    for peer in result.get("peers", {"peers": []})["peers"]:
        for way, sides in peer["samples"].items():
            on = () if result["peers"].get("provider", CPU) == CPU else (result["peers"]["provider"],)
            found["compared with", peer["what"], *on, way] = _over(sides["ours"], sides["theirs"])
    return found


def _over(samples: list[float], others: list[float]) -> tuple[float, float]:
    """The medians' ratio, and the mean of both spreads."""
    return statistics.median(samples) / statistics.median(others), (spread(samples) + spread(others)) / 2
