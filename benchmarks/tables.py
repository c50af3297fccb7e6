"""The tables of README.md and docs/, made from the committed result files: python -m benchmarks tables.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; everything in between is replaced.
"""

import csv
import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
MACHINE = ROOT / "benchmarks" / "results" / "epyc-2-cores"  # whose speed the pages show
PAGES = ("README.md", "docs/training.md", "docs/performance.md", "docs/export.md", "kerasep/weights/MODEL_CARD.md")
TARGETS = ("vocals", "drums", "bass", "other")


def write() -> None:
    """Bring every page up to date."""
    for page in PAGES:
        path = ROOT / page
        path.write_text(rendered(path.read_text()))


def rendered(text: str) -> str:
    """A page's text with its tables made anew."""
    for name, table in TABLES.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if block.search(text):
            text = block.sub(lambda match, table=table: "\n".join([match[1].rstrip(), *table(), match[2]]), text)  # type: ignore[misc]
    return text


def _scores() -> list[str]:
    rows = [
        ("**`conv`, shipped** (recipe `conv-norm`)", "25 clips of 7 s", _medians("conv")),
        ("the thesis' network and settings, trained here (recipe `conv`)", "25 clips of 7 s", _medians("thesis")),
        ("mixture / 4, the floor", "25 clips of 7 s", _medians("mixture")),
        ("ideal ratio mask, a ceiling", "25 clips of 7 s", _medians("irm")),
        ("the thesis' own training of its network, as published", "50 full songs", _published("conv")),
    ]
    return _table(("median SDR in dB", "on", *TARGETS), [(name, data, *_numbers(values, 1)) for name, data, values in rows])


def _validation() -> list[str]:
    rows = []
    for recipe in ("conv-norm", "conv"):
        runs = {run["target"]: run for run in _result(f"runs-{recipe}")}
        explained = {target: run["best"]["validation_db"] for target, run in runs.items()}
        steps = max(len(run["epochs"]) * run["recipe"]["steps"] for run in runs.values())
        minutes = statistics.mean(sum(epoch["seconds"] for epoch in run["epochs"]) / 60 for run in runs.values())
        music = steps * runs["vocals"]["recipe"]["batch"] * runs["vocals"]["recipe"]["seconds"] / 3600
        rows.append((f"`{recipe}`", str(steps), f"{music:.0f} h", f"{minutes:.0f} min", *_numbers(explained, 2)))
    return _table(("energy explained in dB", "steps", "music heard", "time a target", *TARGETS), rows)


def _recipes() -> list[str]:
    rows = []
    for run in _result("recipes"):
        steps = len(run["epochs"]) * run["recipe"]["steps"]
        music = steps * run["recipe"]["batch"] * run["recipe"]["seconds"] / 3600
        minutes = sum(epoch["seconds"] for epoch in run["epochs"]) / 60
        best = run["best"]["targets"]
        name, mean = f"`{run['recipe']['name']}`", f"{run['best']['validation_db']:.2f}"
        parameters = f"{run['parameters'] / len(best) / 1e6:.2f} M"
        rows.append((name, parameters, str(steps), f"{music:.0f} h", f"{minutes:.0f} min", *_numbers(best, 2), mean))
    return _table(("energy explained in dB", "weights a target", "steps", "music heard", "time", *TARGETS, "mean"), rows)


def _training() -> list[str]:
    result = _measured("training")
    rows = []
    for run in result["steps"]:
        live, cached = (statistics.median(run["samples"][side]) for side in ("live", "cached"))
        audio = run["audio_seconds_per_step"] / live
        what = f"`{run['recipe']}`, {run['batch']} x {run['audio_seconds_per_step'] / run['batch']:g} s"
        speed = (f"{1 / live:.2f}", f"{audio:.0f}")
        rows.append(
            (
                what,
                run["data"],
                f"{live:.2f} s",
                f"{cached:.2f} s",
                f"{live / cached:.2f}",
                *speed,
                f"{run['peak_megabytes']:.0f} MB",
            )
        )
    head = ("step, one target", "data", "live", "cached", "ratio", "steps/s", "audio s/s", "peak memory")
    peer, memory = result["peer"], result["memory"]
    ours, theirs = (statistics.median(times) for times in peer["samples"].values())
    versions = " and ".join(f"{name} {version}" for name, version in peer["versions"].items())
    return [
        *_table(head, rows),
        "",
        f"The step of `openunmix`, transforms and all, took {ours:.2f} s; that of {versions}, same batch and shapes, in turns "
        f"with it, {theirs:.2f} s: {theirs / ours:.2f} times as long. An epoch on {memory['songs']} full-length songs, with "
        f"validation, peaked at {memory['peak_megabytes']:.0f} MB (recipe `conv`).",
    ]


