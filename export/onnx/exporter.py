"""Files for ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

from onnx import ModelProto

from export.exporter import Clips, Exporter, Shape
from export.onnx.float16 import to_half
from export.onnx.int8 import to_int8
from export.options import Format, Precision
from export.waveform.wrap import Waveform
from kerasep.conversion.freeze import Frozen
from kerasep.conversion.write import save_onnx
from kerasep.inference.manifest import Manifest


class OnnxExporter(Exporter[ModelProto]):
    """ONNX graphs take any size unless one is asked for."""

    form = Format.ONNX

    def trace(self, frozen: Frozen, reference: ModelProto, shape: Shape) -> ModelProto:
        return reference

    def _float16(self, model: ModelProto, targets: Sequence[str]) -> ModelProto:
        return to_half(model)

    def _int8(
        self, model: ModelProto, targets: Sequence[str], clips: Clips, precision: Precision
    ) -> tuple[ModelProto, list[str]]:
        return to_int8(model, clips, precision)

    def wrap(self, model: ModelProto, wrapper: Waveform) -> ModelProto:
        return wrapper.in_onnx(model)

    def save(self, model: ModelProto, manifest: Manifest, path: Path) -> None:
        save_onnx(model, manifest, path)
