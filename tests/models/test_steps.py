"""Networks frame by frame give what they give for a whole song, in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import disturb

from kerasep.models import build, receptive_field_of, stepped
from kerasep.signal.spectrogram import Spectrogram

SMALL = Spectrogram(fft=256, hop=64)
CONV = {"vertical": 6, "horizontal": 5, "hidden": 8}
BANDS = {"layout": [[1, 1], [1, 2], [1, 4]], "size": 12, "blocks": 2}
CASES = {  # network, options, look-ahead
    "valid": ("conv", CONV | {"padding": "valid"}, 14),
    "same": ("conv", CONV | {"padding": "same", "standardise": True, "batch_norm": True}, 14),
    "causal": ("conv", CONV | {"padding": "causal"}, 0),
    "openunmix": ("openunmix", {"hidden": 12, "bidirectional": False}, 0),
    "bands": ("bands", BANDS | {"ahead": 3}, 3),
    "bands-causal": ("bands", BANDS | {"ahead": 0}, 0),
}
TARGETS = ("vocals", "drums")


@pytest.mark.parametrize("name", CASES)
def test_magnitudes_frame_by_frame_are_the_whole_songs(name):
    network, options, ahead = CASES[name]
    keras.utils.set_random_seed(1)
    model = disturb(build(network, SMALL, options, TARGETS))
    step = stepped(network, SMALL, options, model)
    assert receptive_field_of(network, options).look_ahead == ahead
    assert ("waiting" in step.input) == ("present" in step.input) == bool(ahead)
    assert not ahead or step.input["waiting"].shape == (1, ahead, 129, 2)
    states = {state for state in step.input if state not in ("mixture", "present")}
    assert set(step.output) == {*TARGETS, *(f"{state}_next" for state in states)}

    mixture = np.abs(np.random.default_rng(0).normal(size=(1, 40, 129, 2))).astype(np.float32)
    run = tf.function(step)
    feeds = {state: tf.zeros(tensor.shape) for state, tensor in step.input.items()}
    found: dict[str, list[np.ndarray]] = {target: [] for target in TARGETS}
    for frame in range(40 + ahead):
        present = frame < 40
        feeds["mixture"] = tf.constant(mixture[:, frame : frame + 1] if present else np.zeros_like(mixture[:, :1]))
        if ahead:
            feeds["present"] = tf.fill((1, 1, 1), float(present))
        outputs = run(feeds)
        feeds |= {state: outputs[f"{state}_next"] for state in states}
        for target in TARGETS:
            found[target].append(np.asarray(outputs[target]))
    for target, expected in model(mixture).items():
        estimate = np.concatenate(found[target][ahead:], axis=1)
        assert np.abs(estimate - expected).max() <= 1e-5 * np.abs(expected).max()
