"""Masks and the Wiener filter: sums, limits, and a filter written bin by bin as the oracle."""

import numpy as np
import pytest
from conftest import agreement
from hypothesis import given
from hypothesis import strategies as st

from kerasep.masking import binary_mask, mixture_phase, ratio_mask, wiener

TARGETS = ("vocals", "drums", "bass", "other")


def random_case(seed: int, frames: int = 20, bins: int = 9, channels: int = 2, loud: float = 1.0):
    random = np.random.default_rng(seed)
    shape = (frames, bins, channels)
    mixture = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64) * np.float32(loud)
    estimates = {t: (random.exponential(size=shape) * loud).astype(np.float32) for t in TARGETS}
    return estimates, mixture


@given(st.integers(0, 999), st.sampled_from([0.5, 1.0, 2.0, 6.0]), st.sampled_from([1e-6, 1.0, 1e4]))
def test_ratio_masks_add_up(seed, exponent, loud):
    estimates, mixture = random_case(seed, loud=loud)
    stems = ratio_mask(estimates, mixture, exponent)
    assert np.abs(sum(stems.values()) - mixture).max() <= 1e-6 * np.abs(mixture).max()
    powers = {t: e.astype(np.float64) ** exponent for t, e in estimates.items()}
    expected = powers["bass"] / sum(powers.values()) * mixture
    assert np.abs(stems["bass"] - expected).max() <= 1e-5 * np.abs(mixture).max()


@pytest.mark.parametrize("exponent", [1.0, 2.0, 50.0])
def test_ratio_mask_shares_out_evenly_where_nothing_is_estimated(exponent):
    estimates, mixture = random_case(0)
    nothing = {t: np.zeros_like(e) for t, e in estimates.items()}
    stems = ratio_mask(nothing, mixture, exponent)
    assert all(np.allclose(stem, mixture / 4) for stem in stems.values())


def test_binary_masks_add_up_and_choose_the_strongest():
    estimates, mixture = random_case(1)
    stems = binary_mask(estimates, mixture)
    assert np.array_equal(sum(stems.values()), mixture)
    strongest = np.argmax([estimates[t] for t in TARGETS], axis=0)
    assert all(np.array_equal(stems[t] != 0, strongest == number) for number, t in enumerate(TARGETS))


def test_mixture_phase_keeps_magnitudes_and_phase():
    estimates, mixture = random_case(2)
    stems = mixture_phase(estimates, mixture)
    assert np.allclose(np.abs(stems["drums"]), estimates["drums"], rtol=1e-5)
    assert np.allclose(np.angle(stems["drums"]), np.angle(mixture), atol=1e-5)


def wiener_by_the_book(stems, mixture, iterations, eps=1e-10):
    """The filter as its paper has it, a loop over frames and bins with matrices and numpy's own inverse."""
    scale = max(1.0, np.abs(mixture).max() / 10)
    x = mixture.astype(np.complex128) / scale
    y = {t: s.astype(np.complex128) / scale for t, s in stems.items()}
    frames, bins, channels = x.shape
    for _ in range(iterations):
        v = {t: np.mean(np.abs(s) ** 2, axis=2) for t, s in y.items()}
        r = {t: np.einsum("tbi,tbj->bij", s, s.conj()) / (eps + v[t].sum(axis=0))[:, None, None] for t, s in y.items()}
        new = {t: np.empty_like(s) for t, s in y.items()}
        for frame in range(frames):
            for b in range(bins):
                c = np.sqrt(eps) * np.eye(channels) + sum(v[t][frame, b] * r[t][b] for t in y)
                for t in y:
                    new[t][frame, b] = v[t][frame, b] * r[t][b] @ np.linalg.inv(c) @ x[frame, b]
        y = new
    return {t: s * scale for t, s in y.items()}


@pytest.mark.parametrize("iterations", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loud", [0.1, 300.0])
def test_wiener_is_the_books(iterations, channels, loud):
    estimates, mixture = random_case(3, channels=channels, loud=loud)
    start = mixture_phase(estimates, mixture)
    expected = wiener_by_the_book(start, mixture, iterations)
    for target, stem in wiener(start, mixture, iterations).items():
        assert stem.dtype == np.complex64
        assert agreement(np.abs(expected[target]), np.abs(stem)) > 100
        assert np.abs(stem - expected[target]).max() < 1e-5 * np.abs(expected[target]).max()


@given(st.integers(0, 99), st.integers(1, 3))
def test_wiener_stems_add_up(seed, iterations):
    estimates, mixture = random_case(seed, loud=100.0)
    stems = wiener(mixture_phase(estimates, mixture), mixture, iterations)
    assert 10 * np.log10(np.sum(np.abs(mixture) ** 2) / np.sum(np.abs(sum(stems.values()) - mixture) ** 2)) > 40


def test_silence_stays_silence():
    silent = np.zeros((10, 9, 2), np.complex64)
    estimates = {t: np.zeros((10, 9, 2), np.float32) for t in TARGETS}
    for stems in (ratio_mask(estimates, silent), binary_mask(estimates, silent), mixture_phase(estimates, silent)):
        for result in (stems, wiener(stems, silent, 2)):
            assert all(np.array_equal(stem, silent) for stem in result.values())
