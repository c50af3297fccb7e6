"""Waveform graphs: a mixture in, its stems out, with transform, network, masks and inverse transform inside.

The network's graph, in any precision, is put between two others, which stay float32: from the mixture to its
spectrum and magnitudes, and from that spectrum and the network's estimates to stems.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property, reduce

import keras
import numpy as np
import onnx
from keras import ops
from onnx import GraphProto, ModelProto, compose
from tensorflow.lite.python.schema_py_generated import ModelT

from export.tflite import convert
from export.tflite.graph import copied, joined
from export.waveform.transforms import Analysis, Synthesis
from export.waveform.wiener import filtered
from kerasep.conversion.merge import merged
from kerasep.conversion.resize import FRAMES, resizable
from kerasep.conversion.trace import traced
from kerasep.errors import UsageError
from kerasep.inference.chunking import crossfade, segments_of
from kerasep.inference.graphs import INPUT, Segments, SpectrogramGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Mask, Unclaimed
from kerasep.signal.factored import Plan
from kerasep.signal.masks import TINY

# Tensors that go from graph to graph; ESTIMATE is the prefix of the network's outputs.
SPECTRUM, MAGNITUDES, ESTIMATE = "spectrum", "magnitudes", "estimate_"
DIMENSIONS = ("batch", "frames", "samples", "frames")  # of all of these, where they are free: magnitudes' second, stems' third


def usual_frames(graph: SpectrogramGraph) -> int:
    """Frames that a waveform graph takes if none were asked for: 0, which is any, unless it has a filter or windows.

    Margins then make up at most half of a segment.
    """
    if graph.masking.wiener:
        grid = graph.masking.filter_frames
        return grid * -(-4 * _segments(graph).margin // (graph.spectrogram.hop * grid))
    return graph.blocks.frames + 2 * graph.blocks.context if graph.windows else 0


def _segments(graph: SpectrogramGraph, samples: int = 0) -> Segments:
    """How songs are cut for a waveform graph that takes this number of samples, 0 for any."""
    blocks, stride = graph.blocks, graph.windows.stride if graph.windows else 1
    return segments_of(graph.spectrogram, blocks.context, stride, blocks.frames, blocks.minimum, samples)


class Waveform:
    """Transform, masks or filter, and inverse transform for a network on spectrograms.

    Attributes:
        manifest: of the waveform graph.
        graph: the manifest's.
        network: shape of the network's input: batch, frames, bins, channels, 0 for any number of frames.
    """

    def __init__(self, manifest: Manifest, frames: int, batch: int) -> None:
        """
        Args:
            manifest: of the network's spectrogram graph.
            frames, batch: that the graph takes; 0 frames for any number, if the network takes any.

        Raises:
            UsageError: what the manifest asks for cannot be done in a graph.
        """
        inner, name = manifest.graph, manifest.name
        assert isinstance(inner, SpectrogramGraph)  # noqa: S101 - says the docstring
        self.masking = inner.masking
        if self.masking.mask == Mask.BINARY or self.masking.wiener > 1:
            raise UsageError(f"{name}: a waveform graph has no binary masks, and one iteration of a filter at most")
        if self.masking.wiener and not frames:
            raise UsageError(f"{name}: a Wiener filter learns from a number of frames: fix it with --frames")
        try:
            plan = Plan(inner.spectrogram)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
        self.plan, self.frames, self.batch = plan, frames, batch
        self.bins, self.channels = inner.spectrogram.bins, inner.spectrogram.channels
        self.window, self.stride = (inner.windows.frames, inner.windows.stride) if inner.windows else (0, 0)
        self.windows = 1 + max(0, -(-(frames - self.window) // self.stride)) if self.window else 0
        self.network = (batch * (self.windows or 1), self.window or frames, self.bins, self.channels)
        try:
            segments = _segments(inner, plan.samples(frames) if frames else 0)
        except ValueError as error:
            least = plan.frames(2 * _segments(inner).margin) + self.stride + 1
            reason = f"{frames} frames are less than a frame and its context: take {least} or more"
            raise UsageError(f"{name}: {reason}") from error
        fixed, rate = frames > 0, inner.spectrogram.rate
        operations = plan.per_second() * self.channels * (1 + len(manifest.targets))
        inside = {"transform": asdict(inner.spectrogram), "masking": asdict(inner.masking)}
        operations += manifest.multiply_adds
        try:
            self.graph = WaveformGraph(rate, self.channels, segments, fixed, inner.blocks.exact, batch)
            details = manifest.details | inside
            self.manifest = replace(manifest, graph=self.graph, multiply_adds=operations, details=details)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error

    def in_onnx(self, network: ModelProto) -> ModelProto:
        """The waveform graph of a network in ONNX."""
        analysis, synthesis = self._onnx_parts
        middle = compose.add_prefix_graph(network.graph, "network/")
        synthesis = compose.add_prefix_graph(synthesis, "synthesis/", rename_outputs=False)
        links = {SPECTRUM: SPECTRUM} | {f"network/{target}": f"{ESTIMATE}{target}" for target in self.manifest.targets}
        links = {output: f"synthesis/{given}" for output, given in links.items()}
        graph = compose.merge_graphs(analysis, middle, [(MAGNITUDES, f"network/{INPUT}")])
        graph = compose.merge_graphs(graph, synthesis, [*links.items()])
        model = ModelProto()
        model.CopyFrom(network)
        model.graph.CopyFrom(graph)
        del model.graph.value_info[:]  # sizes that the parts were traced for
        outputs = {output.name: output for output in graph.output}
        del model.graph.output[:]
        model.graph.output.extend(outputs[target] for target in self.manifest.targets)
        onnx.checker.check_model(model, full_check=True)
        return model

    def in_tflite(self, network: ModelT) -> ModelT:
        """The waveform graph of a network in TFLite."""
        analysis, synthesis = map(copied, self._tflite_parts)
        links = {SPECTRUM: SPECTRUM} | {target: f"{ESTIMATE}{target}" for target in self.manifest.targets}
        return joined(joined(analysis, copied(network), {MAGNITUDES: INPUT}), synthesis, links)

    @cached_property
    def _onnx_parts(self) -> list[GraphProto]:
        """Analysis and synthesis, the same for networks in every precision."""
        return [_onnx(build, self.frames) for build in (self._analysis, self._synthesis)]

    @cached_property
    def _tflite_parts(self) -> list[ModelT]:
        return [_tflite(build, self.frames) for build in (self._analysis, self._synthesis)]

    def _analysis(self, frames: int) -> keras.Model:
        """From the mixture to its spectrum and what the network takes."""
        size = (self.channels, self.plan.samples(frames))
        mixture = keras.Input(size, batch_size=self.batch, name=INPUT)
        spectrum = Analysis(self.plan, self.batch * self.channels)(mixture)
        x = self._magnitudes(spectrum)
        x = self._cut(x, frames) if self.windows else x
        return keras.Model(mixture, {SPECTRUM: spectrum, MAGNITUDES: x}, name="analysis")

    def _synthesis(self, frames: int) -> keras.Model:
        """From the mixture's spectrum and the network's estimates to stems."""
        signals = self.batch * self.channels
        spectrum = keras.Input((self.plan.rows, signals, frames), batch_size=2, name=SPECTRUM)
        batch, window, *rest = self.network
        size = (window or frames, *rest)
        inputs = {target: keras.Input(size, batch_size=batch, name=f"{ESTIMATE}{target}") for target in self.manifest.targets}
        estimates = {target: self._joined(x, frames) if self.windows else x for target, x in inputs.items()}
        inverse, weights = Synthesis(self.plan, self.channels), self.plan.row_weights()[:, None, None]
        gains, missing = self._gains(estimates, spectrum), ((0, self.plan.rows - self.bins), (0, 0), (0, 0))
        if self.masking.wiener:
            spectra = self._filtered(gains, spectrum)
            stems = {target: inverse(ops.pad(x, ((0, 0), *missing)) * weights) for target, x in spectra.items()}
        else:
            weighted, stems = spectrum * weights, {}
            for target, gain in gains.items():
                stems[target] = inverse(weighted * ops.pad(self._from_network(gain), missing))
        named = {SPECTRUM: spectrum} | {f"{ESTIMATE}{target}": x for target, x in inputs.items()}
        return keras.Model(named, stems, name="synthesis")

    def _magnitudes(self, spectrum):
        """Of a spectrum, (batch, frames, bins, channels)."""
        return self._to_network(ops.sqrt(ops.sum(ops.square(spectrum), axis=0)[: self.bins, :, :]))

    def _to_network(self, x):
        """From the transforms' layout (bins, signals, frames) to the networks' (batch, frames, bins, channels)."""
        x = ops.reshape(x, (self.bins, self.batch, self.channels, -1))
        x = x if self.batch == 1 else ops.transpose(x, (1, 0, 2, 3))
        x = ops.transpose(ops.reshape(x, (self.batch, self.bins * self.channels, -1)), (0, 2, 1))
        return ops.reshape(x, (self.batch, -1, self.bins, self.channels))

    def _from_network(self, x):
        """The inverse of `_to_network`."""
        x = ops.transpose(ops.reshape(x, (self.batch, -1, self.bins * self.channels)), (0, 2, 1))
        if self.batch > 1:
            x = ops.transpose(ops.reshape(x, (self.batch, self.bins, self.channels, -1)), (1, 0, 2, 3))
        return ops.reshape(x, (self.bins, self.batch * self.channels, -1))

    def _gains(self, estimates: dict, spectrum) -> dict:
        """`kerasep.signal.masks` in Keras: gains (batch, frames, bins, channels)."""
        if self.masking.mask == Mask.NONE:
            magnitudes = ops.maximum(self._magnitudes(spectrum), TINY)
            return {target: estimate / magnitudes for target, estimate in estimates.items()}
        exponent = self.masking.exponent
        if exponent != 1:
            strongest = ops.maximum(reduce(ops.maximum, estimates.values()), TINY)
            scaled = {target: estimate / strongest for target, estimate in estimates.items()}
            estimates = {t: ops.square(x) if exponent == 2 else ops.power(x, exponent) for t, x in scaled.items()}
        total = reduce(ops.add, estimates.values()) + TINY * len(estimates)
        least = TINY if self.masking.unclaimed == Unclaimed.SHARED else 0
        return {target: (estimate + least if least else estimate) / total for target, estimate in estimates.items()}

    def _filtered(self, gains: dict, spectrum) -> dict:
        """Spectra (2, bins, signals, frames) of the Wiener filter, from gains (batch, frames, bins, channels)."""
        x = ops.reshape(spectrum[:, : self.bins], (2, self.bins, self.batch, self.channels, -1))
        x = ops.transpose(x, (0, 3, 1, 4, 2))
        transposed = [ops.transpose(gain, (3, 2, 1, 0)) for gain in gains.values()]
        stems = filtered(transposed, x, self.masking.filter_frames)
        shape = (2, self.bins, self.batch * self.channels, -1)
        return {
            target: ops.reshape(ops.transpose(stem, (0, 2, 4, 1, 3)), shape) for target, stem in zip(gains, stems, strict=True)
        }

    def _cut(self, magnitudes, frames: int):
        """`kerasep.inference.chunking.cut` of (batch, frames, bins, channels): (batch x windows, window, bins, channels)."""
        missing = (self.windows - 1) * self.stride + self.window - frames
        x = ops.pad(magnitudes, ((0, 0), (0, missing), (0, 0), (0, 0)))
        x = ops.reshape(x, (self.batch, -1, self.stride, self.bins * self.channels))
        pieces = self.window // self.stride
        x = ops.concatenate([x[:, piece : piece + self.windows] for piece in range(pieces)], axis=2)
        return ops.reshape(x, (-1, self.window, self.bins, self.channels))

    def _joined(self, estimates, frames: int):
        """`crossfade` of (batch x windows, window, bins, channels): (batch, frames, bins, channels)."""
        stride, pieces = self.stride, self.window // self.stride
        x = ops.reshape(estimates, (self.batch, self.windows, self.window, self.bins * self.channels))
        x = x * _shares(self.windows, self.window, stride).reshape(1, self.windows, self.window, 1)
        parts = [
            ops.pad(x[:, :, piece * stride : (piece + 1) * stride], ((0, 0), (piece, pieces - 1 - piece), (0, 0), (0, 0)))
            for piece in range(pieces)
        ]
        whole = ops.reshape(reduce(ops.add, parts), (self.batch, -1, self.bins, self.channels))
        return whole[:, :frames]


def _shares(windows: int, frames: int, stride: int) -> np.ndarray:
    """Each window's weight at each of its frames, where windows are put together: (windows, frames)."""
    shares = np.zeros((windows, frames), np.float32)
    for number, basis in enumerate(np.eye(windows, dtype=np.float32)):
        whole = crossfade(np.tile(basis[:, None, None, None], (1, frames, 1, 1)), stride)
        shares[number] = whole[number * stride : number * stride + frames, 0, 0]
    return shares


def _onnx(build: Callable[[int], keras.Model], frames: int) -> GraphProto:
    """A part's graph, for a number of frames, or 0 for any."""
    parts = [build(number) for number in ([frames] if frames else FRAMES)]
    graphs = [traced(part, _shapes(part), f"{part.name}/") for part in parts]
    return merged([graphs[0] if frames else resizable(graphs[0], graphs[1], DIMENSIONS)])


def _tflite(build: Callable[[int], keras.Model], frames: int) -> ModelT:
    """The same for TFLite."""
    parts = [build(number) for number in ([frames] if frames else convert.FRAMES)]
    models = [convert.converted([part], _shapes(part)) for part in parts]
    return models[0] if frames else convert.resizable(*models)


def _shapes(network: keras.Model) -> dict[str, tuple[int, ...]]:
    inputs = network.input if isinstance(network.input, dict) else {INPUT: network.input}
    return {name: tuple(tensor.shape) for name, tensor in inputs.items()}
