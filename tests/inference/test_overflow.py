"""A network that overflows is said to, in one line: whichever separates, and before anything becomes silence or a click."""

import copy
import warnings
from dataclasses import replace

import networks
import numpy as np
import pytest
import soundfile
from signals import noise

from kerasep.errors import KerasepError
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.inference.stream import StreamSeparator

SEPARATORS = {
    "ratio": (("same",), {}),
    "binary": (("same",), {"mask": "binary"}),
    "no mask, residual": (("same",), {"mask": "none", "residual": True}),
    "filter": (("same",), {"wiener": 1}),
    "waveform": (("same", "onnx", "waveform"), {}),
    "step": (("causal", "onnx", "step"), {}),
}


class Overflowing:
    """A runtime one of whose outputs has some values that are no numbers."""

    def __init__(self, runtime, value: float) -> None:
        self.runtime, self.value = runtime, value

    def run(self, feeds):
        outputs = {name: values.copy() for name, values in self.runtime.run(feeds).items()}
        outputs["drums"][..., 0] = self.value
        return outputs


def overflowing(file: tuple[str, ...], value: float) -> Artifact:
    artifact = copy.copy(networks.artifact(*file))
    artifact.runtime = Overflowing(artifact.runtime, value)
    artifact.manifest = replace(artifact.manifest, precision="float16")
    return artifact


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of NumPy
        yield


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("kind", SEPARATORS)
def test_overflows_are_said(kind, value, tmp_path):
    file, choices = SEPARATORS[kind]
    separator = open_separator(overflowing(file, value), **choices)
    with pytest.raises(
        KerasepError, match=r"\(float16\): overflows.*: lower the level of the sound, or use the float32 file"
    ) as caught:
        separator(noise(9000), 44100)
    assert "\n" not in str(caught.value)
    soundfile.write(tmp_path / "song.wav", noise(9000), 48000)
    with pytest.raises(KerasepError, match="overflows"):
        separator.separate_file(tmp_path / "song.wav", tmp_path / "stems")
    assert not (tmp_path / "stems").exists()


def test_so_they_are_in_a_stream():
    stream = StreamSeparator(overflowing(SEPARATORS["step"][0], np.nan))
    with pytest.raises(KerasepError, match="overflows"):
        for hop in np.split(noise(64 * 20), 20):
            stream.push(hop)


@pytest.mark.parametrize("kind", SEPARATORS)
@pytest.mark.parametrize("level", [1e15, 1e19, 1e30, 3e38])
def test_sound_far_beyond_full_scale(kind, level):
    """Stems or an error, never stems that are no numbers."""
    file, choices = SEPARATORS[kind]
    audio = 2 * noise(9000) * np.float32(level)
    try:
        stems = open_separator(networks.artifact(*file), **choices)(audio, 44100)
    except KerasepError as error:
        assert "lower the level" in str(error)
    else:
        assert level < 1e30 and all(np.isfinite(stem).all() for stem in stems.values())
