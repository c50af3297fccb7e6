"""Gains and the Wiener filter: sums, limits, and a filter written bin by bin as the oracle."""

import numpy as np
import pytest
from conftest import agreement
from hypothesis import given
from hypothesis import strategies as st

from kerasep.signal.masks import apply, binary_gains, magnitude_gains, ratio_gains, residual_gain
from kerasep.signal.wiener import TILE, wiener

TARGETS = ("vocals", "drums", "bass", "other")


def random_case(seed: int, frames: int = 20, bins: int = 9, channels: int = 2, loud: float = 1.0):
    random = np.random.default_rng(seed)
    shape = (frames, bins, channels)
    mixture = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64) * np.float32(loud)
    estimates = {t: (random.exponential(size=shape) * loud).astype(np.float32) for t in TARGETS}
    return estimates, mixture


def planes(spectrum: np.ndarray) -> np.ndarray:
    return np.stack([spectrum.real, spectrum.imag])


@given(st.integers(0, 999), st.sampled_from([0.5, 1.0, 2.0, 6.0]), st.sampled_from([1e-6, 1.0, 1e4]))
def test_ratio_gains_add_up(seed, exponent, loud):
    estimates, mixture = random_case(seed, loud=loud)
    gains = ratio_gains(estimates, exponent)
    assert all(gain.dtype == np.float32 for gain in gains.values())
    assert np.abs(sum(gains.values()) - 1).max() <= 1e-6
    powers = {t: e.astype(np.float64) ** exponent for t, e in estimates.items()}
    assert np.abs(gains["bass"] - powers["bass"] / sum(powers.values())).max() <= 1e-6
    assert np.abs(sum(apply(gains, mixture).values()) - mixture).max() <= 1e-6 * np.abs(mixture).max()


@pytest.mark.parametrize("exponent", [1.0, 2.0, 50.0])
def test_bins_that_no_target_claims_are_shared_out_or_dropped(exponent):
    estimates, _ = random_case(0)
    nothing = np.s_[:, 5:]
    for estimate in estimates.values():
        estimate[nothing] = 0
    shared, dropped = (ratio_gains(estimates, exponent, unclaimed) for unclaimed in ("shared", "dropped"))
    for target in TARGETS:
        assert np.allclose(shared[target][nothing], 0.25)
        assert not dropped[target][nothing].any()
        assert np.allclose(shared[target][:, :5], dropped[target][:, :5], atol=1e-12)


def test_large_exponents_choose_the_strongest_in_quiet_bins_as_well():
    estimates, _ = random_case(1)
    fall = np.float32(10) ** -np.arange(9, dtype=np.float32)[:, None]
    gains = ratio_gains({t: e * fall for t, e in estimates.items()}, 90.0)
    assert np.abs(sum(gains.values()) - 1).max() <= 1e-6
    strongest = np.argmax([estimates[t] for t in TARGETS], axis=0)
    assert np.array_equal(np.argmax([gains[t] for t in TARGETS], axis=0), strongest)


def test_binary_gains_add_up_and_choose_the_strongest():
    estimates, mixture = random_case(1)
    gains = binary_gains(estimates)
    assert np.array_equal(sum(apply(gains, mixture).values()), mixture)
    strongest = np.argmax([estimates[t] for t in TARGETS], axis=0)
    assert all(np.array_equal(gains[t], strongest == number) for number, t in enumerate(TARGETS))


def test_binary_gains_give_a_tie_to_the_first():
    estimates, _ = random_case(1)
    gains = binary_gains({t: np.where(estimates["bass"] > 1, e, 0) for t, e in estimates.items()})
    tied = estimates["bass"] <= 1
    assert (gains["vocals"][tied] == 1).all()
    assert np.array_equal(sum(gains.values()), np.ones_like(estimates["bass"]))


def test_magnitude_gains_keep_magnitudes_and_phase():
    estimates, mixture = random_case(2)
    stems = apply(magnitude_gains(estimates, np.abs(mixture)), mixture)
    assert all(stem.dtype == np.complex64 for stem in stems.values())
    assert np.allclose(np.abs(stems["drums"]), estimates["drums"], rtol=1e-5)
    assert np.allclose(np.angle(stems["drums"]), np.angle(mixture), atol=1e-5)


def test_a_residual_is_what_the_others_leave():
    estimates, mixture = random_case(3)
    gains = magnitude_gains(estimates, np.abs(mixture))
    stems = apply({**gains, "residual": residual_gain(gains)}, mixture)
    assert stems["residual"].dtype == np.complex64
    assert (residual_gain(gains) < 0).any()
    assert np.allclose(sum(stems.values()), mixture, atol=1e-5)


