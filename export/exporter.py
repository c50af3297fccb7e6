"""What a format of file has to offer to the pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import keras
import numpy as np
from onnx import ModelProto

from export.options import Format, Precision
from export.waveform.wrap import Waveform
from kerasep.conversion.freeze import Frozen
from kerasep.inference.manifest import Manifest

Model = TypeVar("Model")  # a graph in memory
Shape = tuple[int, ...]
Clips = Sequence[np.ndarray]


class Exporter(ABC, Generic[Model]):
    """One format: its steps of the pipeline.

    Attributes:
        form: the format.
        batch: that spectrogram graphs take unless asked otherwise, 0 for any.
    """

    form: ClassVar[Format]
    batch: ClassVar[int] = 0

    def frames(self, networks: Sequence[keras.Model], frames: int, batch: int) -> int:
        """Frames that these networks take in this format where `frames` and `batch` were asked for, 0 for any.

        Raises:
            UsageError: the format cannot have that.
        """
        return frames

    def input_shape(self, frozen: Frozen, wrapper: Waveform | None) -> Shape:
        """Of the network's input in this format, 0 for any size; `wrapper` is given for waveform graphs."""
        return frozen.manifest.graph.shape

    @abstractmethod
    def trace(self, frozen: Frozen, reference: ModelProto, shape: Shape) -> Model:
        """The networks as one float32 graph with inputs of this shape; `reference` is the same in ONNX."""

    def quantise(
        self, model: Model, precision: Precision, targets: Sequence[str], clips: Callable[[], Clips]
    ) -> tuple[Model, dict[str, Any]]:
        """A float32 graph in another precision, and what its manifest's details should say about that.

        Args:
            model: the graph.
            precision: to get.
            targets: the graph's outputs.
            clips: gives magnitudes of real mixtures in the shape of the graph's input.
        """
        if precision is Precision.FLOAT16:
            return self._float16(model, targets), {}
        if precision.integer:
            converted, layers = self._int8(model, targets, clips(), precision)
            return converted, {"int8_activations": layers}
        return model, {}

    @abstractmethod
    def _float16(self, model: Model, targets: Sequence[str]) -> Model: ...

    @abstractmethod
    def _int8(self, model: Model, targets: Sequence[str], clips: Clips, precision: Precision) -> tuple[Model, list[str]]:
        """The graph, and its layers whose activations are int8 too."""

    @abstractmethod
    def wrap(self, model: Model, wrapper: Waveform) -> Model:
        """A waveform graph: the network's graph between a transform and its inverse."""

    @abstractmethod
    def save(self, model: Model, manifest: Manifest, path: Path) -> None:
        """Write a graph with its manifest inside."""
