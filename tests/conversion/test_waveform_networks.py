"""Networks on waveforms as files."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasep.conversion import waveform
from kerasep.conversion.waveform import pack_waveform
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import Segments, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.open import open_separator

GRAPH = WaveformGraph(44100, 2, Segments(1000, 750, 0), fixed=True, exact=False, blended=True, normalised=True)
MANIFEST = Manifest("toy", ("one", "other"), GRAPH, "tests")


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Two convolutions from a mixture to two stems."""
    keras.utils.set_random_seed(0)
    mixture = keras.Input((1000, 2))
    x = layers.Conv1D(4, 5, padding="same", activation="tanh")(mixture)
    return keras.Model(mixture, {name: layers.Conv1D(2, 3, padding="same", name=name)(x) for name in ("one", "other")})


def test_a_network_on_waveforms_becomes_a_file(network, tmp_path):
    manifest = pack_waveform(network, MANIFEST, tmp_path / "toy.onnx")
    assert manifest.details["agreement_db"] > 100
    assert manifest.multiply_adds == 1000 * (5 * 2 * 4 + 2 * 3 * 4 * 2) / 750 * 44100
    song = np.random.default_rng(0).normal(0, 0.1, size=(1000, 2)).astype(np.float32)
    mono = song.mean(axis=1)
    level = (song - mono.mean()) / mono.std(ddof=1)
    expected = network.predict_on_batch(level[None])
    for target, stem in open_separator(Artifact(tmp_path / "toy.onnx"))(song, 44100).items():
        # The second segment, of the last quarter of the song, has a share in that alone.
        assert np.abs(stem - (expected[target][0] * mono.std(ddof=1) + mono.mean()))[:750].max() < 1e-5


def test_other_stems_and_other_operators_are_not_written(network, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"name the artifact \.onnx"):
        pack_waveform(network, MANIFEST, tmp_path / "toy.tflite")
    for name, value, match in (("AGREEMENT", 1000, "agree with Keras' to"), ("OPERATORS", frozenset(), "needs operators")):
        with monkeypatch.context() as patch, pytest.raises(KerasepError, match=match):
            patch.setattr(waveform, name, value)
            pack_waveform(network, MANIFEST, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())
