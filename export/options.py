"""What `python -m export` is asked for. Nothing here imports TensorFlow or ONNX."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from kerasep.errors import UsageError
from kerasep.inference.graphs import Kind


class Format(StrEnum):
    """Of file, and its suffix."""

    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """Of weights and arithmetic. Inputs and outputs are float32 in all of them."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"  # activations' ranges are measured on music, ahead of time
    INT8_DYNAMIC = "int8-dynamic"  # and here by the runtime, frame by frame
    INT8_TENSORRT = "int8-tensorrt"  # as `int8`, in the only form that TensorRT takes; ONNX alone

    @classmethod
    def portable(cls) -> tuple["Precision", ...]:
        """Those that both formats have."""
        return (cls.FLOAT32, cls.FLOAT16, cls.INT8, cls.INT8_DYNAMIC)

    @property
    def integer(self) -> bool:
        """Whether weights are int8: it takes music to choose their scales, and the layers whose activations can be."""
        return self in (Precision.INT8, Precision.INT8_DYNAMIC, Precision.INT8_TENSORRT)


@dataclass(frozen=True)
class ExportOptions:
    """What is to be made of some runs.

    Attributes:
        name: of the files; the network's by default, with "-step" or "-waveform" added for such a graph.
        formats, precisions: a file for each pair of them; strings will do.
        graph: kind of graph.
        frames, batch: that graphs are to take, 0 for any. By default, a TFLite file or a waveform graph takes one song at a
            time, and a TFLite file with LSTMs `export.tflite.convert.LOOP_FRAMES` frames.
        root: MUSDB18, to calibrate int8 and to verify on; the demo song otherwise.
        licence: terms of use of the weights; the run's own by default.

    Raises:
        UsageError: an unknown format, precision or graph, or int8 without a root or for a step graph, or
            int8-tensorrt as TFLite.

    Example:
        >>> ExportOptions(formats=("onnx", "tflite"), precisions=("float16",)).formats
        (<Format.ONNX: 'onnx'>, <Format.TFLITE: 'tflite'>)
    """

    name: str | None = None
    formats: tuple[Format, ...] = (Format.ONNX,)
    precisions: tuple[Precision, ...] = (Precision.FLOAT32,)
    graph: Kind = Kind.SPECTROGRAM
    frames: int = 0
    batch: int = 0
    root: Path | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        formats = dict.fromkeys(_known(Format, "format", choice) for choice in self.formats)
        precisions = dict.fromkeys(_known(Precision, "precision", choice) for choice in self.precisions)
        object.__setattr__(self, "formats", tuple(formats))
        object.__setattr__(self, "precisions", tuple(precisions))
        object.__setattr__(self, "graph", _known(Kind, "graph", self.graph))
        if Precision.INT8_TENSORRT in self.precisions and Format.TFLITE in self.formats:
            raise UsageError("int8-tensorrt is for ONNX files: leave --format tflite out")
        for precision in self.precisions:
            if precision.integer and self.root is None:
                raise UsageError(f"{precision} is calibrated on real music: name MUSDB18's folder with --root")
            if precision.integer and self.graph is Kind.STEP:
                raise UsageError(f"{precision}: a step graph is exported in float32 or float16")
        if self.graph is Kind.STEP and (self.frames or self.batch):
            raise UsageError("a step graph takes one frame of one song: leave --frames and --batch out")


Choice = TypeVar("Choice", bound=StrEnum)


def _known(choices: type[Choice], what: str, choice: str) -> Choice:
    if choice not in list(choices):
        raise UsageError(f"unknown {what} {choice!r}: choose from {', '.join(choices)}")
    return choices(choice)