def _transform() -> list[str]:
    names = {
        "host": "NumPy, outside the step",
        "in the step": "in the step",
        "kept spectrograms": "complex spectrograms kept and mixed",
    }
    rows = []
    for way, samples in _measured("training")["transform"].items():
        spread = f"{min(samples):.2f} to {max(samples):.2f} s"
        rows.append((names[way], f"{statistics.median(samples):.2f} s", spread))
    return _table(("transform", "median", "range"), rows)


def _masks() -> list[str]:
    rows = []
    for path in sorted(RESULTS.glob("masks/*/summary.json")):
        result = json.loads(path.read_text())
        settings, values = result["settings"], {target: medians["SDR"] for target, medians in result["median"].items()}
        mask = f"{settings['mask']}, exponent {settings['exponent']:g}" if settings["mask"] == "ratio" else settings["mask"]
        mean = statistics.mean(values.values())
        rows.append((mask, str(settings["wiener"]), *_numbers(values, 2), f"{mean:.2f}"))
    return _table(("mask", "Wiener iterations", *TARGETS, "mean"), sorted(rows, key=lambda row: -float(row[-1])))


def _speed() -> list[str]:
    return _table(*report.parts(_measured("separate")))


def _files() -> list[str]:
    return _table(*report.files(_measured("separate")))


def _scoring() -> list[str]:
    section = _measured("scoring")
    ratio = f"In this run museval took {section['ratio']:.0f} times as long as kerasep for the same song."
    return [*_table(*report.scoring(section)), "", ratio]


def _peers() -> list[str]:
    return _table(*report.peers(_measured("peers")))


def _agreement() -> list[str]:
    result = _result("agreement")
    songs = result["songs"]
    rows = []
    for metric in ("SDR", "ISR", "SIR", "SAR"):
        worst = max(songs, key=lambda row: row["largest_difference_db"][metric])
        beyond = sum(row["largest_difference_db"][metric] > result["tolerance_db"] for row in songs)
        rows.append((metric, f"{worst['largest_difference_db'][metric]:.1e}", f"{beyond} of {len(songs)}"))
    frames = sum(row["frames"] for row in songs)
    nan = "the same" if all(row["same_nan"] for row in songs) else "not the same"
    head = ("metric", "largest difference in dB", f"songs with a frame beyond {result['tolerance_db']} dB")
    return [*_table(head, rows), "", f"{len(songs)} songs and systems, {frames} frames of four targets; NaNs in {nan} places."]


def _machine() -> list[str]:
    result = _measured("separate")
    machine, versions = result["machine"], result["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [f"Measured on {machine['cores']} cores ({machine['processor']}): {listed}."]


def _umx() -> list[str]:
    section = _measured("peers")
    peer = next(peer for peer in section["peers"] if peer["name"] == "openunmix")
    product = peer["product"]["multiply_adds"] / min(peer["product"]["samples"])
    arithmetic = peer["multiply_adds_per_second"] * section["seconds"] / product
    parts = {name: statistics.median(part[name] for part in peer["parts"]) for name in peer["parts"][0]}
    found = {name: statistics.median(part[name] for part in peer["operators"]) for name in peer["operators"][0]}
    most = sorted(found, key=lambda name: -found[name])[:2]
    rest = sum(seconds for name, seconds in found.items() if name not in most)
    listed = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())
    operators = ", ".join(f"{name} {found[name]:.2f} s" for name in most)
    return [
        f"Open-Unmix's parts, each on its own: {listed}. The networks by operator: {operators}, all others {rest:.2f} s. "
        f"Their arithmetic, {peer['multiply_adds_per_second'] / 1e9:.2f} G multiply-adds a second of audio, takes "
        f"{arithmetic:.2f} s at the best rate of a product of matrices in the same run. Libraries and weights alone take "
        f"{peer['loaded_megabytes']:.0f} MB."
    ]


