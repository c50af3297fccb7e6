"""The transform against a direct one, and against its own inverse over lengths, hops, windows and ways to cut a signal."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from kerasep.signal.spectrogram import PADDINGS, WINDOWS, Spectrogram, window
from kerasep.signal.stft import Synthesis, istft, stft, stft_blocks

spectrograms = st.builds(
    lambda fft, overlap, name, channels, padding: Spectrogram(44100, channels, fft, fft // overlap, name, padding),
    st.sampled_from([32, 64, 256]),
    st.sampled_from([2, 4, 8, 16]),
    st.sampled_from(sorted(WINDOWS)),
    st.sampled_from([1, 2]),
    st.sampled_from(sorted(PADDINGS)),
)


def noise(samples: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, channels)).astype(np.float32)


@given(spectrograms, st.integers(1, 2000), st.integers(0, 99))
def test_inverse_is_exact(spectrogram, samples, seed):
    signal = noise(samples, spectrogram.channels, seed)
    spectrum = stft(signal, spectrogram)
    assert spectrum.shape == (spectrogram.frames(samples), spectrogram.bins, spectrogram.channels)
    assert np.abs(istft(spectrum, spectrogram, samples) - signal).max() < 1e-6


@given(st.integers(1, 2000), st.sampled_from([8, 16, 32]))
def test_how_many_frames(samples, hop):
    frames = {padding: Spectrogram(fft=64, hop=hop, padding=padding).frames(samples) for padding in PADDINGS}
    assert frames["reflect"] == frames["zeros"] == 1 + samples // hop + (hop == 32)
    # Spleeter's: a window of zeros in front, and frames for as long as they start within the signal
    starts = np.arange(-64, samples, hop)
    assert frames["window"] == len(starts) + (hop == 32)


@pytest.mark.parametrize("name", sorted(WINDOWS))
@pytest.mark.parametrize("samples", [1, 5000, 44100])
def test_full_size_is_exact(name, samples):
    spectrogram = Spectrogram(window=name)
    signal = noise(samples, 2)
    assert np.abs(istft(stft(signal, spectrogram), spectrogram, samples) - signal).max() < 1e-6


@given(spectrograms, st.integers(1, 2000))
def test_equals_a_direct_transform(spectrogram, samples):
    signal = noise(samples, spectrogram.channels)
    ends = ((spectrogram.fft // (1 if spectrogram.padding == "window" else 2), 2 * spectrogram.fft), (0, 0))
    extended = np.pad(signal.astype(np.float64), ends, mode="reflect" if spectrogram.padding == "reflect" else "constant")
    shape = scipy.signal.get_window(spectrogram.window, spectrogram.fft)
    angle = -2j * np.pi * np.outer(np.arange(spectrogram.bins), np.arange(spectrogram.fft)) / spectrogram.fft
    frame = spectrogram.frames(samples) // 2
    expected = np.exp(angle) @ (extended[frame * spectrogram.hop :][: spectrogram.fft] * shape[:, None])
    assert np.abs(stft(signal, spectrogram)[frame] - expected).max() < 1e-5 * max(1, np.abs(expected).max())


@given(spectrograms, st.integers(1, 2000), st.integers(1, 9), st.data())
def test_blocks_equal_the_whole(spectrogram, samples, frames, data):
    signal = noise(samples, spectrogram.channels)
    cuts = sorted(data.draw(st.lists(st.integers(0, samples), max_size=5)))
    blocks = list(stft_blocks(np.split(signal, cuts), spectrogram, frames))
    assert [len(block) for block in blocks[:-1]] == [frames] * (len(blocks) - 1)
    whole = stft(signal, spectrogram)
    assert np.abs(np.concatenate(blocks) - whole).max() <= 1e-6 * np.abs(whole).max()

    synthesis = Synthesis(spectrogram, spectrogram.channels)
    pieces = [synthesis.push(block) for block in blocks]
    if spectrogram.padding == "reflect" and spectrogram.fft >= 4 * spectrogram.hop:
        assert sum(map(len, pieces)) <= samples  # what the last frame completes is still to come
    rebuilt = np.concatenate([*pieces, synthesis.finish()])[:samples]
    assert np.abs(rebuilt - signal).max() < 1e-6

    gains = [np.random.default_rng(1).uniform(size=block.shape).astype(np.float32) for block in blocks]
    multiplied, passing = (Synthesis(spectrogram, spectrogram.channels) for _ in range(2))
    for block, gain in zip(blocks, gains, strict=True):
        assert np.array_equal(multiplied.push(block * gain), passing.push(block, gain))
    assert np.array_equal(multiplied.finish(), passing.finish())


def test_an_empty_signal_has_no_blocks():
    assert list(stft_blocks([np.zeros((0, 2), np.float32)], Spectrogram(), 300)) == []


def test_not_centred_frames_lie_inside():
    spectrogram = Spectrogram(fft=64, hop=16)
    signal = noise(64 + 5 * 16 + 3, 2)
    inside = stft(signal, spectrogram, centred=False)
    assert len(inside) == 6
    assert np.abs(inside[2:4] - stft(signal, spectrogram)[4:6]).max() < 1e-6


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_windows_are_scipys(name):
    assert np.abs(window(name, 1024) - scipy.signal.get_window(name, 1024)).max() < 1e-6


@pytest.mark.parametrize(
    "change",
    [
        {"hop": 4096},
        {"hop": 1000},
        {"fft": 0},
        {"fft": 4095},
        {"rate": 44100.0},
        {"channels": 3},
        {"window": "box"},
        {"padding": "edge"},
    ],
)
def test_impossible_descriptions_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Spectrogram(**change)
