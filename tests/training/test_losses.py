"""Losses against sums written out by hand, and what they refuse."""

import numpy as np
import pytest

from kerasep.datasets.musdb import SOURCES
from kerasep.errors import KerasepError
from kerasep.training.choices import Loss
from kerasep.training.losses import LOSSES, DeepConvSepError, MagnitudeError, SumsError, ThresholdedSNR


def test_every_name_has_a_loss():
    assert list(LOSSES) == list(Loss)


def test_losses_by_hand():
    random = np.random.default_rng(0)
    references, estimates = random.random((2, 3, 4, 5, 6, 2), np.float32)
    v, d, b, o = (estimates[:, index].astype(np.float64) for index in range(4))
    rv, rd, rb, ro = (references[:, index].astype(np.float64) for index in range(4))

    def sse(a, b):
        return np.sum((a - b) ** 2, axis=(1, 2, 3))

    targets = ("vocals", "drums", "bass", "other")
    mean = (sse(v, rv) + sse(d, rd) + sse(b, rb) + sse(o, ro)) / 60
    assert np.allclose(MagnitudeError(targets)(references, estimates), mean.mean(), rtol=1e-5)
    alpha = sse(v, rd) + sse(v, rb) + sse(d, rv) + sse(d, rb) + sse(b, rv) + sse(b, rd)
    beta, voice = sse(b, ro) + sse(d, ro), sse(v, ro)
    expected = np.abs(sse(v, rv) + sse(b, rb) + sse(d, rd) - 0.1 * alpha - 0.2 * beta - 0.3 * voice)
    loss = DeepConvSepError(targets, alpha=0.1, beta=0.2, beta_vocals=0.3)
    assert np.allclose(loss(references, estimates), expected.mean(), rtol=1e-5)
    parts = {name: np.asarray(part) for name, part in loss.parts(references, estimates).items()}
    assert tuple(parts) == loss.names
    assert np.allclose(parts["alpha"], alpha, rtol=1e-5) and np.allclose(parts["beta"], beta, rtol=1e-5)
    sums = SumsError(("vocals", "drums", "bass"))
    three = [sse(v, rv), sse(d, rd), sse(b, rb), sse(v + d, rv + rd), sse(v + b, rv + rb), sse(d + b, rd + rb)]
    assert np.allclose(sums(references[:, :3], estimates[:, :3]), np.mean(three) / 60, rtol=1e-5)


def test_thresholded_snr_by_segments():
    """Stems that are alone in a segment each: a tenth of one is 20 dB below the mixture there, all of it as loud."""
    references = np.zeros((1, 4, 91, 3, 2), np.float32)
    references[:, 1, :43], references[:, 2, 43:86], references[:, 3, 86:] = 20.0, 5.0, 90.0  # the rest is no whole segment
    estimates = references * np.array([1, 0.9, 0, 0], np.float32)[:, None, None, None]
    estimates[:, 0, :43] = 10.0
    found = ThresholdedSNR(("vocals", "drums", "bass", "other"), floor=1e-3).parts(references, estimates)
    expected = {"vocals": (0.25, 0), "drums": (0.01, 0), "bass": (0, 1), "other": (0, 0)}  # errors, of the mixture's energy
    for name, shares in expected.items():
        assert np.allclose(found[name], np.mean(10 * np.log10(np.array(shares) + 1e-3)), atol=1e-3)


def test_losses_that_need_all_four_targets():
    with pytest.raises(KerasepError, match="bass, other missing"):
        DeepConvSepError(("vocals", "drums"))
    with pytest.raises(KerasepError, match="bass, other missing"):
        ThresholdedSNR(("vocals", "drums"))


def test_thresholded_snr_needs_a_segment():
    stems = np.zeros((1, 4, 5, 3, 2), np.float32)
    with pytest.raises(KerasepError, match="an excerpt has 5 frames, a segment 6: increase seconds"):
        ThresholdedSNR(SOURCES, segment=6)(stems, stems)