def _blocks() -> list[str]:
    result = _result("blocks")
    contexts = sorted({row["context"] for row in result["rows"]})
    found = {(row["block"], row["context"]): row for row in result["rows"]}
    rows = []
    for block in sorted({row["block"] for row in result["rows"]}):
        cells = [found[block, context] for context in contexts]
        best = [min(cell["agreement_db"].values()) for cell in cells]
        rows.append((str(block), *(f"{db:.0f} dB, {1 + 2 * c / block:.2f}" for db, c in zip(best, contexts, strict=True))))
    return _table(("frames in a block", *(f"{context} on either side" for context in contexts)), rows)


def _spleeter() -> list[str]:
    rows = []
    for name, kind in (("ratio mask, exponent 2, the default", "mask"), ("Wiener filter, one iteration", "wiener")):
        medians = _result(f"spleeter/{kind}/summary")["median"]
        rows.append((name, *(f"{medians[target]['SDR']:.2f}" for target in ("vocals", "accompaniment"))))
    return _table(("median SDR in dB of Spleeter's 2 stems, 25 clips", "vocals", "accompaniment"), rows)


def _export() -> list[str]:
    rows = []
    for name, network in _result("export")["networks"].items():
        medians = {precision: statistics.median(samples) for precision, samples in network["samples"].items()}
        for precision, file in network["files"].items():
            milliseconds = f"{1000 * medians[precision] / network['seconds_of_audio']:.1f}"
            share, web = f"{medians[precision] / medians['float32']:.2f}", f"{file['web']['max_relative_error']:.0e}"
            rows.append((f"`{name}`", precision, *_verified(file, network["files"]), milliseconds, share, web))
    return _table(("network", "precision", *VERIFIED, "ms per s", "time of float32", "web"), rows)


def _export_lite() -> list[str]:
    rows = []
    for name, network in _result("export")["networks"].items():
        lite = network["tflite"]
        medians = {precision: statistics.median(samples) for precision, samples in lite["samples"].items()}
        for precision, file in lite["files"].items():
            milliseconds = f"{1000 * medians[precision] / lite['seconds_of_audio']:.1f}"
            share = f"{medians[precision] / medians['onnx']:.2f}"
            rows.append((f"`{name}`", precision, *_verified(file, lite["files"]), milliseconds, share))
    return _table(("network", "precision", *VERIFIED, "ms per s", "time of ONNX Runtime"), rows)


VERIFIED = ("size", "of float32", "error", "stems, dB", "SDR lost, dB")


def _verified(file: dict[str, Any], files: dict[str, Any]) -> tuple[str, ...]:
    """What verification found of a file, in the columns of `VERIFIED`."""
    sdr = file["sdr"].values()
    return (
        f"{file['bytes'] / 1e6:.1f} MB",
        f"{100 * file['bytes'] / files['float32']['bytes']:.0f} %",
        f"{file['parity']['max_relative_error']:.1e}",
        "{median:.0f} ({least:.0f})".format(**file["agreement_db"]) if "agreement_db" in file else "–",
        f"{max(row['median_loss'] for row in sdr):.3f} ({max(row['largest_loss'] for row in sdr):.2f})",
    )


def _export_limits() -> list[str]:
    result = _result("export")
    rows = []
    for name, network in result["networks"].items():
        median = statistics.median(network["samples"]["float32"])
        seconds, operators = network["seconds_of_audio"], network["files"]["float32"]["operators"]
        rows.append(
            (
                f"`{name}`",
                f"{network['multiply_adds_per_second_of_audio'] / 1e9:.2f} G",
                f"{network['bytes_moved'] / seconds / 1e6:.1f} MB",
                f"{1000 * network['limit_seconds'] / seconds:.1f} ms",
                f"{1000 * median / seconds:.1f} ms",
                f"{median / network['limit_seconds']:.1f}",
                str(sum(operators.values())),
            )
        )
    head = ("a second of audio", "multiply-adds", "bytes moved", "limit", "time", "time / limit", "nodes")
    rates = [(n["multiply_adds_per_second"] / 1e9, n["bytes_copied_per_second"] / 1e9) for n in result["networks"].values()]
    products, copies = ([rate[place] for rate in rates] for place in (0, 1))
    spread = f"{min(products):.0f} to {max(products):.0f} G multiply-adds and {min(copies):.1f} to {max(copies):.1f} GB copied"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [
        *_table(head, rows),
        "",
        f"Rates during these runs: {spread} a second, {result['machine']['cores']} cores. {versions}.",
    ]


def _export_int8() -> list[str]:
    rows = []
    for name, network in _result("export")["networks"].items():
        for precision in ("int8", "int8-dynamic"):
            layers = network["files"][precision]["int8_activations"]
            rows.append((f"`{name}`", precision, ", ".join(layers) or "none: weights alone are int8"))
    return _table(("network", "precision", "layers whose activations are eight bits"), rows)


