"""What callers hand over as sound: PCM as floats, and one clear line for what is none, whatever separates."""

import warnings

import networks
import numpy as np
import pytest
import soundfile
from signals import noise

import kerasep
from kerasep.cli import main
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.open import open_separator
from kerasep.inference.stream import StreamSeparator

WRONG_TYPES = {
    "uint8": np.zeros((100, 2), np.uint8),
    "int8": np.zeros((100, 2), np.int8),
    "uint16": np.zeros((100, 2), np.uint16),
    "int64": np.zeros((100, 2), np.int64),
    "bool": np.zeros((100, 2), bool),
    "complex64": np.zeros((100, 2), np.complex64),
    "object": np.array([None] * 100),
    "<U1": np.array(["a"] * 100),
    "|S1": np.array([b"a"] * 100),
    "datetime64": np.zeros(100, "datetime64[s]"),
}
WRONG_SHAPES = {
    r"\(\), not|not \(\)": np.float32(1),
    r"not \(2, 2, 2\)": np.zeros((2, 2, 2)),
    "no samples": np.zeros((0, 2)),
    "holds no samples": np.zeros(0),
    r"shape is \(100, 0\)": np.zeros((100, 0)),
    r"not \(2, 100\): transpose it": np.zeros((2, 100)),
    r"not \(1, 100\): transpose it": np.zeros((1, 100)),
    r"not \(6, 100\): transpose it": np.zeros((6, 100)),
    "6 channels, mono or stereo is needed: mix it down": np.zeros((100, 6)),
    "no array of numbers": [[0.0, 1.0], [0.0]],
}
NOT_FINITE = [np.array([0, np.nan]), np.array([[0, np.inf]]), np.array([-np.inf]), np.array([1e300]), np.array([1e39, 0])]
WRONG_RATES = [0, -44100, 1, 999, 768_001, 1e12, float("nan"), float("inf"), "44100", None, True, 44100j, np.zeros(2), [44100]]
FILES = [("same",), ("same", "onnx", "waveform"), ("causal", "onnx", "step")]


@pytest.fixture(params=FILES, ids=["spectrogram", "waveform", "step"])
def separator(request):
    return open_separator(networks.artifact(*request.param))


