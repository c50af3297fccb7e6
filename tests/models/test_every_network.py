"""What must hold for every network: it is saved and loaded, trained eagerly or compiled, in every precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_backends import CASES

from kerasep.models import build
from kerasep.signal.spectrogram import Spectrogram

VARIANTS = CASES | {
    "openunmix, one way": (CASES["openunmix"][0], {"hidden": 8, "bidirectional": False}, ("vocals",), 20),
    "bands, causal": (CASES["bands"][0], CASES["bands"][1] | {"ahead": 0}, ("vocals", "bass"), 20),
}

QUICK = ("conv", "deepconvsep")
SOME_SLOW = [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in VARIANTS]


def made(case: str) -> tuple[keras.Model, np.ndarray]:
    """A network with random weights in every layer, and a mixture for it."""
    description, options, targets, frames = VARIANTS[case]
    if frames == 20:  # any number, and LSTMs that are not compiled take a while for each
        frames = 6
    spectrogram = Spectrogram(**description)
    model = build(case.partition(",")[0], spectrogram, options | {"dropout": 0.0} if _drops(case) else options, targets)
    random = np.random.default_rng(0)
    for weight in model.weights:
        values = random.normal(size=weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))  # outputs as large as inputs
        weight.assign(np.abs(values) if values.ndim == 1 else values)
    return model, np.abs(random.normal(size=(2, frames, spectrogram.bins, spectrogram.channels))).astype(np.float32)


def _drops(case: str) -> bool:
    return case.startswith(("bands", "conv", "openunmix"))


def close(ours, theirs, tolerance: float = 1e-5) -> bool:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("case", VARIANTS)
def test_saved_and_loaded_it_is_the_same(case, tmp_path):
    model, mixture = made(case)
    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert [weight.path for weight in again.weights] == [weight.path for weight in model.weights]
    before, after = model(mixture), again(mixture)
    assert list(before) == list(after) and all(close(after[target], before[target]) for target in before)


@pytest.mark.parametrize("case", SOME_SLOW)
def test_gradients_reach_every_weight_eagerly_as_compiled(case):
    model, mixture = made(case)

    def gradients():
        with tf.GradientTape() as tape:
            outputs = model(mixture, training=True)
            loss = sum(tf.reduce_mean(tf.square(output - 0.3 * mixture) * (1 + i)) for i, output in enumerate(outputs.values()))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    state = [np.asarray(variable) for variable in model.variables]  # moving averages and random numbers change
    eager = gradients()
    for variable, values in zip(model.variables, state, strict=True):
        variable.assign(values)
    compiled = tf.function(gradients)()
    largest = max(np.abs(gradient).max() for gradient in compiled)
    for variable, one, other in zip(model.trainable_variables, eager, compiled, strict=True):
        assert one is not None and np.abs(one).max() > 0, variable.path
        assert np.abs(one - other).max() <= 1e-5 * largest, variable.path


@pytest.mark.parametrize("precision", [pytest.param("mixed_float16", marks=pytest.mark.slow), "mixed_bfloat16"])
@pytest.mark.parametrize("case", SOME_SLOW)
def test_half_precision_estimates_the_same(case, precision):
    model, mixture = made(case)
    expected = model(mixture)
    keras.config.set_dtype_policy(precision)
    try:
        half, _ = made(case)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    for training in (False, True):
        outputs = half(mixture, training=training)
        assert all(np.isfinite(np.asarray(output, np.float32)).all() for output in outputs.values())
    half.set_weights(model.get_weights())
    for target, output in half(mixture).items():
        assert close(np.asarray(output, np.float32), expected[target], 0.1)


@pytest.mark.parametrize("network", ["bands", "deepconvsep", "spleeter"])
def test_a_softmax_of_one_target_is_refused(network):
    """Its mask would be 1 whatever the weights are."""
    description, options, _, _ = CASES[network]
    with pytest.raises(ValueError, match="masks that add up to one need two targets or more, not vocals alone"):
        build(network, Spectrogram(**description), options, ("vocals",))
