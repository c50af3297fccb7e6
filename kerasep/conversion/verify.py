"""Whether a file does what the networks do that it was made from. `pack` and `python -m export` both ask this first."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soxr

from kerasep.conversion.freeze import Frozen
from kerasep.errors import KerasepError
from kerasep.inference.adapt import to_channels
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import SpectrogramGraph, StepGraph
from kerasep.signal.levels import relative_error
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import stft

TOLERANCE = 1e-5  # of max|a - b| / max|b| between a float32 file and Keras
# All that a float32 ONNX file may need of a runtime; docs/export.md lists them.
BASIC = (
    "Add Concat Conv ConvTranspose Div Elu Gemm LSTM LeakyRelu MatMul Mul Pad Pow Relu Reshape Sigmoid Slice Softmax Split "
    "Squeeze Sub Tanh Transpose Unsqueeze"
)
OPERATORS = frozenset(BASIC.split())


def operators(path: Path) -> dict[str, int]:
    """How often an ONNX file has each operator. The file is checked on the way."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return dict(Counter(node.op_type for node in model.graph.node))


def check_operators(what: str, found: dict[str, int], allowed: frozenset[str]) -> None:
    """Raise KerasepError, naming them, where there are operators that are not allowed."""
    if extra := sorted(set(found) - allowed):
        raise KerasepError(f"{what}: needs operators that not every runtime has: {', '.join(extra)}")


def check_parity(what: str, parity: dict[str, Any]) -> None:
    """Raise KerasepError where a float32 file differs from Keras by more than `TOLERANCE`, or is no number."""
    error = parity["max_relative_error"]
    if not error <= TOLERANCE:
        raise KerasepError(f"{what}: differs from Keras by {error:.1e}, more than {TOLERANCE:g}: not written")


def magnitudes(mixture: np.ndarray, rate: int, spectrogram: Spectrogram) -> np.ndarray:
    """A mixture, (samples, channels) at `rate` Hz, as a network takes it: float32 (frames, bins, channels)."""
    fitted = to_channels(mixture, spectrogram.channels)
    return np.abs(stft(np.asarray(soxr.resample(fitted, rate, spectrogram.rate)), spectrogram))


def measure_parity(artifact: Artifact, frozen: Frozen, music: np.ndarray) -> dict[str, Any]:
    """The largest max|file - Keras| / max|Keras| over targets, at three lengths and, where it takes any, two batch sizes.

    Args:
        artifact: the file, of a spectrogram or a step graph.
        frozen: the networks it was made from.
        music: magnitudes (frames, bins, channels) to compare on, besides noise with music's slope.
    """
    graph = artifact.manifest.graph
    assert isinstance(graph, SpectrogramGraph | StepGraph)  # noqa: S101 - stems of waveform graphs are compared instead
    window, minimum, batches = 0, 1, [1, 3]
    if isinstance(graph, SpectrogramGraph):
        window, minimum = (graph.windows.frames if graph.windows else 0), graph.blocks.minimum
        batches = [graph.batch] if graph.batch else batches
    else:
        minimum, batches = graph.minimum, []  # it takes a frame of one song, whatever it is asked
    lengths = (window, 2 * window, 3 * window + 1) if window else (minimum, 100, 300)
    size = (lengths[1] + lengths[2], graph.spectrogram.bins, graph.spectrogram.channels)
    slope = 100 / (1 + np.arange(size[1]))[:, None]
    noise = (np.random.default_rng(0).rayleigh(size=size) * slope).astype(np.float32)
    errors = {}
    for name, sound in {"noise": noise, "music": np.resize(music, size)}.items():
        pairs = [(artifact.estimate(sound[-frames:]), frozen.estimate(sound[-frames:])) for frames in lengths]
        for batch in batches:
            many = np.resize(sound, (batch, window or lengths[1], *size[1:]))
            pairs.append((artifact.run(many), frozen.run(many)))
        found = [relative_error(output[t], expected[t]) for output, expected in pairs for t in artifact.manifest.targets]
        errors[name] = float(np.max(found))  # NaN, if there is one
    worst = float(np.max(list(errors.values())))
    return {"max_relative_error": worst, **errors, "frames": list(lengths), "batches": batches}
