"""From runs to files, step by step: freeze, trace, quantise, wrap, verify, write.

freeze      runs to Keras networks in float32 and a manifest                        kerasep.conversion.freeze
trace       networks to a float32 graph in a format                                 Exporter.trace
quantise    the graph in another precision                                          Exporter.quantise
wrap        for waveform graphs: transform, masks and inverse transform around it   Exporter.wrap
verify      the file against the networks, and its stems against float32's          export.verify
write       the file and its manifest, once it has passed                           kerasep.conversion.write

`kerasep.conversion.pack` goes the same way for ONNX files in float32. A new format is an `Exporter`, a new precision a case of
`Exporter.quantise`, a new kind of graph a function of `FREEZE`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from export.clips import fitted, to_calibrate, to_verify
from export.exporter import Exporter
from export.onnx.exporter import OnnxExporter
from export.options import ExportOptions, Format
from export.tflite.exporter import TFLiteExporter
from export.verify import file_name, float32_stems, verify
from export.waveform.wrap import Waveform, usual_frames
from kerasep.conversion.freeze import Frozen, freeze, freeze_step
from kerasep.conversion.trace import to_onnx
from kerasep.conversion.write import counted, write
from kerasep.files import check_writable
from kerasep.inference.graphs import Kind, SpectrogramGraph

DEFAULTS = ExportOptions()
EXPORTERS: dict[Format, Exporter[Any]] = {Format.ONNX: OnnxExporter(), Format.TFLITE: TFLiteExporter()}


def export(runs: Sequence[Path], output: Path, options: ExportOptions = DEFAULTS) -> Iterator[Path]:
    """Export runs, and give each file's path once it is there.

    Args:
        runs: run folders with disjoint targets, on the same spectrogram.
        output: folder for NAME.onnx, NAME-float16.tflite and so on, and their manifests.
        options: what to export.

    Raises:
        UsageError: sizes that the networks or the format do not take.
        KerasepError: a run cannot be used, the folder cannot be written to, or a file fails its verification.
    """
    check_writable(output)
    clips = to_verify(options.root)
    sources = [os.path.relpath(run.resolve(), output.resolve()) for run in runs]
    for form in options.formats:
        exporter = EXPORTERS[form]
        frozen = FREEZE[options.graph](runs, options, exporter)
        batch, frames = frozen.manifest.graph.shape[:2]
        reference = to_onnx(frozen.lean, frozen.spectrogram, frames, batch)
        frozen = replace(frozen, manifest=counted(frozen.manifest, reference))
        wrapper = _wrapper(frozen, options, exporter) if options.graph is Kind.WAVEFORM else None
        base, music = (wrapper.manifest, fitted(clips, wrapper.graph)) if wrapper else (frozen.manifest, clips)
        check = partial(verify, frozen=frozen, clips=music, reference=float32_stems(reference, frozen.manifest, music))
        shape = exporter.input_shape(frozen, wrapper)
        model = exporter.trace(frozen, reference, shape)
        calibration = cache(partial(to_calibrate, cast(Path, options.root), frozen.spectrogram, shape))
        for precision in options.precisions:
            converted, notes = exporter.quantise(model, precision, base.targets, calibration)
            converted = exporter.wrap(converted, wrapper) if wrapper else converted
            details = base.details | notes | {"verified_on": len(clips)}
            manifest = replace(base, precision=str(precision), details=details)
            path = output / file_name(manifest, form)
            write(partial(exporter.save, converted), manifest, path, check, sources=sources)
            yield path


def _spectrogram(runs: Sequence[Path], options: ExportOptions, exporter: Exporter[Any]) -> Frozen:
    """Networks with the sizes asked for, or those that the format takes."""
    load = partial(freeze, runs, options.name or "", options.licence, batch=options.batch or exporter.batch)
    frozen = load(frames=options.frames)
    frames = exporter.frames(frozen.networks, options.frames, options.batch)
    return _named(frozen if frames == options.frames else load(frames=frames), options)


def _step(runs: Sequence[Path], options: ExportOptions, exporter: Exporter[Any]) -> Frozen:
    """Networks that run frame by frame."""
    return _named(freeze_step(runs, options.name or "", options.licence), options)


def _waveform(runs: Sequence[Path], options: ExportOptions, exporter: Exporter[Any]) -> Frozen:
    """Networks inside a waveform graph, and as a spectrogram graph of any size, which it is compared with."""
    return _named(freeze(runs, options.name or "", options.licence), options)


FREEZE = {Kind.SPECTROGRAM: _spectrogram, Kind.STEP: _step, Kind.WAVEFORM: _waveform}


def _named(frozen: Frozen, options: ExportOptions) -> Frozen:
    """By default after the first network, with the kind of graph where that is not the usual one."""
    kind = "" if options.graph is Kind.SPECTROGRAM else f"-{options.graph}"
    return replace(frozen, manifest=replace(frozen.manifest, name=options.name or f"{frozen.networks[0].name}{kind}"))


def _wrapper(frozen: Frozen, options: ExportOptions, exporter: Exporter[Any]) -> Waveform:
    """Transform, masks and inverse for the sizes asked for, or those that the networks and the format take."""
    graph = frozen.manifest.graph
    assert isinstance(graph, SpectrogramGraph)  # noqa: S101 - as `_waveform` makes it
    needed = exporter.frames(frozen.networks, options.frames, options.batch)
    return Waveform(frozen.manifest, options.frames or usual_frames(graph) or needed, options.batch or 1)
