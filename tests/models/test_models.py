"""Networks against plain convolutions, and the thesis' parameter count."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasep.models import build, receptive_field_of
from kerasep.models.conv import TAPS, conv
from kerasep.models.layers import HorizontalConvTranspose, Rescale, Standardise, VerticalConv, VerticalConvTranspose
from kerasep.models.lstm import BidirectionalLSTM
from kerasep.models.openunmix import openunmix
from kerasep.signal.spectrogram import Spectrogram

BINS, CHANNELS, FRAMES = 129, 2, 23
SMALL = Spectrogram(fft=256, hop=64)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def same_weights(ours, theirs, example, their_example) -> None:
    """Run both once, then give both the same random weights."""
    ours(example), theirs(their_example)
    weights = [values(*weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)  # fails unless names, shapes and order are the convolution's
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]


def close(a, b) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_vertical_convolution_is_conv2d():
    x = values(3, FRAMES, BINS, CHANNELS)
    ours, theirs = VerticalConv(7), layers.Conv2D(7, (1, BINS))
    same_weights(ours, theirs, x, x)
    assert close(ours(x), theirs(x)[:, :, 0])


def test_vertical_transpose_is_conv2dtranspose():
    x = values(3, FRAMES, 7)
    ours, theirs = VerticalConvTranspose(BINS, CHANNELS), layers.Conv2DTranspose(CHANNELS, (1, BINS))
    same_weights(ours, theirs, x, x[:, :, None])
    assert close(ours(x), theirs(x[:, :, None]))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_horizontal_transpose_is_conv1dtranspose(padding):
    x = values(3, FRAMES, 7)
    ours, theirs = HorizontalConvTranspose(5, TAPS, padding), layers.Conv1DTranspose(5, TAPS, padding=padding)
    same_weights(ours, theirs, x, x)
    assert close(ours(x), theirs(x))


def test_conv_is_the_thesis_network_in_plain_convolutions():
    """The whole of figure 4-9 from Keras' own two-dimensional layers, with the same weights."""
    ours = conv(SMALL)
    mixture = keras.Input((None, BINS, CHANNELS))
    x = layers.Conv2D(50, (1, BINS), activation="relu")(mixture)
    x = layers.Conv2D(30, (15, 1), activation="relu")(x)
    x = layers.Dense(512, activation="relu")(x)
    x = layers.Dense(30, activation="relu")(x)
    x = layers.Conv2DTranspose(50, (15, 1), activation="relu")(x)
    x = layers.Conv2DTranspose(CHANNELS, (1, BINS), activation="relu")(x)
    theirs = keras.Model(mixture, x * mixture)
    weights = [values(*w.shape) / 10 for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights([w.reshape(o.shape) for w, o in zip(weights, ours.get_weights(), strict=True)])
    spectrum = np.abs(values(2, FRAMES, BINS, CHANNELS))
    assert close(ours(spectrum), theirs(spectrum))


def test_parameters_are_the_thesis():
    assert build("conv", Spectrogram(), {}, ("vocals",)).count_params() == 486_194
    assert build("conv", Spectrogram(), {}, ("vocals", "bass")).count_params() == 2 * 486_194


@pytest.mark.parametrize(("padding", "frames"), [("same", 1), ("same", 40), ("valid", 15), ("valid", 40)])
def test_every_frame_comes_out(padding, frames):
    model = conv(SMALL, padding=padding, standardise=True, batch_norm=True, dropout=0.1)
    assert model(np.ones((2, frames, BINS, CHANNELS), np.float32)).shape == (2, frames, BINS, CHANNELS)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_frame_depends_on_its_receptive_field_alone(padding):
    model = conv(SMALL, padding=padding, batch_norm=True)
    field = receptive_field_of("conv", {"padding": padding})
    assert field.minimum == (1 if padding == "same" else 15) and field.exact
    x = np.abs(values(1, 80, BINS, CHANNELS))
    before = np.asarray(model(x))
    x[:, 40] += 1
    changed = np.flatnonzero(np.abs(np.asarray(model(x)) - before).max(axis=(0, 2, 3)))
    assert changed.min() == 40 - field.context
    assert changed.max() == 40 + field.context


def test_standardise():
    layer = Standardise(0.5)
    x = np.abs(values(2, 5, BINS, CHANNELS))
    layer(x)
    mean, scale = np.abs(values(BINS)), np.abs(values(BINS, 1))[:, 0]
    layer.set_weights([mean, scale])
    assert close(layer(x), (np.sqrt(x) - mean[:, None]) * scale[:, None])


def test_layers_survive_saving(tmp_path):
    model = conv(SMALL, standardise=True, power=0.5, batch_norm=True, padding="same")
    model.save(tmp_path / "model.keras")
    x = np.abs(values(1, 30, BINS, CHANNELS))
    assert close(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_unknown_network():
    with pytest.raises(ValueError, match="choose from bands, conv"):
        build("covn", Spectrogram(), {}, ("vocals",))


def test_open_unmix_has_its_parameters():
    """The counts of the PyTorch state dicts, less the second LSTM bias that Keras does not have."""
    model = openunmix(Spectrogram())
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 8_887_204
    assert model.get_layer("standardise").mean.shape == (1487,)
    large = openunmix(Spectrogram(), hidden=1024)
    assert sum(int(np.prod(weight.shape)) for weight in large.trainable_weights) == 28_244_900


def test_the_fast_lstm_is_keras_lstm():
    """The same outputs and gradients as Keras' own layer, whose weights it has, compiled or not; and it survives saving."""
    ours, theirs = BidirectionalLSTM(8), layers.Bidirectional(layers.LSTM(8, return_sequences=True))
    x = tf.constant(values(3, FRAMES, 12))
    ours(x), theirs(x)
    weights = [values(*weight.shape) / 3 for weight in theirs.get_weights()]
    theirs.set_weights(weights), ours.set_weights(weights)
    assert np.array_equal(ours(x), theirs(x))
    for compiled in (False, True):

        @tf.function(jit_compile=compiled)
        def run(layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(y * tf.cos(3 * y))
            return [y, *tape.gradient(loss, [x, *(variable.value for variable in layer.trainable_variables)])]

        for mine, other in zip(run(ours), run(theirs), strict=True):
            assert close(mine, other)


def test_a_unidirectional_open_unmix_needs_no_later_frame():
    model = openunmix(SMALL, hidden=8, bidirectional=False, bandwidth=16000)
    x = np.abs(values(1, 30, BINS, CHANNELS))
    before = np.asarray(model(x))
    x[:, 20] += 1
    changed = np.flatnonzero(np.abs(np.asarray(model(x)) - before).max(axis=(0, 2, 3)))
    assert changed.min() == 20 and changed.max() == 29
    assert not np.asarray(openunmix(SMALL, hidden=8)(np.zeros((1, 3, BINS, CHANNELS), np.float32))).any()


def test_rescale():
    layer = Rescale()
    x = values(2, 5, BINS, CHANNELS)
    assert close(layer(x), x + 1)
    scale, mean = values(BINS), values(BINS, 1)[:, 0]
    layer.set_weights([scale, mean])
    assert close(layer(x), x * scale[:, None] + mean[:, None])


def test_targets_are_named_and_each_has_a_separate_network():
    model = build("conv", SMALL, {"hidden": 8}, ("vocals", "bass"))
    x = np.abs(values(1, 30, BINS, CHANNELS))
    before = {target: np.asarray(output) for target, output in model(x).items()}
    vocals = model.get_layer("vocals")
    vocals.set_weights([weight + 1 for weight in vocals.get_weights()])
    after = model(x)
    assert list(after) == ["vocals", "bass"]
    assert np.array_equal(after["bass"], before["bass"]) and not np.array_equal(after["vocals"], before["vocals"])
