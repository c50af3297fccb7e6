"""Networks that take and give waveforms, to one ONNX file: trace, verify, write."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.conversion.operations import per_second_of_waveform
from kerasep.conversion.trace import waveform_to_onnx
from kerasep.conversion.verify import check_operators, operators
from kerasep.conversion.write import save_onnx, write
from kerasep.datasets import demo
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.adapt import to_channels
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import INPUT, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.signal.levels import agreement_db

AGREEMENT = 80  # dB that a float32 file's stems agree with Keras' at least: dozens of layers round one after the other
# All that such a file may need of a runtime, beside what docs/export.md lists for the others.
ALL = (
    "Add Concat Conv ConvTranspose Div Erf Expand Gather Gemm GlobalAveragePool Identity LSTM MatMul Max Min Mul Neg Pad Pow "
    "Reciprocal ReduceMean ReduceSum Relu Reshape Sigmoid Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze"
)
OPERATORS = frozenset(ALL.split())


def pack_waveform(network: keras.Model, manifest: Manifest, output: Path) -> Manifest:
    """Write a network as a waveform graph for segments of the length that it was built for.

    Args:
        network: from (batch, samples, channels) to a dict of targets of that shape.
        manifest: of a waveform graph with such segments; its multiply-adds and agreement are measured.
        output: the file, .onnx.

    Raises:
        UsageError: `output` is not named .onnx.
        KerasepError: the file's stems are not Keras', or it needs operators that not every runtime has: nothing is written.
    """
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: name the artifact .onnx")
    graph = manifest.graph
    assert isinstance(graph, WaveformGraph)  # noqa: S101 - what this function is for
    made = waveform_to_onnx(network)
    counted = replace(manifest, multiply_adds=per_second_of_waveform(made, graph.rate, graph.segments.stride))

    def verified(artifact: Artifact) -> dict[str, Any]:
        check_operators(str(output), operators(artifact.path), OPERATORS)
        agreement = measure_agreement(artifact, network)
        if not agreement >= AGREEMENT:
            raise KerasepError(
                f"{output}: its stems agree with Keras' to {agreement:.0f} dB, less than {AGREEMENT}: not written"
            )
        return {"agreement_db": agreement}

    return write(partial(save_onnx, made), counted, output, verified)


def measure_agreement(artifact: Artifact, network: keras.Model) -> float:
    """Of the worse of two segments of music, all stems together, in dB: one as it is, and one of which most is silence."""
    graph = artifact.manifest.graph
    assert isinstance(graph, WaveformGraph)  # noqa: S101
    song = to_channels(np.sum(list(demo.render().values()), axis=0), graph.channels)
    segment = np.resize(song, (graph.segments.samples, graph.channels)).astype(np.float32)
    quiet = segment * (np.arange(len(segment)) < len(segment) // 3)[:, None]
    found = []
    for mixture in (segment, quiet.astype(np.float32)):
        expected = network.predict_on_batch(mixture[None])
        outputs = artifact.runtime.run({INPUT: mixture.T[None]})
        found.append(agreement_db((outputs[target][0].T, expected[target][0]) for target in expected))
    return min(found)
