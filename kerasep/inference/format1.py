"""Manifests of version 1 of the format, as those of version 2: one class had all fields of all kinds of graph."""

from typing import Any

from kerasep.inference.chunking import segments_of
from kerasep.inference.graphs import Blocks, Graph, Kind, SpectrogramGraph, StepGraph, WaveformGraph, Windows
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Masking
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.wiener import FILTER_FRAMES

FORMAT = 1
COMMON = ("name", "licence", "precision", "origin", "parameters", "multiply_adds", "details")


def from_json(values: dict[str, Any]) -> Manifest:
    """A manifest from the values of one of version 1.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: they are no manifest.
    """
    spectrogram = Spectrogram(**values["spectrogram"])
    masking = Masking(
        mask=values["mask"],
        exponent=values["exponent"],
        unclaimed=values.get("unclaimed", "shared"),
        wiener=values["wiener"],
        filter_frames=values.get("filter_frames", FILTER_FRAMES),
    )
    blocks = Blocks(values["block_frames"], values["context_frames"], values["context_exact"], values["minimum_frames"])
    window, stride = values.get("window_frames", 0), values.get("step_frames", 0)
    windows = Windows(window, stride, values.get("margin_frames", 0)) if window else None
    kind, batch = values.get("graph", Kind.SPECTROGRAM), values.get("batch", 0)
    graph: Graph
    if kind == Kind.SPECTROGRAM:
        graph = SpectrogramGraph(spectrogram, blocks, masking, windows, batch)
    elif kind == Kind.STEP:
        graph = StepGraph(spectrogram, masking, values["states"], values["look_ahead_frames"], blocks.minimum, masks=True)
    elif kind == Kind.WAVEFORM:
        samples = values.get("samples", 0)
        segments = segments_of(spectrogram, blocks.context, stride or 1, blocks.frames, blocks.minimum, samples)
        graph = WaveformGraph(spectrogram.rate, spectrogram.channels, segments, samples > 0, blocks.exact, batch)
    else:
        raise ValueError(f"unknown graph {kind!r}: choose from {', '.join(Kind)}")
    common = {name: values[name] for name in COMMON if name in values}
    return Manifest(targets=tuple(values["targets"]), graph=graph, **common)
