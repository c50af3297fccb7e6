"""BSSEval against the museval package, and what must hold for any signals."""

import json
import shutil
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from museval_cases import CASES, RATE, TARGETS, Case, made_up, museval_scores

from kerasep.datasets.musdb import songs
from kerasep.evaluation import bsseval, filters
from kerasep.evaluation.bsseval import METRICS, Scores, evaluate, frame_sdr
from kerasep.evaluation.filters import correlations, filtered
from kerasep.evaluation.systems import Ideal, Oracle

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "museval.json").read_text())["scores"]  # by tests/make_golden.py
TOLERANCE = {"demo song": 0.001}  # dB; 1e-6 for all others


def live_scores(case: Case) -> dict[str, np.ndarray]:
    """museval's own, where it can be imported."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("importing museval needs ffmpeg")
    return museval_scores(case)


@cache
def scored(name: str) -> tuple[Case, Scores]:
    case = CASES[name]()
    return case, evaluate(case.references, case.estimates, case.frame)


def agree(case: Case, scores: Scores, expected, tolerance=1e-6) -> None:
    for metric in METRICS:
        ours = np.stack([scores.frames[t][metric] for t in case.references])
        assert np.array_equal(np.isnan(ours), np.isnan(expected[metric])), metric
        assert np.nanmax(np.abs(ours - expected[metric])) < tolerance, metric


@pytest.mark.parametrize("name", [name for name in CASES if name != "perfect estimates"])
def test_equals_what_museval_once_gave(name):
    agree(*scored(name), GOLDEN[name], TOLERANCE.get(name, 1e-6))


def test_equals_museval():
    case, scores = scored("two targets, stereo")
    agree(case, scores, live_scores(case))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cancelling channels", "perfect estimates", "silent frames"])
def test_museval_still_gives_what_it_once_gave(name):
    for metric, values in live_scores(CASES[name]()).items():
        golden = np.array(GOLDEN[name][metric])
        if name == "perfect estimates" and metric != "SDR":  # rounding is all there is
            assert min(values.min(), golden.min()) > 150
        else:
            assert np.allclose(values, golden, rtol=0, atol=TOLERANCE.get(name, 1e-6), equal_nan=True), metric


@pytest.mark.slow
def test_equals_museval_on_real_clips(clips):
    for song in songs(clips, "test")[:1]:
        references = {t: song.read(t, frames=song.frames) for t in TARGETS}
        case = Case(references, Oracle(Ideal.IRM).stems(song), song.rate)
        agree(case, evaluate(references, case.estimates, song.rate), live_scores(case), tolerance=0.02)


def test_frames_with_a_silent_signal_are_not_scored():
    _, scores = scored("silent frames")
    assert all(np.isnan(scores.frames[t][m]).tolist() == [False, True, True] for t in TARGETS for m in METRICS)
    assert np.isfinite([scores.whole[t][m] for t in TARGETS for m in METRICS]).all()


def test_a_song_shorter_than_a_frame_is_one_frame():
    _, scores = scored("shorter than a frame")
    assert len(scores.frames["bass"]["SIR"]) == 1


def test_whole_song_values_are_museval_with_one_window():
    (_, scores), golden = scored("one frame for the whole song"), GOLDEN["one frame for the whole song"]
    for metric in METRICS:
        ours = [scores.whole[t][metric] for t in TARGETS]
        assert np.abs(np.array(ours) - np.array(golden[metric])[:, 0]).max() < 1e-6, metric


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
            true, estimated = padded(frame[target]), padded(estimate[start : start + rate])
            one, all_ = delayed([frame[target]]) @ own, delayed(frame.values()) @ everything
            for metric, signal, error in (
                ("SDR", true, estimated - true),
                ("ISR", true, one - true),
                ("SIR", one, all_ - one),
                ("SAR", all_, estimated - all_),
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


def short_filters():
    """Filters of 64 taps: quicker, for what holds with filters of any length."""
    return patch.object(bsseval, "TAPS", 64)


@settings(max_examples=10)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_scaling_an_estimate_leaves_sir_and_sar_alone(seed, gain):
    references, estimates = made_up(seed, TARGETS[:2])
    with short_filters():
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
    with short_filters():
        one = evaluate(references, estimates, RATE)
        other = evaluate({t: references[t] for t in order}, {t: estimates[t] for t in order}, RATE)
    for target in TARGETS:
        for metric in METRICS:
            assert np.allclose(one.frames[target][metric], other.frames[target][metric], atol=1e-6)


def test_a_short_filter_is_spatial_distortion_and_nothing_else():
    references, estimates = made_up(5, TARGETS[:2])
    references["drums"][-10:] = 0  # so that the filter's tail fits
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
    (_, scores), golden = scored("perfect estimates"), GOLDEN["perfect estimates"]
    assert np.isposinf(scores.frames["bass"]["SDR"]).all() and np.isposinf(golden["SDR"]).all()
    assert scores.frames["bass"]["SIR"].min() > 150 and np.min(golden["SIR"]) > 150  # rounding is all there is


def test_perfect_estimates_over_the_whole_song():
    """As museval with one window: energies' differences would be rounded below zero, to no score at all."""
    _, scores = scored("perfect estimates")
    assert all(np.isposinf(scores.whole[t]["SDR"]) for t in TARGETS[:2])
    assert all(250 < scores.whole[t][metric] < 350 for t in TARGETS[:2] for metric in METRICS[1:])


