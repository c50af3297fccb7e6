"""Waveform in, stems out: lengths, rates, channels, and blocks that leave no trace."""

import networks
import numpy as np
import pytest
import soxr
from conftest import agreement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import noise

from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.signal.masks import ratio_gains
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return networks.artifact("same")


def unblocked(artifact: Artifact, audio: np.ndarray, iterations: int) -> dict[str, np.ndarray]:
    """The same in one piece: one transform, one run of the network, the filter on its grid, one inverse."""
    spectrogram = artifact.manifest.graph.spectrogram
    spectrum = stft(audio, spectrogram)
    stems = wiener(ratio_gains(artifact.estimate(np.abs(spectrum))), spectrum, iterations)
    return {t: istft(stem, spectrogram, len(audio)) for t, stem in stems.items()}


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("samples", [1, 63, 19200, 19300, 100_000])  # within a block, at its edge, over several
def test_blocks_leave_no_trace(artifact, samples, iterations):
    audio = noise(samples)
    expected = unblocked(artifact, audio, iterations)
    for target, stem in open_separator(artifact, wiener=iterations)(audio, 44100).items():
        assert stem.shape == audio.shape
        assert agreement(expected[target], stem) >= 60


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pieces_do_not_matter(artifact, data):
    audio = noise(data.draw(st.integers(1, 60_000)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), max_size=4)))
    rate = data.draw(st.sampled_from([8000, 44100, 48000]))
    separator = open_separator(artifact)
    pieces = list(separator.blocks(np.split(audio, cuts), rate, 2))
    for target, stem in separator(audio, rate).items():
        assert np.allclose(np.concatenate([piece[target] for piece in pieces]), stem, atol=1e-6)


@pytest.mark.parametrize("rate", [1000, 44100])
def test_a_long_signal_goes_through_in_pieces(artifact, monkeypatch, rate):
    """Converted as a whole, an hour at a low rate would take gigabytes."""
    separator, audio, lengths = open_separator(artifact), noise(10_500), []
    expected = separator(audio, rate)
    blocks = separator.blocks

    def recorded(pieces, *about):
        return blocks((lengths.append(len(piece)) or piece for piece in pieces), *about)

    monkeypatch.setattr("kerasep.inference.separator.BLOCK", 1000)
    monkeypatch.setattr(separator, "blocks", recorded)
    for target, stem in separator(audio, rate).items():
        assert np.allclose(stem, expected[target], atol=1e-6)
    assert lengths == [1000] * 10 + [500]


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 2), (777, 2), (50_001,), (50_001, 1), (50_001, 2)])
def test_any_rate_and_channels_in_the_same_out(artifact, rate, shape):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    stems = open_separator(artifact)(audio, rate)
    assert set(stems) == {"vocals", "drums"}
    assert all(stem.shape == shape and stem.dtype == np.float32 for stem in stems.values())


@pytest.mark.parametrize("rate", [44100, 48000])
def test_stems_add_up_to_the_mixture(artifact, mixture, rate):
    audio = soxr.resample(soxr.resample(mixture, 44100, 32000), 32000, rate)  # nothing above what any of the rates holds
    for mask in ("ratio", "binary"):
        stems = open_separator(artifact, mask=mask)(audio, rate)
        assert agreement(audio, sum(stems.values())) > (120 if rate == 44100 else 50)
    stems = open_separator(artifact, wiener=1)(audio, rate)
    assert agreement(audio, sum(stems.values())) > 40


@pytest.mark.parametrize("decibels", [-120, -60])
def test_a_filter_leaves_quiet_songs_as_loud_as_they_are(artifact, mixture, decibels):
    audio = mixture * np.float32(10 ** (decibels / 20))
    assert agreement(audio, sum(open_separator(artifact, wiener=1)(audio, 44100).values())) > 40


def test_mono_is_two_equal_channels(artifact, mixture):
    mono = mixture[:, 0]
    both = open_separator(artifact)(np.stack([mono, mono], axis=1), 44100)
    for target, stem in open_separator(artifact)(mono, 44100).items():
        assert np.allclose(stem, both[target].mean(axis=1), atol=1e-7)


def test_silence(artifact):
    for iterations in (0, 1):
        stems = open_separator(artifact, wiener=iterations)(np.zeros((30_000, 2), np.float32), 44100)
        assert all(not stem.any() for stem in stems.values())


def test_some_targets_are_the_same_as_in_all(artifact, mixture):
    for choice in ({}, {"mask": "none"}, {"mask": "none", "wiener": 1}):
        every = open_separator(artifact, **choice)(mixture, 44100)
        some = open_separator(artifact, targets=["drums", "drums"], **choice)(mixture, 44100)
        assert list(some) == ["drums"]
        assert np.allclose(some["drums"], every["drums"], atol=1e-6)


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"targets": ["piano"]}, "unknown target 'piano': same has vocals, drums"),
        ({"mask": "hard"}, "unknown mask 'hard'"),
        ({"exponent": 0}, "exponent"),
        ({"exponent": float("nan")}, "exponent"),
        ({"wiener": -1}, "wiener must be an integer from 0 to 20"),
    ],
)
def test_wrong_choices(artifact, choice, match):
    with pytest.raises(UsageError, match=match):
        open_separator(artifact, **choice)


@pytest.mark.parametrize(
    "audio",
    [np.zeros((0, 2)), np.zeros((100, 6)), np.zeros((2, 2, 2)), np.float32(1), np.array([[0, np.nan]]), np.array([np.inf])],
)
def test_wrong_audio(artifact, audio):
    with pytest.raises(KerasepError, match="audio"):
        open_separator(artifact)(audio, 44100)
