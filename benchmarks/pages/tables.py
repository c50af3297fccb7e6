"""The tables of README.md and docs/, made from the committed result files: python -m benchmarks tables.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; everything in between is replaced.
"""

import re
import statistics
from collections.abc import Callable
from functools import partial

from benchmarks.pages import export_tables, quality_tables, sections
from benchmarks.pages.committed import ROOT, measured, result
from kerasep.markdown import table

PAGES = (
    "README.md",
    "docs/training.md",
    "docs/performance.md",
    "docs/export.md",
    "docs/gpu.md",
    "kerasep/weights/MODEL_CARD.md",
)


def write() -> None:
    """Bring every page up to date."""
    for page in PAGES:
        path = ROOT / page
        path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(text: str) -> str:
    """A page's text with its tables made anew."""
    for name, made in TABLES.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if block.search(text):
            text = block.sub(lambda match, made=made: "\n".join([match[1].rstrip(), *made(), match[2]]), text)  # type: ignore[misc]
    return text


def _training() -> list[str]:
    found = measured("training")
    rows = []
    for run in found["steps"]:
        live, cached = (statistics.median(run["samples"][side]) for side in ("live", "cached"))
        audio = run["audio_seconds_per_step"] / live
        count = run.get("targets", 1)
        what = f"`{run['recipe']}`, {run['batch']} x {run['audio_seconds_per_step'] / run['batch']:g} s"
        what += f", {count} targets" if count > 1 else ""
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
    head = ("step", "data", "live", "cached", "ratio", "steps/s", "audio s/s", "peak memory")
    peer, memory = found["peer"], found["memory"]
    ours, theirs = (statistics.median(times) for times in peer["samples"].values())
    versions = " and ".join(f"{name} {version}" for name, version in peer["versions"].items())
    return [
        *table(head, rows),
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
    for way, samples in measured("training")["transform"].items():
        spread = f"{min(samples):.2f} to {max(samples):.2f} s"
        rows.append((names[way], f"{statistics.median(samples):.2f} s", spread))
    return table(("transform", "median", "range"), rows)


def _speed() -> list[str]:
    return table(*sections.parts(measured("separate")))


def _files() -> list[str]:
    return table(*sections.files(measured("separate")))


def _scoring() -> list[str]:
    section = measured("scoring")
    ratio = f"In this run museval took {section['ratio']:.0f} times as long as kerasep for the same song."
    return [*table(*sections.scoring(section)), "", ratio]


def _peers() -> list[str]:
    return table(*sections.peers(measured("peers")))


def _agreement() -> list[str]:
    found = result("agreement")
    songs = found["songs"]
    rows = []
    for metric in ("SDR", "ISR", "SIR", "SAR"):
        worst = max(songs, key=lambda row: row["largest_difference_db"][metric])
        beyond = sum(row["largest_difference_db"][metric] > found["tolerance_db"] for row in songs)
        rows.append((metric, f"{worst['largest_difference_db'][metric]:.1e}", f"{beyond} of {len(songs)}"))
    frames = sum(row["frames"] for row in songs)
    nan = "the same" if all(row["same_nan"] for row in songs) else "not the same"
    head = ("metric", "largest difference in dB", f"songs with a frame beyond {found['tolerance_db']} dB")
    return [*table(head, rows), "", f"{len(songs)} songs and systems, {frames} frames of four targets; NaNs in {nan} places."]


def _machine() -> list[str]:
    result = measured("separate")
    machine, versions = result["machine"], result["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [f"Measured on {machine['cores']} cores ({machine['processor']}): {listed}."]


def _umx() -> list[str]:
    section = measured("peers")
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


def _producer() -> list[str]:
    found = result("producer")
    rows = []
    for name, recipe in found["recipes"].items():
        cpu, gpu = (statistics.median(recipe["samples"][side]) for side in ("cpu", "gpu"))
        batch = f"{recipe['batch']} x {recipe['seconds']:g} s"
        rows.append((f"`{name}`", batch, sections.duration(cpu), sections.duration(gpu), f"{1 / gpu:.0f}"))
    return table(("recipe", "batch", "for a CPU", "for a GPU", "batches per second and core, for a GPU"), rows)


def _blocks(file: str) -> list[str]:
    measured_rows = result(file)["rows"]
    contexts = sorted({row["context"] for row in measured_rows})
    by_size = {(row["block"], row["context"]): row for row in measured_rows}
    rows = []
    for block in sorted({row["block"] for row in measured_rows}):
        cells = [by_size[block, context] for context in contexts]
        best = [min(cell["agreement_db"].values()) for cell in cells]
        rows.append((str(block), *(f"{db:.0f} dB, {1 + 2 * c / block:.2f}" for db, c in zip(best, contexts, strict=True))))
    return table(("frames in a block", *(f"{context} on either side" for context in contexts)), rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "scores": quality_tables.scores,
    "gain": quality_tables.gain,
    "validation": quality_tables.validation,
    "recipes": quality_tables.recipes,
    "trials": quality_tables.trials,
    "bundled": quality_tables.bundled,
    "training": _training,
    "transform": _transform,
    "masks": quality_tables.masks,
    "speed": _speed,
    "files": _files,
    "umx": _umx,
    "producer": _producer,
    "blocks": partial(_blocks, "blocks"),
    "blocks bands": partial(_blocks, "blocks-bands"),
    "spleeter": quality_tables.spleeter,
    "scoring": _scoring,
    "agreement": _agreement,
    "export": export_tables.export,
    "export lite": export_tables.export_lite,
    "export limits": export_tables.export_limits,
    "export int8": export_tables.export_int8,
    "export half": export_tables.export_half,
    "stream": export_tables.stream,
    "waveform": export_tables.waveform,
    "causal": quality_tables.causal,
    "machine": _machine,
    "peers": _peers,
}
