"""Trained or imported runs to one ONNX file: freeze, trace, verify, write."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.conversion.freeze import freeze
from kerasep.conversion.trace import to_onnx
from kerasep.conversion.verify import OPERATORS, check_operators, check_parity, magnitudes, measure_parity, operators
from kerasep.conversion.write import counted, save_onnx, write
from kerasep.datasets import demo
from kerasep.errors import UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest
from kerasep.signal.spectrogram import Spectrogram


def pack(
    runs: Sequence[Path],
    output: Path,
    licence: str | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
) -> Manifest:
    """Merge trained or imported runs into `output` (.onnx) and write its manifest next to it.

    Args:
        runs: run folders with disjoint targets, on the same spectrogram.
        output: the file.
        licence, mask, exponent, wiener: see `freeze`.

    Returns:
        The manifest.

    Raises:
        KerasepError: a run cannot be used, the runs disagree, or ONNX Runtime and Keras do; nothing is written then.
        UsageError: `output` is not named .onnx.
    """
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: name the artifact .onnx")
    frozen = freeze(runs, output.stem, licence, mask, exponent, wiener)
    graph = to_onnx(frozen.lean, frozen.spectrogram)

    def verified(artifact: Artifact) -> dict[str, Any]:
        check_operators(str(output), operators(artifact.path), OPERATORS)
        parity = measure_parity(artifact, frozen, demo_magnitudes(frozen.spectrogram))
        check_parity(str(output), parity)
        return {"parity": parity}

    return write(partial(save_onnx, graph), counted(frozen.manifest, graph), output, verified)


def demo_magnitudes(spectrogram: Spectrogram) -> np.ndarray:
    """The demo song's mixture as a network sees it, float32 (frames, bins, channels)."""
    return magnitudes(np.sum(list(demo.render().values()), axis=0), demo.RATE, spectrogram)
