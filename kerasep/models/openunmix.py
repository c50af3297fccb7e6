"""Open-Unmix (F. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for Music Source
Separation", JOSS 2019; thesis 4.3.2).

One network per target. The mixture's magnitudes go in, the target's come out: a mask times the mixture.

    crop        to the bins up to 16 kHz
    scale       (x - mean) / deviation per bin, both trained on from the data set's
    fc1         dense, batch normalisation, tanh
    LSTM        three bidirectional layers; their output beside their input
    fc2         dense, batch normalisation, ReLU
    fc3         dense to all bins of all channels, batch normalisation
    scale       x * scale + mean per bin, trained; ReLU, times the mixture

Departures: one LSTM bias where PyTorch's layers add two; the input mean is stored as it is, not negated.
"""

import keras
import numpy as np
from keras import layers, ops

from kerasep.models.context import Context
from kerasep.models.layers import Rescale, Standardise
from kerasep.models.lstm import BidirectionalLSTM
from kerasep.spectral import Spectrogram

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
        spectrogram: what goes in.
        hidden: features between the layers; a direction of a bidirectional LSTM has half of them.
        depth: LSTM layers.
        bandwidth: highest frequency in Hz that the network looks at; its mask covers all of them.
        bidirectional: whether the LSTM also runs backwards. Without, the network needs no future frame.
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
            x = layers.LSTM(hidden, return_sequences=True, name=name)(x)
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
    """Bins up to so many Hz."""
    return min(spectrogram.bins, int(bandwidth * spectrogram.fft / spectrogram.rate) + 1)


def fold(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for inference alone: scaling and batch normalisation as part of the dense layers beside them.

    As layers of their own they pass over every bin of every frame: a fifth of the time of the network in ONNX Runtime.
    """

    def factors(name):
        gamma, beta, mean, variance = (np.float64(weight) for weight in network.get_layer(name).get_weights())
        factor = gamma / np.sqrt(variance + EPSILON)
        return factor, beta - mean * factor

    bins, channels = spectrogram.bins, spectrogram.channels
    mixture = keras.Input((None, bins, channels), name="mixture")
    mean, scale = (np.repeat(np.float64(weight), channels) for weight in network.get_layer("standardise").get_weights())
    kernel = scale[:, None] * network.get_layer("fc1").get_weights()[0]
    factor, shift = factors("bn1")
    x = mixture[:, :, : len(mean) // channels]
    x = layers.Reshape((-1, len(mean)))(x)
    x = skip = _dense(kernel * factor, shift - mean @ kernel * factor, "tanh")(x)
    for layer in network.layers:
        if isinstance(layer, layers.LSTM | BidirectionalLSTM):
            x = layer(x)
    factor, shift = factors("bn2")
    x = layers.Concatenate()([skip, x])
    x = _dense(network.get_layer("fc2").get_weights()[0] * factor, shift, "relu")(x)
    factor, shift = factors("bn3")
    scale, mean = (np.repeat(np.float64(weight), channels) for weight in network.get_layer("rescale").get_weights())
    x = _dense(network.get_layer("fc3").get_weights()[0] * (factor * scale), shift * scale + mean, "relu")(x)
    return keras.Model(mixture, ops.multiply(layers.Reshape((-1, bins, channels))(x), mixture), name="openunmix")


def _dense(kernel: np.ndarray, bias: np.ndarray, activation: str) -> keras.layers.Layer:
    layer = layers.Dense(len(bias), activation=activation)
    layer.build((None, None, len(kernel)))
    layer.set_weights([kernel, bias])
    return layer


def context(**_) -> Context:
    """An LSTM remembers without a limit. How much a block needs around it was measured: docs/performance.md, "Blocks"."""
    return Context(128, exact=False, stretch=1500)
