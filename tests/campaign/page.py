"""docs/reliability.md's tables, from what a campaign found."""

from collections import defaultdict
from typing import Any

WORDS = {
    "audio": "songs in 22 formats, beside one that is whole",
    "artifact": "ONNX and TFLite files, or their manifests",
    "scores": "folders of scores, reported or gone on with",
    "dataset": "data sets: files damaged, missing, foreign",
    "run": "runs: weights and records",
    "checkpoint": "other people's checkpoints",
    "recipe": "settings of a recipe",
    "disk": "full disks",
}


def tables(results: dict[str, Any]) -> str:
    """Both tables in Markdown, of the JSON that `python -m tests.campaign` writes."""
    damaged = ["| damaged | cases | done | refused | faults | slowest | most memory |", "| --- " * 7 + "|"]
    for kind, row in results["damaged"].items():
        cells = [WORDS[kind], row["cases"], row["done"], row["refused"], row["faults"], f"{row['seconds']:.1f} s"]
        damaged.append("| " + " | ".join(map(str, [*cells, f"{row['megabytes']} MB"])) + " |")
    signals = results["signals"]
    ended = [
        "| ended at random moments, then called again | " + " | ".join([*signals, "faults"]) + " |",
        "| --- " * (len(signals) + 2) + "|",
    ]
    for name, row in results["ended"].items():
        ended.append(f"| {name} | " + " | ".join(str(row[field]) for field in (*signals, "faults")) + " |")
    return "\n".join([*damaged, "", *ended])


def summed(results: list[dict[str, Any]], signals: list[str]) -> dict[str, Any]:
    """Numbers of a campaign's cases, by kind."""
    damaged: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"cases": 0, "done": 0, "refused": 0, "faults": 0, "seconds": 0.0, "megabytes": 0}
    )
    ended: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys((*signals, "faults"), 0))
    for result in results:
        if "signal" in result:
            ended[result["kind"]][result["signal"]] += 1
            ended[result["kind"]]["faults"] += bool(result["faults"])
            continue
        row = damaged[result["kind"]]
        row["cases"] += 1
        row["done" if result.get("code") == 0 else "refused"] += 1
        row["faults"] += bool(result["faults"])
        for field in ("seconds", "megabytes"):
            row[field] = max(row[field], result[field])
    return {"damaged": dict(damaged), "ended": dict(ended), "signals": signals}