def said(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text
    return text


@pytest.mark.parametrize("form", ["<i2", ">i2", "<i4", ">i4"])
@pytest.mark.parametrize("channels", [1, 2])
def test_pcm_is_scaled_by_its_full_scale(separator, form, channels):
    full = 2.0 ** (8 * np.dtype(form).itemsize - 1)
    floats = np.rint(noise(5000, channels) * 2**15).astype(np.float32) / 2**15
    floats[0], floats[1] = -1, 1 - 2.0**-15
    expected = separator(floats, 44100)
    pcm = (floats.astype(np.float64) * full).astype(form)
    for target, stem in separator(pcm, 44100).items():
        assert stem.dtype == np.float32 and np.array_equal(stem, expected[target])
    pieces = list(separator.blocks(np.split(pcm, [1000, 1000, 3000]), 44100, channels))
    assert np.allclose(np.concatenate([stems["drums"] for stems in pieces]), expected["drums"], atol=1e-6)


@pytest.mark.parametrize("form", [np.float16, np.float64, np.longdouble, ">f4"])
def test_floats_of_any_width(separator, form):
    floats = noise(3000).astype(np.float16).astype(np.float32)
    expected = separator(floats, 44100)
    assert all(np.array_equal(stem, expected[target]) for target, stem in separator(floats.astype(form), 44100).items())


def test_any_layout_of_memory(separator):
    audio = noise(3000)
    expected = separator(audio, 48000)
    wide = np.zeros((6000, 4), np.float32)
    wide[::2, 1:3] = audio
    fixed = audio.copy()
    fixed.flags.writeable = False
    for same in (np.asfortranarray(audio), wide[::2, 1:3], audio[::-1].copy()[::-1], fixed, audio.tolist()):
        for target, stem in separator(same, 48000).items():
            assert np.array_equal(stem, expected[target])
    assert not fixed.flags.writeable and np.array_equal(audio, noise(3000))


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_other_types(separator, name):
    for call in (lambda audio: separator(audio, 44100), lambda audio: next(separator.blocks([audio], 44100, 2))):
        with pytest.raises(UsageError) as caught:
            call(WRONG_TYPES[name])
        assert f"audio is of type {name}" in said(caught) and "int16 or int32" in said(caught)


@pytest.mark.parametrize("match", WRONG_SHAPES)
def test_other_shapes(separator, match):
    with pytest.raises(UsageError, match=match) as caught:
        separator(WRONG_SHAPES[match], 44100)
    assert "audio" in said(caught)


@pytest.mark.parametrize("audio", NOT_FINITE)
def test_samples_that_are_no_numbers(separator, audio):
    stereo = np.stack([audio.ravel()] * 2, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KerasepError, match="audio holds NaN or infinite samples: repair it first"):
            separator(audio, 44100)
        with pytest.raises(KerasepError, match="audio holds NaN or infinite samples: repair it first"):
            list(separator.blocks([noise(100), stereo], 44100, 2))


@pytest.mark.parametrize("rate", WRONG_RATES, ids=str)
def test_rates_that_are_none(separator, rate):
    with pytest.raises(UsageError, match="rate") as caught:
        separator(noise(100), rate)
    said(caught)
    with pytest.raises(KerasepError, match="rate"):
        next(separator.blocks([noise(100)], rate, 2))


@pytest.mark.parametrize("rate", [1000, 768_000, 44100.0, np.int64(44100), np.float32(48000)])
def test_rates_that_are_some(separator, rate):
    assert separator(noise(100), rate)["drums"].shape == (100, 2)


def test_pieces_have_the_channels_that_were_said(separator):
    for piece in (noise(100, 1), noise(100)[:, 0], noise(100).T):
        with pytest.raises(UsageError, match=r"takes \(samples, 2\), not"):
            next(separator.blocks([piece], 44100, 2))
    with pytest.raises(UsageError, match="1 or 2 channels, not 6"):
        next(separator.blocks([noise(100, 6)], 44100, 6))


@pytest.mark.parametrize("samples", [*WRONG_TYPES.values(), noise(64).T, noise(64)[:, 0], np.full((64, 2), np.nan)])
def test_a_stream_refuses_the_same(samples):
    stream = StreamSeparator(networks.artifact("causal", graph="step"))
    with pytest.raises(KerasepError, match=r"audio|stream takes"):
        stream.push(samples)
    assert stream.given == 0


def test_a_stream_takes_pcm():
    streams = [StreamSeparator(networks.artifact("causal", graph="step")) for _ in range(2)]
    pcm = np.rint(noise(2000) * 2**15).astype(np.int16)
    stems = [stream.push(samples) for stream, samples in zip(streams, (pcm, pcm / 2**15), strict=True)]
    assert len(stems[0]["drums"]) and all(np.array_equal(stems[0][target], stems[1][target]) for target in stems[0])


@pytest.mark.parametrize("rate", [1, 999, 800_000])
def test_a_file_at_such_a_rate(rate, tmp_path, capsys):
    """It fails alone, before anything is as long as its rate makes it."""
    soundfile.write(tmp_path / "odd.wav", noise(4000), rate)
    soundfile.write(tmp_path / "good.wav", noise(4000), 44100)
    model = str(networks.artifact("same").path)
    files = [str(tmp_path / name) for name in ("odd.wav", "good.wav")]
    assert main(["separate", *files, "--model", model, "-o", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"a rate of {rate} Hz" in lines[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]
    with pytest.raises(KerasepError, match=rf"odd\.wav: a rate of {rate} Hz is not that of sound, 1000 to 768000 Hz"):
        kerasep.separate(tmp_path / "odd.wav", model=model)
