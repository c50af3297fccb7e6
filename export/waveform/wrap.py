"""Waveform graphs: a mixture in, its stems out, with transform, network, masks and inverse transform inside.

The network's graph, in whatever precision it is, stands between two others, which stay float32: from the mixture to its
spectrum and magnitudes, and from that spectrum and the network's estimates to stems.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import keras
import numpy as np
import onnx
from keras import ops
from onnx import GraphProto, ModelProto, compose
from tensorflow.lite.python.schema_py_generated import ModelT

from export.tflite import convert
from export.tflite.graph import copied, joined
from export.waveform.factored import Plan
from export.waveform.transforms import Analysis, Synthesis
from export.waveform.wiener import filtered
from kerasep.conversion.convert import traced
from kerasep.conversion.merge import merged
from kerasep.conversion.resize import FRAMES, resizable
from kerasep.errors import UsageError
from kerasep.inference.manifest import INPUT, Manifest
from kerasep.inference.segments import margin, stride
from kerasep.inference.windows import crossfade
from kerasep.signal.masks import TINY

# What goes from graph to graph; with ESTIMATE begin names of what a network makes.
SPECTRUM, MAGNITUDES, ESTIMATE = "spectrum", "magnitudes", "estimate_"
DIMENSIONS = ("batch", "frames", "samples", "frames")  # of all of these, where they are free: magnitudes' second, stems' third


class Waveform:
    """What stands around a network.

    Attributes:
        manifest: of the graph to be.
        network: shape of what the network is to take: batch, frames, bins, channels, 0 for any number of frames.
    """

    def __init__(self, manifest: Manifest, frames: int, batch: int) -> None:
        """
        Args:
            manifest: of the network's spectrogram graph.
            frames, batch: that the graph is to take; 0 frames for any number, of a network that takes any.

        Raises:
            UsageError: what the manifest asks for cannot be done in a graph.
        """
        if manifest.mask == "binary" or manifest.wiener > 1:
            raise UsageError(f"{manifest.name}: a waveform graph has no binary masks, and one iteration of a filter at most")
        if manifest.wiener and not frames:
            raise UsageError(f"{manifest.name}: a Wiener filter learns from a number of frames: fix it with --frames")
        try:
            plan = Plan(manifest.spectrogram)
        except ValueError as error:
            raise UsageError(f"{manifest.name}: {error}") from error
        self.plan, self.frames, self.batch = plan, frames, batch
        window, step = manifest.window_frames, manifest.step_frames
        self.windows = 1 + max(0, -(-(frames - window) // step)) if window else 0
        self.bins, self.channels = manifest.spectrogram.bins, manifest.spectrogram.channels
        self.network = (batch * (self.windows or 1), window or frames, self.bins, self.channels)
        operations = plan.per_second() * self.channels * (1 + len(manifest.targets))
        self.manifest = replace(
            manifest,
            graph="waveform",
            batch=batch,
            samples=plan.samples(frames) if frames else 0,
            multiply_adds=manifest.multiply_adds + operations,
        )
        if stride(self.manifest) < 1:
            least = plan.frames(2 * margin(self.manifest) * plan.spectrogram.hop) + manifest.step_frames + 1
            raise UsageError(f"{manifest.name}: {frames} frames are less than a frame and its context: take {least} or more")

    def in_onnx(self, network: ModelProto) -> ModelProto:
        """All of it around an ONNX network."""
        before, behind = (_onnx(build, self.frames) for build in (self._before, self._behind))
        middle = compose.add_prefix_graph(network.graph, "network/")
        behind = compose.add_prefix_graph(behind, "synthesis/", rename_outputs=False)
        links = {SPECTRUM: SPECTRUM} | {f"network/{target}": f"{ESTIMATE}{target}" for target in self.manifest.targets}
        links = {made: f"synthesis/{taken}" for made, taken in links.items()}
        graph = compose.merge_graphs(before, middle, [(MAGNITUDES, f"network/{INPUT}")])
        graph = compose.merge_graphs(graph, behind, [*links.items()])
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
        """All of it around a TFLite network."""
        before, behind = (_tflite(build, self.frames) for build in (self._before, self._behind))
        links = {SPECTRUM: SPECTRUM} | {target: f"{ESTIMATE}{target}" for target in self.manifest.targets}
        return joined(joined(before, copied(network), {MAGNITUDES: INPUT}), behind, links)

    def _before(self, frames: int) -> keras.Model:
        """From the mixture to its spectrum and what the network takes."""
        size = (self.channels, self.plan.samples(frames))
        mixture = keras.Input(size, batch_size=self.batch, name=INPUT)
        spectrum = Analysis(self.plan, self.batch * self.channels)(mixture)
        x = self._magnitudes(spectrum)
        x = self._cut(x, frames) if self.windows else x
        return keras.Model(mixture, {SPECTRUM: spectrum, MAGNITUDES: x}, name="analysis")

    def _behind(self, frames: int) -> keras.Model:
        """From the mixture's spectrum and the network's estimates to stems."""
        manifest, signals = self.manifest, self.batch * self.channels
        spectrum = keras.Input((self.plan.rows, signals, frames), batch_size=2, name=SPECTRUM)
        batch, window, *rest = self.network
        size = (window or frames, *rest)
        inputs = {target: keras.Input(size, batch_size=batch, name=f"{ESTIMATE}{target}") for target in manifest.targets}
        estimates = {target: self._joined(x, frames) if self.windows else x for target, x in inputs.items()}
        synthesis, halves = Synthesis(self.plan, self.channels), self.plan.halves()[:, None, None]
        gains, missing = self._gains(estimates, spectrum), ((0, self.plan.rows - self.bins), (0, 0), (0, 0))
        if manifest.wiener:
            spectra = self._filtered(gains, spectrum)
            stems = {target: synthesis(ops.pad(x, ((0, 0), *missing)) * halves) for target, x in spectra.items()}
        else:
            counted, stems = spectrum * halves, {}
            for target, gain in gains.items():
                stems[target] = synthesis(counted * ops.pad(self._inwards(gain), missing))
        named = {SPECTRUM: spectrum} | {f"{ESTIMATE}{target}": x for target, x in inputs.items()}
        return keras.Model(named, stems, name="synthesis")

    def _magnitudes(self, spectrum):
        """Of a spectrum, (batch, frames, bins, channels)."""
        return self._outwards(ops.sqrt(ops.sum(ops.square(spectrum), axis=0)[: self.bins, :, :]))

    def _outwards(self, x):
        """(bins, signals, frames), as transforms have it, to (batch, frames, bins, channels), as networks have it."""
        x = ops.reshape(x, (self.bins, self.batch, self.channels, -1))
        x = x if self.batch == 1 else ops.transpose(x, (1, 0, 2, 3))
        x = ops.transpose(ops.reshape(x, (self.batch, self.bins * self.channels, -1)), (0, 2, 1))
        return ops.reshape(x, (self.batch, -1, self.bins, self.channels))

    def _inwards(self, x):
        """And back."""
        x = ops.transpose(ops.reshape(x, (self.batch, -1, self.bins * self.channels)), (0, 2, 1))
        if self.batch > 1:
            x = ops.transpose(ops.reshape(x, (self.batch, self.bins, self.channels, -1)), (1, 0, 2, 3))
        return ops.reshape(x, (self.bins, self.batch * self.channels, -1))

    def _gains(self, estimates: dict, spectrum) -> dict:
        """`kerasep.signal.masks` in Keras: gains (batch, frames, bins, channels)."""
        if self.manifest.mask == "none":
            magnitudes = ops.maximum(self._magnitudes(spectrum), TINY)
            return {target: estimate / magnitudes for target, estimate in estimates.items()}
        exponent = self.manifest.exponent
        if exponent != 1:
            strongest = ops.maximum(reduce(ops.maximum, estimates.values()), TINY)
            scaled = {target: estimate / strongest for target, estimate in estimates.items()}
            estimates = {t: ops.square(x) if exponent == 2 else ops.power(x, exponent) for t, x in scaled.items()}
        total = reduce(ops.add, estimates.values()) + TINY * len(estimates)
        least = TINY if self.manifest.unclaimed == "shared" else 0
        return {target: (estimate + least if least else estimate) / total for target, estimate in estimates.items()}

    def _filtered(self, gains: dict, spectrum) -> dict:
        """Spectra (2, bins, signals, frames) of the Wiener filter, from gains (batch, frames, bins, channels)."""
        x = ops.reshape(spectrum[:, : self.bins], (2, self.bins, self.batch, self.channels, -1))
        x = ops.transpose(x, (0, 3, 1, 4, 2))
        turned = [ops.transpose(gain, (3, 2, 1, 0)) for gain in gains.values()]
        stems = filtered(turned, x, self.manifest.filter_frames)
        shape = (2, self.bins, self.batch * self.channels, -1)
        return {
            target: ops.reshape(ops.transpose(stem, (0, 2, 4, 1, 3)), shape) for target, stem in zip(gains, stems, strict=True)
        }

    def _cut(self, magnitudes, frames: int):
        """`kerasep.inference.windows.cut` of (batch, frames, bins, channels): (batch x windows, window, bins, channels)."""
        window, step = self.manifest.window_frames, self.manifest.step_frames
        missing = (self.windows - 1) * step + window - frames
        x = ops.pad(magnitudes, ((0, 0), (0, missing), (0, 0), (0, 0)))
        x = ops.reshape(x, (self.batch, -1, step, self.bins * self.channels))
        x = ops.concatenate([x[:, piece : piece + self.windows] for piece in range(window // step)], axis=2)
        return ops.reshape(x, (-1, window, self.bins, self.channels))

    def _joined(self, estimates, frames: int):
        """`crossfade` of (batch x windows, window, bins, channels): (batch, frames, bins, channels)."""
        window, step = self.manifest.window_frames, self.manifest.step_frames
        shape = (1, self.windows, window, 1)
        x = ops.reshape(estimates, (self.batch, self.windows, window, self.bins * self.channels))
        x = x * _shares(self.windows, window, step).reshape(shape)
        pieces = window // step
        parts = [
            ops.pad(x[:, :, piece * step : (piece + 1) * step], ((0, 0), (piece, pieces - 1 - piece), (0, 0), (0, 0)))
            for piece in range(pieces)
        ]
        whole = ops.reshape(reduce(ops.add, parts), (self.batch, -1, self.bins, self.channels))
        return whole[:, :frames]


def _shares(windows: int, frames: int, step: int) -> np.ndarray:
    """What each window's frames count for where they are put together: (windows, frames)."""
    shares = np.zeros((windows, frames), np.float32)
    for number, basis in enumerate(np.eye(windows, dtype=np.float32)):
        whole = crossfade(np.tile(basis[:, None, None, None], (1, frames, 1, 1)), step)
        shares[number] = whole[number * step : number * step + frames, 0, 0]
    return shares


def _onnx(build: Callable[[int], keras.Model], frames: int) -> GraphProto:
    """A part's graph, for a number of frames, or 0 for any."""
    parts = [build(number) for number in ([frames] if frames else FRAMES)]
    graphs = [traced(part, _shapes(part), f"{part.name}/") for part in parts]
    return merged([graphs[0] if frames else resizable(*graphs, names=DIMENSIONS)])


def _tflite(build: Callable[[int], keras.Model], frames: int) -> ModelT:
    """The same for TFLite."""
    parts = [build(number) for number in ([frames] if frames else convert.FRAMES)]
    models = [convert.converted([part], _shapes(part)) for part in parts]
    return models[0] if frames else convert.resizable(*models)


def _shapes(network: keras.Model) -> dict[str, tuple[int, ...]]:
    inputs = network.input if isinstance(network.input, dict) else {INPUT: network.input}
    return {name: tuple(tensor.shape) for name, tensor in inputs.items()}
