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

from kerasep.models.layers import HorizontalConvTranspose, Standardise, VerticalConv, VerticalConvTranspose, dense
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram

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
        spectrogram: of the mixture.
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
    """The same network for inference only, with standardisation and batch normalisation folded into the next layers' weights.

    As separate layers they pass over every bin of every frame, which takes longer than the network's arithmetic.
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


def step(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for one frame at a time.

    Each convolution over frames keeps its last inputs as a state: `c2` the last 14 frames of C1, `d1` the last 14 frames of the
    bottleneck. Both are zero outside a song: one that looks ahead learns this from `present`, which C2's state carries along.

    Args:
        network: a model built by `conv`.
        spectrogram: of the mixture.

    Returns:
        A functional model from mixture (1, 1, bins, channels), present (1, 1, 1) if it looks ahead, and states, to mask
        (1, 1, bins, channels), of the frame as many frames earlier as it looks ahead, and the states' next values.
    """
    lean = fold(network, spectrogram)
    by_name = {layer.name: layer for layer in lean.layers}
    weights = {name: by_name[name].get_weights() for name in ("c1", "c2", "fc1", "fc2", "d1", "d2")}
    padding, bins, channels = by_name["c2"].padding, spectrogram.bins, spectrogram.channels

    def connected(x, name, kernel=None, activation="relu"):
        given, bias = weights[name]
        return dense(given if kernel is None else kernel, bias, activation)(x)

    inputs = {"mixture": keras.Input((1, bins, channels), batch_size=1, name="mixture")}
    x = by_name["standardise"](inputs["mixture"]) if "standardise" in by_name else inputs["mixture"]
    x = connected(ops.reshape(x, (1, bins * channels)), "c1", weights["c1"][0].reshape(bins * channels, -1))
    kernel = weights["c2"][0]  # (taps, vertical, horizontal)
    if padding != "causal":
        inputs["present"] = keras.Input((1, 1), batch_size=1, name="present")
        present = ops.reshape(inputs["present"], (1, 1))
        x = ops.concatenate([x * present, present], axis=-1)
        kernel = np.pad(kernel, ((0, 0), (0, 1), (0, 0)))
    seen, inputs["c2"] = _window(x, "c2")  # (1, taps, vertical, and present)
    x = connected(ops.reshape(seen, (1, -1)), "c2", kernel.reshape(-1, kernel.shape[-1]))
    x = connected(connected(x, "fc1"), "fc2")
    if padding == "same":
        x = x * seen[:, TAPS // 2, -1:]  # is the middle frame in the song?
    if padding == "valid":
        x = x * seen[:, 0, -1:] * seen[:, -1, -1:]  # are all of them?
    bottleneck, inputs["d1"] = _window(x, "d1")  # (1, taps, horizontal)
    kernel = weights["d1"][0][::-1].transpose(0, 2, 1)  # the oldest frame first: (taps, horizontal, vertical)
    x = connected(ops.reshape(bottleneck, (1, -1)), "d1", kernel.reshape(-1, kernel.shape[-1]))
    last, bias = weights["d2"]
    mask = dense(last.reshape(bins * channels, -1).T, np.tile(bias, bins), "relu")(x)
    outputs = {"mask": ops.reshape(mask, (1, 1, bins, channels)), "c2_next": seen[:, 1:], "d1_next": bottleneck[:, 1:]}
    return keras.Model(inputs, outputs, name="conv")


def _window(x, name: str):
    """The last `TAPS` frames, the newest (1, features) at the end, and the state that holds the others."""
    state = keras.Input((TAPS - 1, x.shape[-1]), batch_size=1, name=name)
    return ops.concatenate([state, x[:, None]], axis=1), state


def receptive_field(padding: str = "valid", **_) -> ReceptiveField:
    """Two horizontal convolutions, each reaching 7 frames to either side, or 14 frames back."""
    reach = TAPS - 1
    if padding == "causal":
        return ReceptiveField(2 * reach)
    return ReceptiveField(reach, minimum=TAPS if padding == "valid" else 1, look_ahead=reach)