def wiener_by_the_book(gains, mixture, iterations, eps=1e-10):
    """The filter as its paper has it, a loop over frames and bins with matrices and numpy's own inverse.

    Open-Unmix scales loud mixtures alone to a peak of 10, and dims quiet ones.
    """
    scale = np.abs(mixture).max() / 10
    x = mixture.astype(np.complex128) / scale
    y = {t: g.astype(np.float64) * x for t, g in gains.items()}
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


def assert_by_the_book(gains, mixture, iterations):
    expected = wiener_by_the_book(gains, mixture, iterations)
    for target, stem in wiener(gains, mixture, iterations).items():
        assert stem.dtype == np.complex64
        assert agreement(planes(expected[target]), planes(stem)) > 120


@pytest.mark.parametrize("iterations", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loud", [0.1, 300.0])
def test_wiener_is_the_books(iterations, channels, loud):
    estimates, mixture = random_case(3, channels=channels, loud=loud)
    gains = magnitude_gains(estimates, np.abs(mixture))
    assert_by_the_book(gains, mixture, iterations)
    del gains["vocals"]
    assert_by_the_book({**gains, "residual": residual_gain(gains)}, mixture, iterations)


def test_wiener_is_the_books_in_every_tile():
    estimates, mixture = random_case(4, frames=3, bins=2 * TILE + 1)
    assert_by_the_book(magnitude_gains(estimates, np.abs(mixture)), mixture, 1)


# Where channels are nearly alike, the covariance of the mixture is nearly singular: here float32 is not enough.
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("loud", [0.1, 300.0])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(("pan", "noise"), [(1, 0), (1, 1e-4), (1, 1e-3), (0.5, 1e-3), (2j, 1e-4), (0, 0)])
def test_wiener_is_the_books_for_nearly_mono_mixtures(pan, noise, alike, loud, iterations):
    estimates, mixture = random_case(5, frames=60, bins=3, loud=loud)
    mixture[..., 1] = mixture[..., 0] * pan * (1 + noise * mixture[..., 1] / loud)
    gains = ratio_gains(estimates)
    if alike:
        gains = {target: np.repeat(gain[..., :1], 2, axis=-1) for target, gain in gains.items()}
    assert_by_the_book(gains, mixture, iterations)


@given(st.integers(0, 99), st.integers(1, 3), st.sampled_from([1e-4, 1.0, 100.0]))
def test_wiener_stems_add_up(seed, iterations, loud):
    estimates, mixture = random_case(seed, loud=loud)
    stems = wiener(magnitude_gains(estimates, np.abs(mixture)), mixture, iterations)
    assert agreement(planes(mixture), planes(sum(stems.values()))) > 40


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("decibels", [-300, -120, -60, -20, 20, 120])
def test_quiet_music_is_filtered_as_loud_music(decibels, iterations, channels):
    """Also where the music's stretches are of several levels, each with frames that are louder than others."""
    estimates, mixture = random_case(9, channels=channels, loud=100.0)
    mixture *= np.repeat(np.float32([1, 1e-3, 1e-6, 1]), 5)[:, None, None]
    gains = ratio_gains(estimates)
    level = np.float32(10 ** (decibels / 20))
    expected, stems = wiener(gains, mixture, iterations, frames=10), wiener(gains, level * mixture, iterations, frames=10)
    for target in TARGETS:
        assert agreement(planes(level * expected[target]) / level, planes(stems[target]) / level) > 110


def test_every_stretch_of_frames_is_filtered_on_its_own():
    estimates, mixture = random_case(6, frames=17)
    mixture[7:14] *= 300
    gains = magnitude_gains(estimates, np.abs(mixture))
    whole = wiener(gains, mixture, 2, frames=7)
    for part in (np.s_[:7], np.s_[7:14], np.s_[14:]):
        alone = wiener({target: gain[part] for target, gain in gains.items()}, mixture[part], 2)
        assert all(np.array_equal(whole[target][part], stem) for target, stem in alone.items())


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_stays_silence(channels):
    estimates, _ = random_case(7, channels=channels)
    nothing = {t: np.zeros_like(e) for t, e in estimates.items()}
    silent = np.zeros(estimates["bass"].shape, np.complex64)
    for guess in (estimates, nothing):  # networks may find something in silence
        for gains in (
            magnitude_gains(guess, np.abs(silent)),
            ratio_gains(guess),
            ratio_gains(guess, 2.0, "dropped"),
            binary_gains(guess),
        ):
            for iterations in (0, 1, 2):
                stems = wiener({**gains, "residual": residual_gain(gains)}, silent, iterations)
                assert all(np.array_equal(stem, silent) for stem in stems.values())


def test_silence_within_music_stays_silence():
    estimates, mixture = random_case(8)
    mixture[:, 4] = 0
    mixture[3] = 0
    stems = wiener(magnitude_gains(estimates, np.abs(mixture)), mixture, 2)
    assert all(not stem[mixture == 0].any() and np.isfinite(stem).all() for stem in stems.values())
