"""Files on onnxruntime-web's WebAssembly, under Node."""

import networks
import numpy as np
import onnx
import pytest

from export.measure.browser import compare
from export.onnx.float16 import to_half
from export.onnx.int8 import to_int8
from export.options import Precision
from kerasep.conversion.write import save_onnx
from kerasep.errors import KerasepError
from kerasep.hub import BUNDLED, load
from kerasep.inference.artifact import Artifact

# A sum in another order can round to the next half, a unit in its last place away, or to the next of 256 levels.
ALLOWED = {"float32": 1e-4, "float16": 2**-10, "int8": 2**-8, "int8-dynamic": 2**-8}
KINDS = ("bands", "conv", "deepconvsep", "openunmix", "spleeter", "unet")


def cases():
    """Each network in float32, and one in float16; the others are slow."""
    for name in KINDS:
        for precision in ALLOWED:
            marks = (
                [] if (name == "conv" and not precision.startswith("int8")) or precision == "float32" else [pytest.mark.slow]
            )
            yield pytest.param(name, precision, marks=marks, id=f"{name}-{precision}")


@pytest.mark.parametrize(("name", "precision"), list(cases()))
def test_every_network_in_every_precision(name, precision, web, tmp_path):
    manifest = networks.frozen(name).manifest
    frames, spectrogram = manifest.graph.shape[1] or 40, manifest.graph.spectrogram
    mixture = np.random.default_rng(0).rayleigh(size=(2, frames, spectrogram.bins, spectrogram.channels)).astype(np.float32)
    graph = networks.in_onnx(name)
    if precision == "float16":
        graph = to_half(graph)
    elif precision != "float32":
        graph = to_int8(graph, [mixture], Precision(precision))[0]
    save_onnx(graph, manifest, tmp_path / "file.onnx")
    assert compare(Artifact(tmp_path / "file.onnx"), mixture, web)["max_relative_error"] <= ALLOWED[precision]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models(web, name):
    artifact = load(name)
    mixture = np.random.default_rng(0).rayleigh(size=(1, 50, 2049, 2)).astype(np.float32)
    assert compare(artifact, mixture, web)["max_relative_error"] <= 1e-5


def test_what_does_not_run_there_is_said(web, tmp_path):
    value, result = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 129, 2]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Unheard", ["x"], ["y"], domain="nowhere")], "g", [value], [result])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("nowhere", 1)]
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)

    class Stub:
        def __init__(self):
            self.path = path

        def run(self, mixture):
            return {"y": mixture}

    with pytest.raises(KerasepError, match="does not run on onnxruntime-web"):
        compare(Stub(), np.zeros((1, 2, 129, 2), np.float32), web)
    with pytest.raises(KerasepError, match="npm install onnxruntime-web"):
        compare(Stub(), np.zeros((1, 2, 129, 2), np.float32), tmp_path)
