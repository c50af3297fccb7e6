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
from keras import layers, ops

from kerasep.models.context import Context
from kerasep.models.layers import HorizontalConvTranspose, Standardise, VerticalConv, VerticalConvTranspose
from kerasep.spectral import Spectrogram

TAPS = 15


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
            get fewer contributions and fewer than 15 frames give nothing; or "same", where every frame gets all.

    Returns:
        A functional model from mixture to target magnitudes, both (batch, frames, bins, channels).
    """

    def activate(x, name):
        if batch_norm:
            x = layers.BatchNormalization(epsilon=1e-5, momentum=0.95, name=f"{name}_norm")(x)
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


def context(padding: str = "valid", **_) -> Context:
    """Two horizontal convolutions reach 7 frames to either side each, or, unpadded, 14."""
    return Context(TAPS - 1, minimum=TAPS if padding == "valid" else 1)
