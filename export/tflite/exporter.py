"""Files for LiteRT, and for whatever else reads TFLite."""

from collections.abc import Sequence
from pathlib import Path

import keras
from onnx import ModelProto
from tensorflow.lite.python.schema_py_generated import ModelT

from export.exporter import Clips, Exporter, Shape
from export.options import Format, Precision
from export.tflite.convert import LOOP_FRAMES, save_tflite, to_tflite
from export.tflite.lstm import has_loops
from export.tflite.precision import to_half_tflite, to_int8_tflite
from export.waveform.wrap import Waveform
from kerasep.conversion.freeze import Frozen
from kerasep.errors import UsageError
from kerasep.inference.manifest import Manifest


class TFLiteExporter(Exporter[ModelT]):
    """TFLite graphs take a batch of one number. An LSTM becomes a loop, which takes one song and one number of frames."""

    form = Format.TFLITE
    batch = 1

    def frames(self, networks: Sequence[keras.Model], frames: int, batch: int) -> int:
        if not has_loops(networks):
            return frames
        if batch > 1:
            raise UsageError(f"--batch {batch}: as TFLite, these networks take one song at a time")
        return frames or LOOP_FRAMES

    def input_shape(self, frozen: Frozen, wrapper: Waveform | None) -> Shape:
        return wrapper.network if wrapper else frozen.manifest.graph.shape

    def trace(self, frozen: Frozen, reference: ModelProto, shape: Shape) -> ModelT:
        return to_tflite(frozen.lean, frozen.manifest, shape)

    def _float16(self, model: ModelT, targets: Sequence[str]) -> ModelT:
        return to_half_tflite(model, targets)

    def _int8(self, model: ModelT, targets: Sequence[str], clips: Clips, precision: Precision) -> tuple[ModelT, list[str]]:
        return to_int8_tflite(model, targets, clips, precision is Precision.INT8_DYNAMIC)

    def wrap(self, model: ModelT, wrapper: Waveform) -> ModelT:
        return wrapper.in_tflite(model)

    def save(self, model: ModelT, manifest: Manifest, path: Path) -> None:
        save_tflite(model, manifest, path)
