"""BSSEval against the museval package, and what must hold for any signals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasep.datasets.musdb import songs
from kerasep.evaluation import bsseval
from kerasep.evaluation.bsseval import METRICS, evaluate, frame_sdr
from kerasep.evaluation.systems import Oracle

TARGETS = ("drums", "bass", "other", "vocals")
RATE = 4000  # frames short enough for museval to be quick


def made_up(seed: int, targets=TARGETS, samples: int = 3 * RATE + 100, channels: int = 2):
    """References of coloured noise, and estimates with filtering, leakage and noise in them."""
    random = np.random.default_rng(seed)
    references = {
        t: scipy.signal.lfilter([1], [1, -0.5 + 0.2 * n], random.normal(size=(samples, channels)), axis=0)
        for n, t in enumerate(targets)
    }
    total = sum(references.values())
    estimates = {
        t: scipy.signal.lfilter([0.9, 0.2, -0.1], [1], r, axis=0) + 0.1 * total + 0.02 * random.normal(size=r.shape)
        for t, r in references.items()
    }
    return references, estimates


def museval_scores(references, estimates, rate):
    if shutil.which("ffmpeg") is None:
        pytest.skip("importing museval needs ffmpeg")
    import museval

    stacked = [np.stack([signals[t] for t in references]) for signals in (references, estimates)]
    return dict(zip(METRICS, museval.evaluate(*stacked, win=rate, hop=rate), strict=True))


def agree(references, estimates, rate, tolerance=1e-6) -> None:
    scores = evaluate(references, estimates, rate)
    expected = museval_scores(references, estimates, rate)
    for metric in METRICS:
        ours = np.stack([scores.frames[t][metric] for t in references])
        assert np.array_equal(np.isnan(ours), np.isnan(expected[metric])), metric
        assert np.nanmax(np.abs(ours - expected[metric])) < tolerance, metric


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:2]])
def test_equals_museval(channels, targets):
    agree(*made_up(0, targets, channels=channels), RATE)


def test_equals_what_museval_once_gave():
    golden = json.loads((Path(__file__).parents[1] / "golden" / "museval.json").read_text())["scores"]  # tests/make_golden.py
    references, estimates = made_up(0)
    scores = evaluate(references, estimates, RATE)
    for metric in METRICS:
        assert np.abs(np.stack([scores.frames[t][metric] for t in TARGETS]) - golden[metric]).max() < 1e-6, metric


def test_equals_museval_on_the_demo_song(song):
    # With hiss: rendered stems have equal channels and empty bands, where museval's own answer is decided by rounding.
    random = np.random.default_rng(0)
    references = {t: song[t][: 3 * 44100] + 0.01 * random.normal(size=(3 * 44100, 2)) for t in TARGETS}
    total = sum(references.values())
    estimates = {t: 0.9 * r + 0.1 * total + 0.001 * random.normal(size=r.shape) for t, r in references.items()}
    agree(references, estimates, 44100, tolerance=0.001)


@pytest.mark.slow
def test_equals_museval_on_real_clips(clips):
    for song in songs(clips, "test")[:2]:
        references = {t: song.read(t, frames=song.frames) for t in TARGETS}
        agree(references, Oracle("irm").stems(song), song.rate, tolerance=0.02)


def test_equals_museval_where_frames_are_silent():
    references, estimates = made_up(1)
    references["bass"][RATE : 2 * RATE] = 0
    estimates["other"][2 * RATE : 3 * RATE] = 0
    agree(references, estimates, RATE)
    scores = evaluate(references, estimates, RATE)
    assert all(np.isnan(scores.frames[t][m]).tolist() == [False, True, True] for t in TARGETS for m in METRICS)
    assert np.isfinite([scores.whole[t][m] for t in TARGETS for m in METRICS]).all()


def test_channels_that_cancel_are_silent_as_in_museval():
    references, estimates = made_up(1)
    references["bass"][:RATE, 1] = -references["bass"][:RATE, 0]
    agree(references, estimates, RATE)


def test_a_song_shorter_than_a_frame_is_one_frame():
    references, estimates = made_up(2, TARGETS[:2], samples=3000, channels=1)
    agree(references, estimates, RATE)
    assert len(evaluate(references, estimates, RATE).frames["bass"]["SIR"]) == 1


def test_whole_song_values_are_museval_with_one_window():
    references, estimates = made_up(3)
    expected = museval_scores(references, estimates, 10**9)
    scores = evaluate(references, estimates, RATE)
    for metric in METRICS:
        ours = [scores.whole[t][metric] for t in TARGETS]
        assert np.abs(np.array(ours) - expected[metric][:, 0]).max() < 1e-6, metric


def by_the_book(references, estimates, rate, taps):
    """The decomposition with every delayed reference written out, and numpy's own least squares."""

    def delayed(signals):  # (samples + taps - 1, signals * channels * taps)
        columns = [np.pad(s[:, c], (d, taps - 1 - d)) for s in signals for c in range(s.shape[1]) for d in range(taps)]
        return np.stack(columns, axis=1)

    def padded(signal):
        return np.pad(signal, ((0, taps - 1), (0, 0)))

    scores = {metric: [] for metric in METRICS}
    for target, estimate in estimates.items():
        everything = np.linalg.lstsq(delayed(references.values()), padded(estimate), rcond=None)[0]
        own = np.linalg.lstsq(delayed([references[target]]), padded(estimate), rcond=None)[0]
        rows = {metric: [] for metric in METRICS}
        for start in range(0, len(estimate) - rate + 1, rate):
            frame = {t: r[start : start + rate] for t, r in references.items()}
            true, heard = padded(frame[target]), padded(estimate[start : start + rate])
            one, all_ = delayed([frame[target]]) @ own, delayed(frame.values()) @ everything
            for metric, signal, error in (
                ("SDR", true, heard - true),
                ("ISR", true, one - true),
                ("SIR", one, all_ - one),
                ("SAR", all_, heard - all_),
            ):
                rows[metric].append(10 * np.log10(np.sum(signal**2) / np.sum(error**2)))
        for metric, values in rows.items():
            scores[metric].append(values)
    return {metric: np.array(values) for metric, values in scores.items()}


