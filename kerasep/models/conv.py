"""The thesis' own network: DeepConvSep-like convolutions inside Open-Unmix's pipeline (thesis 4.3.3, figure 4-9, annex A).

One network per target. The mixture's magnitudes go in, the target's come out: a mask times the mixture.

    C1  vertical convolution      50 filters over all bins of one frame
    C2  horizontal convolution    30 filters over 15 frames
    FC  dense 512, dense 30       per frame, ReLU
    D1  horizontal transpose      50 filters over 15 frames
    D2  vertical transpose        every bin of every channel, ReLU, times the mixture

Where this departs from the listing in annex A, which does not run:
- ReLU follows C1, C2 and D1: the conclusions (7.1) credit it, the listing leaves it out.
- The dense layers act on the channel axis of each frame; the listing's view(-1, 30) on a channels-first tensor would mix time
  into it.
- The text speaks of a decoder of 512 units; the listing has 30 -> 512 -> 30, which is what fits D1's input.
- Input mean and scale, declared there and never used, are `standardise` here, off by default.
"""

import keras
import numpy as np
from keras import layers, ops

from kerasep.models.context import Context
from kerasep.models.layers import HorizontalConvTranspose, Standardise, VerticalConv, VerticalConvTranspose
from kerasep.spectral import Spectrogram

TAPS = 15
EPSILON = 1e-5


def conv(
    spectrogram: Spectrogram,
    vertical: int = 50,
    horizontal: int = 30,
    hidden: int = 512,
    standardise: bool = False,
    power: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.0,
    padding: str = "valid",
) -> keras.Model:
    """Build the network for one target.

    Args:
        spectrogram: what goes in.
        vertical: filters of C1 and D1.
        horizontal: filters of C2, and units of the dense layer that feeds D1.
        hidden: units of the dense bottleneck.
        standardise: compress the input by `power` and standardise it per bin (`Standardise`; the trainer sets its statistics).
        power: exponent of that compression, 1 for none.
        batch_norm: batch normalisation before every activation but the last.
        dropout: share of the bottleneck's units dropped in training.
        padding: "valid", as the thesis: 15 frames shrink by 14 and D1 restores them, so a song's first and last frames
            get fewer contributions and fewer than 15 frames give nothing; "same", where every frame gets all; or "causal",
            where both convolutions reach 14 frames back and none ahead.

    Returns:
        A functional model from mixture to target magnitudes, both (batch, frames, bins, channels).
    """

    def activate(x, name):
        if batch_norm:
            x = layers.BatchNormalization(epsilon=EPSILON, momentum=0.95, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    x = Standardise(power, name="standardise")(mixture) if standardise else mixture
    x = activate(VerticalConv(vertical, name="c1")(x), "c1")  # (batch, frames, vertical)
    x = activate(layers.Conv1D(horizontal, TAPS, padding=padding, name="c2")(x), "c2")  # (batch, frames - 14, horizontal)
    x = activate(layers.Dense(hidden, name="fc1")(x), "fc1")
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    x = activate(layers.Dense(horizontal, name="fc2")(x), "fc2")
    x = activate(HorizontalConvTranspose(vertical, TAPS, padding, name="d1")(x), "d1")  # (batch, frames, vertical)
    mask = layers.ReLU(name="mask")(VerticalConvTranspose(spectrogram.bins, spectrogram.channels, name="d2")(x))
    return keras.Model(mixture, ops.multiply(mask, mixture), name="conv")


def fold(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for inference alone: standardising and batch normalisation as part of the layers beside them.

    As layers of their own they pass over every bin of every frame, which takes longer than the network's arithmetic.
    """
    by_name = {layer.name: layer for layer in network.layers}

    def numbers(name: str) -> list[np.ndarray]:
        return [np.asarray(weight, np.float64) for weight in by_name[name].get_weights()]

    weights = {name: numbers(name) for name in ("c1", "c2", "fc1", "fc2", "d1", "d2")}
    power = by_name["standardise"].power if "standardise" in by_name else 1.0
    if "standardise" in by_name and power == 1.0:
        mean, scale = (weight[:, None, None] for weight in numbers("standardise"))  # (bins, 1, 1)
        kernel, bias = weights["c1"]  # (1, bins, channels, filters)
        weights["c1"] = [kernel * scale, bias - np.sum(mean * scale * kernel[0], axis=(0, 1))]
    for name in ("c1", "c2", "fc1", "fc2", "d1"):
        if f"{name}_norm" in by_name:
            gamma, beta, mean, variance = numbers(f"{name}_norm")
            factor = gamma / np.sqrt(variance + EPSILON)
            kernel, bias = weights[name]
            outputs = factor[:, None] if name == "d1" else factor  # d1 is a transposed convolution: its kernel ends with inputs
            weights[name] = [kernel * outputs, (bias - mean) * factor + beta]
    lean = conv(
        spectrogram,
        vertical=by_name["c1"].filters,
        horizontal=by_name["c2"].filters,
        hidden=by_name["fc1"].units,
        standardise=power != 1.0,
        power=power,
        padding=by_name["c2"].padding,
    )
    if power != 1.0:
        lean.get_layer("standardise").set_weights(numbers("standardise"))
    for name, values in weights.items():
        lean.get_layer(name).set_weights(values)
    return lean


def context(padding: str = "valid", **_) -> Context:
    """Two horizontal convolutions reach 7 frames to either side each, or 14 to one."""
    return Context(2 * (TAPS - 1) if padding == "causal" else TAPS - 1, minimum=TAPS if padding == "valid" else 1)