@pytest.mark.parametrize("error", [1e-4, 1e-6, 1e-9, 1e-12])
def test_tiny_errors_are_scored_as_exactly_as_others(error):
    references, _ = made_up(6, TARGETS[:2])
    noise = np.random.default_rng(1).normal(size=(2, *references["bass"].shape))
    with short_filters():
        large, small = (
            evaluate(references, {t: r + size * n for (t, r), n in zip(references.items(), noise, strict=True)}, 10**9)
            for size in (1e-3, error)
        )
    for target in references:
        for metric in METRICS:
            expected = large.whole[target][metric] + 20 * np.log10(1e-3 / error)
            assert small.whole[target][metric] == pytest.approx(expected, abs=0.01), (target, metric)
            assert small.whole[target][metric] == pytest.approx(small.frames[target][metric][0], abs=0.01)


def test_filtering_in_stretches(monkeypatch):
    """What filters do in stretches is what they do at once."""
    monkeypatch.setattr(filters, "STRETCH", 64)
    references = np.random.default_rng(0).normal(size=(4, 200))
    everything, own = np.random.default_rng(1).normal(size=(2, 4, 9, 4))
    found = [np.concatenate(parts, axis=1) for parts in list(zip(*filtered(references, everything, own[:2]), strict=True))[1:]]
    for signal in range(4):
        all_ = sum(np.convolve(references[r], everything[r, :, signal]) for r in range(4))
        one = sum(np.convolve(references[signal // 2 * 2 + c], own[c, :, signal]) for c in range(2))
        for part, expected in zip(found, (np.pad(references[signal], (0, 8)), one, all_), strict=True):
            assert np.allclose(part[signal, :208], expected) and np.allclose(part[signal, 208:], 0)


def test_sdr_alone_is_the_same():
    references, estimates = made_up(7, TARGETS[:2])
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
        (lambda r, e: [s.update({t: s[t][:0] for t in s}) for s in (r, e)], "no samples"),
        (lambda r, e: e.update(drums=0 * e["drums"]), "estimate of drums is silent"),
    ],
)
def test_what_cannot_be_scored(change, match):
    references, estimates = made_up(8, TARGETS[:2])
    change(references, estimates)
    with pytest.raises(ValueError, match=match):
        evaluate(references, estimates, RATE)


def test_a_song_without_samples_has_no_sdr():
    with pytest.raises(ValueError, match="no samples"):
        frame_sdr({"a": np.zeros((0, 2))}, {"a": np.zeros((0, 2))}, rate=100)


def test_correlations_across_stretches():
    """Long signals are cut for the transforms; the cuts must not show."""
    random = np.random.default_rng(0)
    signals = random.normal(size=(3, 20_000))
    lags = correlations(signals[:2], signals, bsseval.TAPS)
    for i in range(2):
        for j in range(3):
            for lag in (0, 1, 511):
                expected = signals[i, : 20_000 - lag] @ signals[j, lag:]
                assert lags[i, j, lag] == pytest.approx(expected, abs=1e-8)
