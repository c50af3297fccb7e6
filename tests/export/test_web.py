"""Files on onnxruntime-web's WebAssembly, under Node."""

import keras
import numpy as np
import onnx
import pytest

from export.measure.browser import compare
from export.onnx.float16 import to_half
from export.onnx.int8 import to_int8
from kerasep.conversion.freeze import freeze
from kerasep.conversion.trace import to_onnx
from kerasep.conversion.write import save_onnx
from kerasep.errors import KerasepError
from kerasep.hub import BUNDLED, load
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact
from kerasep.models import build
from kerasep.signal.stft import Spectrogram
from kerasep.training.recipe import Recipe

STEREO = Spectrogram(fft=256, hop=64)
MONO = Spectrogram(channels=1, fft=256, hop=128, window="blackmanharris", padding="zeros")
NETWORKS = {
    "bands": (STEREO, {"layout": ((2, 1), (1, 3)), "size": 6, "blocks": 1, "ahead": 2}),
    "conv": (STEREO, {"vertical": 16, "hidden": 32}),
    "deepconvsep": (MONO, {"filters": 8, "hidden": 16}),
    "openunmix": (STEREO, {"hidden": 16}),
    "spleeter": (STEREO, {"bins": 64, "frames": 64, "elu": True, "filters": (8, 16)}),
}


@pytest.fixture(params=NETWORKS)
def frozen(request, tmp_path):
    """A small network of each kind, random, its targets vocals and drums."""
    keras.utils.set_random_seed(0)
    spectrogram, options = NETWORKS[request.param]
    network = build(request.param, spectrogram, options, ("vocals", "drums"))
    recipe = Recipe(name=request.param, network=request.param, options=options, spectrogram=spectrogram)
    Imported(network, recipe, ("vocals", "drums"), {}).write_run(tmp_path / "run")
    return freeze([tmp_path / "run"], request.param)


# A sum in another order can round to the half beside, a unit in its last place away.
ALLOWED = {"float32": 1e-4, "float16": 2**-10, "int8": 1e-4, "int8-dynamic": 1e-4}


@pytest.mark.parametrize("precision", list(ALLOWED))
def test_every_network_in_every_precision(frozen, precision, web, tmp_path):
    manifest = frozen.manifest
    frames, spectrogram = manifest.graph.shape[1] or 40, frozen.spectrogram
    mixture = np.random.default_rng(0).rayleigh(size=(2, frames, spectrogram.bins, spectrogram.channels)).astype(np.float32)
    graph = to_onnx(frozen.lean, spectrogram)
    if precision == "float16":
        graph = to_half(graph)
    elif precision != "float32":
        graph = to_int8(graph, [mixture], dynamic=precision == "int8-dynamic")[0]
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
