"""BSSEval of a song: time and peak memory compared with museval, in one run, and time against length."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.machine import describe
from kerasep.datasets import demo

# A process for each run, because peak memory is that of a process. The transforms and products of both may use every core.
CHILD = """
import json, sys, time
import numpy as np
from kerasep.machine import peak_megabytes
side, path, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
stored = np.load(path)
rate = int(stored["rate"])
targets = [str(name) for name in stored["targets"]]
signals = {}
for kind in ("references", "estimates"):
    block = stored[kind]
    signals[kind] = np.tile(block, (1, 1 + seconds * rate // block.shape[1], 1))[:, : seconds * rate]
if side == "kerasep":
    from kerasep.evaluation.bsseval import evaluate
    named = {kind: dict(zip(targets, values)) for kind, values in signals.items()}
    start = time.perf_counter()
    evaluate(named["references"], named["estimates"], rate)
else:
    import museval
    start = time.perf_counter()
    museval.evaluate(signals["references"], signals["estimates"], win=rate, hop=rate)
taken = time.perf_counter() - start
print(json.dumps({"side": side, "seconds_of_audio": seconds, "seconds": taken, "peak_megabytes": peak_megabytes()}))
"""


def measure(minutes: Sequence[float], against: float) -> dict[str, Any]:
    """Time kerasep for songs of these lengths in minutes; museval for one of `against`, with kerasep right before and after."""
    references = {target: stem.astype(np.float64) for target, stem in demo.render().items()}
    random = np.random.default_rng(0)
    hiss = {t: r + 0.01 * random.normal(size=r.shape) for t, r in references.items()}  # no two channels alike
    total = np.sum(list(hiss.values()), axis=0)
    estimates = {t: 0.9 * r + 0.1 * total + 0.01 * random.normal(size=r.shape) for t, r in hiss.items()}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signals.npz"
        np.savez(
            path,
            references=np.stack(list(hiss.values())),
            estimates=np.stack(list(estimates.values())),
            rate=demo.RATE,
            targets=list(hiss),
        )
        plan = [("kerasep", m) for m in minutes] + [("kerasep", against), ("museval", against), ("kerasep", against)]
        for side, length in plan:
            command = [sys.executable, "-c", CHILD, side, str(path), str(round(60 * length))]
            done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")  # noqa: S603
            runs.append(json.loads(done.stdout))
            print(f"{side}: {length:g} min in {runs[-1]['seconds']:.1f} s, peak {runs[-1]['peak_megabytes']:.0f} MB")
    ours = [run["seconds"] for run in runs[-3:] if run["side"] == "kerasep"]
    ratio = runs[-2]["seconds"] / (sum(ours) / len(ours))
    print(f"museval takes {ratio:.1f} times as long")
    return {**describe("numpy", "scipy", "museval"), "runs": runs, "ratio": ratio}
