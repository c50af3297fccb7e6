"""Open-Unmix (F. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for Music Source
Separation", JOSS 2019; thesis 4.3.2).

One network per target. The mixture's magnitudes go in, the target's come out: a mask times the mixture.

    crop        to the bins up to 16 kHz
    scale       (x - mean) / deviation per bin, both trained on from the data set's
    fc1         dense, batch normalisation, tanh
    LSTM        three bidirectional layers; their output concatenated with their input
    fc2         dense, batch normalisation, ReLU
    fc3         dense to all bins of all channels, batch normalisation
    scale       x * scale + mean per bin, trained; ReLU, times the mixture

Departures: one LSTM bias where PyTorch's layers add two; the input mean is stored as it is, not negated.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from kerasep.models.layers import Rescale, Standardise, dense
from kerasep.models.lstm import BidirectionalLSTM
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram

BANDWIDTH = 16000  # Hz
EPSILON, MOMENTUM = 1e-5, 0.9  # PyTorch's batch normalisation; its momentum of 0.1 is Keras' 0.9


def openunmix(
    spectrogram: Spectrogram,
    hidden: int = 512,
    depth: int = 3,
    bandwidth: float = BANDWIDTH,
    bidirectional: bool = True,
    dropout: float = 0.4,
) -> keras.Model:
    """Build the network for one target.

    Args:
        spectrogram: of the mixture.
        hidden: features between the layers; each direction of a bidirectional LSTM has half of them.
        depth: LSTM layers.
        bandwidth: highest frequency in Hz that the network sees; its mask covers all frequencies.
        bidirectional: whether the LSTM also runs backwards. If not, the network needs no later frame.
        dropout: between LSTM layers, in training.

    Returns:
        A functional model from mixture to target magnitudes, both (batch, frames, bins, channels).
    """

    def normalised(x, name):
        return layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=name)(x)

    bins, channels = spectrogram.bins, spectrogram.channels
    seen = seen_bins(spectrogram, bandwidth)
    mixture = keras.Input((None, bins, channels), name="mixture")
    x = mixture[:, :, :seen]
    x = Standardise(trainable=True, name="standardise")(x)
    x = layers.Reshape((-1, seen * channels), name="flatten")(x)
    x = layers.Dense(hidden, use_bias=False, name="fc1")(x)
    x = skip = layers.Activation("tanh", name="tanh")(normalised(x, "bn1"))
    for number in range(depth):
        name = f"lstm{number}"
        if bidirectional:
            x = BidirectionalLSTM(hidden // 2, name=name)(x)
        else:
            x = layers.LSTM(hidden, return_sequences=True, name=name, dtype="float32")(x)
        if number < depth - 1:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    x = layers.Concatenate(name="skip")([skip, x])
    x = layers.Dense(hidden, use_bias=False, name="fc2")(x)
    x = layers.ReLU(name="relu")(normalised(x, "bn2"))
    x = layers.Dense(bins * channels, use_bias=False, name="fc3")(x)
    x = layers.Reshape((-1, bins, channels), name="unflatten")(normalised(x, "bn3"))
    mask = layers.ReLU(name="mask")(Rescale(name="rescale")(x))
    return keras.Model(mixture, ops.multiply(mask, mixture), name="openunmix")


def seen_bins(spectrogram: Spectrogram, bandwidth: float = BANDWIDTH) -> int:
    """Number of bins up to `bandwidth` Hz.

    Example:
        >>> seen_bins(Spectrogram())
        1487
    """
    return min(spectrogram.bins, int(bandwidth * spectrogram.fft / spectrogram.rate) + 1)


def fold(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for inference only, with scaling and batch normalisation folded into the dense layers' weights.

    As separate layers they pass over every bin of every frame: a fifth of the network's time in ONNX Runtime.
    """
    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    mask = _mask(network, mixture, lambda layer, x: layer(x))
    return keras.Model(mixture, ops.multiply(mask, mixture), name="openunmix")


def step(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for one frame at a time, if its LSTM only runs forwards.

    Args:
        network: a model built by `openunmix`.
        spectrogram: of the mixture.

    Returns:
        A functional model from mixture (1, 1, bins, channels) and each LSTM's states (1, hidden) to mask, shaped
        like the mixture, and the states' next values.

    Raises:
        ValueError: the LSTM also runs backwards.
    """
    inputs = {"mixture": keras.Input((1, spectrogram.bins, spectrogram.channels), batch_size=1, name="mixture")}
    outputs = {}

    def advance(layer, x):
        if isinstance(layer, BidirectionalLSTM):
            raise ValueError("its LSTM also runs backwards: train it with --set options.bidirectional=false to stream it")
        names = [f"{layer.name}_{kind}" for kind in ("hidden", "cell")]
        inputs.update({name: keras.Input((layer.units,), batch_size=1, name=name) for name in names})
        cell = layers.LSTMCell(layer.units, name=f"{layer.name}_step")
        x, states = cell(x[:, 0], [inputs[name] for name in names])
        cell.set_weights(layer.get_weights())
        outputs.update({f"{name}_next": state for name, state in zip(names, states, strict=True)})
        return x[:, None]

    return keras.Model(inputs, {"mask": _mask(network, inputs["mixture"], advance), **outputs}, name="openunmix")


def _mask(network: keras.Model, mixture, recur: Callable):
    """A trained network's mask; `recur(layer, x)` runs an LSTM layer."""

    def factors(name):
        gamma, beta, mean, variance = (np.float64(weight) for weight in network.get_layer(name).get_weights())
        factor = gamma / np.sqrt(variance + EPSILON)
        return factor, beta - mean * factor

    bins, channels = mixture.shape[2:]
    mean, scale = (np.repeat(np.float64(weight), channels) for weight in network.get_layer("standardise").get_weights())
    kernel = scale[:, None] * network.get_layer("fc1").get_weights()[0]
    factor, shift = factors("bn1")
    x = mixture[:, :, : len(mean) // channels]
    x = layers.Reshape((-1, len(mean)))(x)
    x = skip = dense(kernel * factor, shift - mean @ kernel * factor, "tanh")(x)
    for layer in network.layers:
        if isinstance(layer, layers.LSTM | BidirectionalLSTM):
            x = recur(layer, x)
    factor, shift = factors("bn2")
    x = layers.Concatenate()([skip, x])
    x = dense(network.get_layer("fc2").get_weights()[0] * factor, shift, "relu")(x)
    factor, shift = factors("bn3")
    scale, mean = (np.repeat(np.float64(weight), channels) for weight in network.get_layer("rescale").get_weights())
    x = dense(network.get_layer("fc3").get_weights()[0] * (factor * scale), shift * scale + mean, "relu")(x)
    return layers.Reshape((-1, bins, channels))(x)


def receptive_field(**_) -> ReceptiveField:
    """An LSTM's memory has no limit. How much context a block needs was measured: docs/performance.md, "Blocks"."""
    return ReceptiveField(128, exact=False, block=1500)