def _export_half() -> list[str]:
    rows = []
    for name, network in _result("export")["networks"].items():
        here, rounded = network["files"]["float16"], network["files"]["float16"]["rounded_like_hardware"]
        loss = max(row["median_loss"] for row in rounded["sdr"].values())
        rows.append(
            (f"`{name}`", f"{here['agreement_db']['median']:.0f}", f"{rounded['agreement_db']['median']:.0f}", f"{loss:.4f}")
        )
    return _table(
        ("stems against float32's, dB", "on this CPU", "every result rounded", "SDR lost, every result rounded"), rows
    )


def _causal() -> list[str]:
    ahead = {f"{model['name']}": model for model in _result("stream")["models"]}
    rows = []
    for recipe, step in (("conv-norm", "conv-step"), ("conv-causal", "conv-causal-step")):
        medians = _result(f"validation/{recipe}/summary")["median"]
        sdr = {target: values["SDR"] for target, values in medians.items()}
        mean = f"{statistics.mean(sdr[target] for target in TARGETS):.2f}"
        rows.append((f"`{recipe}`", f"{1000 * ahead[step]['latency_seconds']:.0f} ms", *_numbers(sdr, 2), mean))
    return _table(("median SDR in dB, 14 validation songs", "latency", *TARGETS, "mean"), rows)


def _stream() -> list[str]:
    rows = []
    for model in _result("stream")["models"]:
        hop, samples = 1000 * model["hop_seconds"], sorted(1000 * sample for sample in model["samples"])
        rows.append(
            (
                f"`{model['name']}`, {model['format']}",
                str(model["look_ahead_frames"]),
                f"{1000 * model['latency_seconds']:.0f} ms",
                f"{statistics.median(samples):.2f} ms",
                f"{samples[int(0.99 * len(samples))]:.2f} ms",
                f"{100 * statistics.median(samples) / hop:.0f} %",
                f"{model['grown_kilobytes']} kB",
            )
        )
    head = ("step graph", "frames ahead", "latency", "a hop, median", "a hop, 99 %", "of one core", "memory grown in 55 s")
    return _table(head, rows)


def _waveform() -> list[str]:
    rows = []
    for graph in _result("waveform")["graphs"]:
        medians = {name: statistics.median(samples) for name, samples in graph["samples"].items()}
        operations = [f"{graph['multiply_adds_per_second'][part] / 1e6:.0f}" for part in ("transform", "network", "inverse")]
        times = [f"{1000 * medians[name] / graph['seconds_of_audio']:.1f}" for name in ("host", "waveform")]
        times.append(f"{medians['waveform'] / medians['host']:.2f}")
        name, size = f"`{graph['name']}`, {graph['format']}", f"{graph['bytes'] / 1e6:.1f} MB"
        rows.append((name, size, f"{graph['agreement_db']:.0f} dB", *times, *operations))
    head = ("around it, ms per s", "in one graph, ms per s", "ratio", "M multiply-adds per s: transform", "network", "inverse")
    return _table(("graph", "size", "agreement", *head), rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "scores": _scores,
    "validation": _validation,
    "recipes": _recipes,
    "training": _training,
    "transform": _transform,
    "masks": _masks,
    "speed": _speed,
    "files": _files,
    "umx": _umx,
    "blocks": _blocks,
    "spleeter": _spleeter,
    "scoring": _scoring,
    "agreement": _agreement,
    "export": _export,
    "export lite": _export_lite,
    "export limits": _export_limits,
    "export int8": _export_int8,
    "export half": _export_half,
    "stream": _stream,
    "waveform": _waveform,
    "causal": _causal,
    "machine": _machine,
    "peers": _peers,
}


def _measured(section: str) -> Any:
    return report.load(MACHINE / report.RESULTS)[section]


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _medians(system: str) -> dict[str, float]:
    return {target: medians["SDR"] for target, medians in _result(f"test/{system}/summary")["median"].items()}


def _published(model: str) -> dict[str, float]:
    with (ROOT / "kerasep" / "data" / "thesis_medians.csv").open() as file:
        return {row["target"]: float(row["SDR"]) for row in csv.DictReader(file) if row["model"] == model}


def _numbers(values: dict[str, float], digits: int) -> list[str]:
    return [f"{values[target]:.{digits}f}" if target in values else "–" for target in TARGETS]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
