"""Tables of exported files: verification and speed."""

import statistics
from typing import Any

from benchmarks.pages.committed import result
from kerasep.markdown import table


def export() -> list[str]:
    rows = []
    for name, network in result("export")["networks"].items():
        medians = {precision: statistics.median(samples) for precision, samples in network["samples"].items()}
        for precision, file in network["files"].items():
            milliseconds = f"{1000 * medians[precision] / network['seconds_of_audio']:.1f}"
            share, web = f"{medians[precision] / medians['float32']:.2f}", f"{file['web']['max_relative_error']:.0e}"
            rows.append((f"`{name}`", precision, *_verified(file, network["files"]), milliseconds, share, web))
    return table(("network", "precision", *VERIFIED, "ms per s", "time of float32", "web"), rows)


def export_lite() -> list[str]:
    rows = []
    for name, network in result("export")["networks"].items():
        lite = network["tflite"]
        medians = {precision: statistics.median(samples) for precision, samples in lite["samples"].items()}
        for precision, file in lite["files"].items():
            milliseconds = f"{1000 * medians[precision] / lite['seconds_of_audio']:.1f}"
            share = f"{medians[precision] / medians['onnx']:.2f}"
            rows.append((f"`{name}`", precision, *_verified(file, lite["files"]), milliseconds, share))
    return table(("network", "precision", *VERIFIED, "ms per s", "time of ONNX Runtime"), rows)


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


def export_limits() -> list[str]:
    found = result("export")
    rows = []
    for name, network in found["networks"].items():
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
    rates = [(n["multiply_adds_per_second"] / 1e9, n["bytes_copied_per_second"] / 1e9) for n in found["networks"].values()]
    products, copies = ([rate[place] for rate in rates] for place in (0, 1))
    spread = f"{min(products):.0f} to {max(products):.0f} G multiply-adds and {min(copies):.1f} to {max(copies):.1f} GB copied"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return [
        *table(head, rows),
        "",
        f"Rates during these runs: {spread} a second, {found['machine']['cores']} cores. {versions}.",
    ]


def export_int8() -> list[str]:
    rows = []
    for name, network in result("export")["networks"].items():
        for precision in ("int8", "int8-dynamic"):
            layers = network["files"][precision]["int8_activations"]
            rows.append((f"`{name}`", precision, ", ".join(layers) or "none: weights alone are int8"))
    return table(("network", "precision", "layers whose activations are eight bits"), rows)


def export_half() -> list[str]:
    rows = []
    for name, network in result("export")["networks"].items():
        here, rounded = network["files"]["float16"], network["files"]["float16"]["rounded_like_hardware"]
        loss = max(row["median_loss"] for row in rounded["sdr"].values())
        rows.append(
            (f"`{name}`", f"{here['agreement_db']['median']:.0f}", f"{rounded['agreement_db']['median']:.0f}", f"{loss:.4f}")
        )
    return table(("stems against float32's, dB", "on this CPU", "every result rounded", "SDR lost, every result rounded"), rows)


def stream() -> list[str]:
    rows = []
    for model in result("stream")["models"]:
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
    return table(head, rows)


def waveform() -> list[str]:
    rows = []
    for graph in result("waveform")["graphs"]:
        medians = {name: statistics.median(samples) for name, samples in graph["samples"].items()}
        operations = [f"{graph['multiply_adds_per_second'][part] / 1e6:.0f}" for part in ("transform", "network", "inverse")]
        times = [f"{1000 * medians[name] / graph['seconds_of_audio']:.1f}" for name in ("host", "waveform")]
        times.append(f"{medians['waveform'] / medians['host']:.2f}")
        name, size = f"`{graph['name']}`, {graph['format']}", f"{graph['bytes'] / 1e6:.1f} MB"
        rows.append((name, size, f"{graph['agreement_db']:.0f} dB", *times, *operations))
    head = ("around it, ms per s", "in one graph, ms per s", "ratio", "M multiply-adds per s: transform", "network", "inverse")
    return table(("graph", "size", "agreement", *head), rows)
