"""How fast one core makes training batches: the most that a training step could be fed with, for each core but one."""

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.measure.machine import describe
from kerasep.datasets.musdb import songs
from kerasep.errors import KerasepError
from kerasep.training.data import Mixer
from kerasep.training.recipe import RECIPES

ROUNDS = 8  # of which the first warms up


def measure(root: Path) -> dict[str, Any]:
    """Seconds of processor time for a batch of each recipe, for a step on a CPU and for one on a GPU, in turns.

    Args:
        root: MUSDB18. Recipes with longer excerpts than its songs are named under "missing".
    """
    found = songs(root, "train", progress=True)
    result: dict[str, Any] = {**describe("numpy", "soxr"), "recipes": {}, "missing": []}
    for name, recipe in RECIPES.items():
        try:
            mixers = {"cpu": Mixer(found, recipe, seed=0), "gpu": Mixer(found, recipe, seed=0, in_step=True)}
        except KerasepError:  # too short
            result["missing"].append(name)
            continue
        samples: dict[str, list[float]] = {side: [] for side in mixers}
        for number in range(ROUNDS):
            for side, mixer in mixers.items():
                start = time.thread_time()
                mixer(number)
                samples[side] += [time.thread_time() - start] if number else []
        result["recipes"][name] = {"batch": recipe.batch, "seconds": recipe.seconds, "samples": samples}
        middle = {side: statistics.median(values) for side, values in samples.items()}
        print(f"{name}: a batch of {recipe.batch} takes a core {middle['cpu']:.3f} s, for a GPU {middle['gpu']:.3f} s")
    return result
