"""Pictures of scores. matplotlib is imported when they are drawn."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kerasep.evaluation.results import Results, metrics_of, targets_of

LONGEST = 60  # letters of a name


@contextmanager
def _quietly() -> Iterator[None]:
    """Without matplotlib's notes on letters that its font lacks, drawn as boxes, and on folders it cannot keep its fonts in."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")
            yield
    finally:
        logger.setLevel(level)


@_quietly()
def box_plots(results: list[Results], thesis: list[Results], path: Path) -> None:
    """Every metric by target and system: boxes from quartile to quartile over songs, whiskers at 1.5 of their length."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = [*results, *thesis]
    metrics = metrics_of(results)
    targets = targets_of(results)
    figure = Figure(figsize=(11, 0.8 + 2.9 * len(metrics)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(metrics), 1))
    colours = colormaps["tab10"]
    width = 0.85 / len(shown)
    for axis, metric in zip(axes, metrics, strict=True):
        low, high = [], []
        for number, result in enumerate(shown):
            places = [t + (number - (len(shown) - 1) / 2) * width for t in range(len(targets))]
            values = [result.values(target, metric) for target in targets]
            style = {"facecolor": colours(number % 10), "alpha": 0.75 if result in results else 0.3}
            boxes = axis.boxplot(
                values, positions=places, widths=0.9 * width, patch_artist=True, boxprops=style, flierprops={"markersize": 2}
            )
            for line in boxes["medians"]:
                line.set_color("black")
            if metric == metrics[0]:
                boxes["boxes"][0].set_label(_label(result.name))
            for some in values:
                if some:
                    low.append(np.percentile(some, 5))
                    high.append(np.percentile(some, 95))
        if low:
            axis.set_ylim(min(low) - 3, max(high) + 3)  # a few outliers of the thesis lie tens of dB below
        axis.set_xticks(range(len(targets)), map(_label, targets))
        axis.set_ylabel(f"{metric} in dB")
        axis.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100, format="png")


@_quietly()
def places(results: list[Results], path: Path) -> None:
    """Each system's median SDR on one scale per target, which shows where models stand between the floor and the oracles."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    targets = targets_of(results)
    figure = Figure(figsize=(9, 0.9 + 0.75 * len(targets)), layout="constrained")
    axis = figure.subplots()
    for number, result in enumerate(results):
        bound = result.name.startswith(("oracle", "mixture"))
        values = [result.median(target, "SDR") for target in targets]
        marker, size = ("|", 400) if bound else ("o", 70)
        axis.scatter(
            values, range(len(targets)), s=size, marker=marker, color=colormaps["tab10"](number % 10), label=_label(result.name)
        )
    axis.set_yticks(range(len(targets)), map(_label, targets))
    axis.set_ylim(len(targets) - 0.4, -0.6)  # the first on top
    axis.set_xlabel("median SDR in dB")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, markerscale=0.6)
    figure.savefig(path, dpi=100, format="png")


def _label(name: str) -> str:
    """A name as matplotlib draws it: "$" begins no mathematics, and "_" at its start hides it from no legend."""
    return (" " if name.startswith("_") else "") + name[:LONGEST].replace("$", r"\$")
