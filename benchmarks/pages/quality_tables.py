"""Tables of how good networks are: scores, trainings, trials."""

import json
import statistics
from typing import Any

from benchmarks.pages.committed import DOCS, TARGETS, medians, numbers, published, result
from kerasep.evaluation.report import paired
from kerasep.evaluation.results import load_results
from kerasep.hub import BUNDLED
from kerasep.markdown import table


def scores() -> list[str]:
    rows = [
        ("**`bands`, the default**", "25 clips of 7 s", medians("bands")),
        ("`conv`, the thesis' network as we would have it (recipe `conv-norm`)", "25 clips of 7 s", medians("conv")),
        ("the thesis' network and settings, trained here (recipe `conv`)", "25 clips of 7 s", medians("thesis")),
        ("mixture / 4, the floor", "25 clips of 7 s", medians("mixture")),
        ("ideal ratio mask, a ceiling", "25 clips of 7 s", medians("irm")),
        ("the thesis' own training of its network, as published", "50 full songs", published("conv")),
    ]
    return table(("median SDR in dB", "on", *TARGETS), [(name, data, *numbers(values, 1)) for name, data, values in rows])


def gain() -> list[str]:
    """The gain of the default model over the thesis' network trained on the same music for as long."""
    return paired(load_results([DOCS / "test" / name for name in ("conv", "bands")]))


def bundled() -> list[str]:
    rows = []
    for name, path in BUNDLED.items():
        manifest, sdr = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), result("trials")[name]["sdr"]
        size = (
            f"{manifest['parameters'] / 1e6:.2f} M",
            f"{manifest['bytes'] / 1e6:.1f} MB",
            f"{manifest['multiply_adds'] / 1e9:.2f} G",
        )
        rows.append((f"`{name}`", *size, *numbers(sdr, 2), f"{statistics.mean(sdr.values()):.2f}"))
    return table(("mean SDR in dB", "weights", "file", "multiply-adds a second", *TARGETS, "mean"), rows)


def validation() -> list[str]:
    rows = []
    for recipe in ("conv-norm", "conv"):
        runs = {run["target"]: run for run in result(f"runs-{recipe}")}
        snr = {target: run["best"]["validation_db"] for target, run in runs.items()}
        steps = max(len(run["epochs"]) * run["recipe"]["steps"] for run in runs.values())
        minutes = statistics.mean(sum(epoch["seconds"] for epoch in run["epochs"]) / 60 for run in runs.values())
        music = steps * runs["vocals"]["recipe"]["batch"] * runs["vocals"]["recipe"]["seconds"] / 3600
        rows.append((f"`{recipe}`", str(steps), f"{music:.0f} h", f"{minutes:.0f} min", *numbers(snr, 2)))
    return table(("validation SNR in dB", "steps", "audio seen", "time a target", *TARGETS), rows)


def recipes() -> list[str]:
    rows = []
    for run in result("recipes"):
        steps = len(run["epochs"]) * run["recipe"]["steps"]
        music = steps * run["recipe"]["batch"] * run["recipe"]["seconds"] / 3600
        minutes = sum(epoch["seconds"] for epoch in run["epochs"]) / 60
        best = run["best"]["targets"]
        name, mean = f"`{run['recipe']['name']}`", f"{run['best']['validation_db']:.2f}"
        parameters = f"{run['parameters'] / len(best) / 1e6:.2f} M"
        rows.append((name, parameters, str(steps), f"{music:.0f} h", f"{minutes:.0f} min", *numbers(best, 2), mean))
    return table(("validation SNR in dB", "weights a target", "steps", "audio seen", "time", *TARGETS, "mean"), rows)


def trials() -> list[str]:
    """The trial runs: how each recipe differs from that of the first run of as many epochs, and the SDR of its stems."""
    trials = result("trials")
    bundled = next(iter(trials.values()))
    firsts: dict[int | None, Any] = {}
    rows = []
    for name, trial in trials.items():
        first = firsts.setdefault(trial.get("epochs"), trial)
        what, spent = f"`{name}`, bundled", ("–", "–", "–")
        if "recipe" in trial:
            what = different(bundled if trial is first else first, trial)
            if trial is first:
                what = ", ".join(filter(None, (f"recipe `{trial['recipe']['name']}`, **{trial['epochs']} epochs**", what)))
            steps = trial["epochs"] * trial["recipe"]["steps"]
            hours = steps * trial["recipe"]["batch"] * trial["recipe"]["seconds"] / 3600
            spent = f"{trial['parameters'] / 1e6:.2f} M", str(steps), f"{hours:.0f} h"
        mean = statistics.mean(trial["sdr"].values())
        gain = f"{mean - statistics.mean(first['sdr'].values()):+.2f}" if trial is not first else ""
        rows.append((what, *spent, *numbers(trial["sdr"], 2), f"{mean:.2f}", gain))
    return table(("mean SDR in dB, 14 validation songs", "weights", "steps", "audio seen", *TARGETS, "mean", "gain"), rows)


def different(first: dict[str, Any], trial: dict[str, Any]) -> str:
    """The settings of a trial that differ from those of the first."""

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        parts = [flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v} for k, v in values.items()]
        return {key: value for part in parts for key, value in part.items()}

    def settings(trial: dict[str, Any]) -> dict[str, Any]:
        recipe = {key: value for key, value in trial["recipe"].items() if key not in ("name", "epochs")}
        return flat(recipe) | {"seed": trial["seed"], "songs": trial["songs_to_train_on"]}

    usual = settings(first)
    return ", ".join(f"{key} {value}" for key, value in settings(trial).items() if value != usual.get(key))


def masks() -> list[str]:
    rows = []
    for path in sorted(DOCS.glob("masks/*/summary.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        settings, values = found["settings"], {target: values["SDR"] for target, values in found["median"].items()}
        mask = f"{settings['mask']}, exponent {settings['exponent']:g}" if settings["mask"] == "ratio" else settings["mask"]
        mean = statistics.mean(values.values())
        rows.append((mask, str(settings["wiener"]), *numbers(values, 2), f"{mean:.2f}"))
    return table(("mask", "Wiener iterations", *TARGETS, "mean"), sorted(rows, key=lambda row: -float(row[-1])))


def causal() -> list[str]:
    ahead = {f"{model['name']}": model for model in result("stream")["models"]}
    rows = []
    for recipe, step in (("conv-norm", "conv-step"), ("conv-causal", "conv-causal-step")):
        sdr = {target: values["SDR"] for target, values in result(f"validation/{recipe}/summary")["median"].items()}
        mean = f"{statistics.mean(sdr[target] for target in TARGETS):.2f}"
        rows.append((f"`{recipe}`", f"{1000 * ahead[step]['latency_seconds']:.0f} ms", *numbers(sdr, 2), mean))
    return table(("median SDR in dB, 14 validation songs", "latency", *TARGETS, "mean"), rows)


def spleeter() -> list[str]:
    rows = []
    for name, kind in (("ratio mask, exponent 2, the default", "mask"), ("Wiener filter, one iteration", "wiener")):
        found = result(f"spleeter/{kind}/summary")["median"]
        rows.append((name, *(f"{found[target]['SDR']:.2f}" for target in ("vocals", "accompaniment"))))
    return table(("median SDR in dB of Spleeter's 2 stems, 25 clips", "vocals", "accompaniment"), rows)