def test_equal_channels_are_shared_out_not_refused(monkeypatch):
    """A mono stem makes the correlations singular: what counts is the projection, which is unique all the same."""
    monkeypatch.setattr(bsseval, "TAPS", 8)
    references, estimates = made_up(4, TARGETS[:3], samples=600)
    references["other"][:, 1] = references["other"][:, 0]
    scores = evaluate(references, estimates, 200)
    expected = by_the_book(references, estimates, 200, taps=8)
    for metric in METRICS:
        ours = np.stack([scores.frames[t][metric] for t in references])
        assert np.abs(ours - expected[metric]).max() < 1e-6, metric


@settings(max_examples=10)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_scaling_an_estimate_leaves_sir_and_sar_alone(seed, gain):
    references, estimates = made_up(seed, TARGETS[:2])
    before = evaluate(references, estimates, RATE)
    after = evaluate(references, estimates | {"bass": gain * estimates["bass"]}, RATE)
    for metric in ("SIR", "SAR"):
        assert np.allclose(before.frames["bass"][metric], after.frames["bass"][metric], atol=1e-6)
        assert after.whole["bass"][metric] == pytest.approx(before.whole["bass"][metric], abs=1e-6)
    assert np.allclose(before.frames["drums"]["SDR"], after.frames["drums"]["SDR"])


@settings(max_examples=5)
@given(st.integers(0, 999), st.permutations(TARGETS))
def test_the_order_of_targets_changes_nothing(seed, order):
    references, estimates = made_up(seed, samples=2 * RATE)
    one = evaluate(references, estimates, RATE)
    other = evaluate({t: references[t] for t in order}, {t: estimates[t] for t in order}, RATE)
    for target in TARGETS:
        for metric in METRICS:
            assert np.allclose(one.frames[target][metric], other.frames[target][metric], atol=1e-6)


def test_a_short_filter_is_spatial_distortion_and_nothing_else():
    references, estimates = made_up(5, TARGETS[:2])
    references["drums"][-10:] = 0  # so that the filter's tail is heard to its end
    taps = np.array([0.8, 0.0, 0.3, -0.2])
    estimates["drums"] = scipy.signal.lfilter(taps, [1], references["drums"], axis=0)
    scores = evaluate(references, estimates, RATE)
    frame = slice(RATE, 2 * RATE)
    alone = np.zeros_like(references["drums"])  # what the filter makes of this frame, with its tail
    alone[frame] = references["drums"][frame]
    filtered = scipy.signal.lfilter(taps, [1], alone, axis=0)
    expected = 10 * np.log10(np.sum(alone**2) / np.sum((filtered - alone) ** 2))
    assert scores.frames["drums"]["ISR"][1] == pytest.approx(expected, abs=1e-6)
    assert scores.frames["drums"]["SIR"].min() > 100
    assert scores.frames["drums"]["SAR"].min() > 20  # the tail of the frame before


def test_perfect_estimates():
    references, _ = made_up(6, TARGETS[:2])
    scores = evaluate(references, references, RATE)
    expected = museval_scores(references, references, RATE)
    assert np.isposinf(scores.frames["bass"]["SDR"]).all() and np.isposinf(expected["SDR"]).all()
    assert scores.frames["bass"]["SIR"].min() > 150 and expected["SIR"].min() > 150  # rounding is all there is


def test_sdr_alone_is_the_same():
    references, estimates = made_up(7)
    scores = evaluate(references, estimates, RATE)
    for target, values in frame_sdr(references, estimates, RATE).items():
        assert np.allclose(values, scores.frames[target]["SDR"], atol=1e-9)


def test_sdr_by_hand():
    reference = np.full((300, 2), 2.0)
    assert np.allclose(frame_sdr({"a": reference}, {"a": reference * 0.9}, rate=100)["a"], [20, 20, 20])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r, e: e.pop("bass"), "references are of"),
        (lambda r, e: e.update(bass=e["bass"][:-1]), "differ in shape"),
        (lambda r, e: r.update(bass=0 * r["bass"]), "reference of bass is silent"),
        (lambda r, e: e.update(drums=0 * e["drums"]), "estimate of drums is silent"),
    ],
)
def test_what_cannot_be_scored(change, match):
    references, estimates = made_up(8, TARGETS[:2])
    change(references, estimates)
    with pytest.raises(ValueError, match=match):
        evaluate(references, estimates, RATE)


def test_correlations_across_stretches(monkeypatch):
    """Long signals are cut for the transforms; the cuts must not show."""
    random = np.random.default_rng(0)
    signals = random.normal(size=(3, 20_000))
    lags = bsseval._correlations(signals[:2], signals)
    for i in range(2):
        for j in range(3):
            for lag in (0, 1, 511):
                expected = signals[i, : 20_000 - lag] @ signals[j, lag:]
                assert lags[i, j, lag] == pytest.approx(expected, abs=1e-8)
