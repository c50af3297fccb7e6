"""DeepConvSep (P. Chandna, M. Miron, J. Janer, E. Gómez, "Monoaural audio source separation using deep convolutional neural
networks", LVA/ICA 2017; thesis 4.3.1).

One autoencoder for all targets. Magnitudes of 30 frames of a mono mixture go in; masks that sum to one come out.

    scale       times 0.3 / sqrt(fft), as its weights were trained
    vertical    convolution, 50 filters over all bins of one frame, linear, with a bias and another one after it
    horizontal  convolution, 50 filters over 15 frames, likewise
    shared      dense 128, ReLU
    branches    for each target dense 800, ReLU, as 16 frames of 50 filters
    decoding    the transposes of both convolutions, with their weights; a bias for each target; ReLU
    masks       each target's share of the sum of all, times the mixture

Departures: convolutions do not flip their kernels (the published code, in Lasagne, does: the same networks, other weights). The
masks' noise tensor is left out: it is the same above and below the fraction line. The published wiring, in which "other" is
decoded from the branch of the bass, is `published`; by default each target has a branch.
"""

import keras
from keras import layers, ops

from kerasep.models.layers import Bias, Shares, TiedHorizontalConv, TiedVerticalConv, check_shares
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram

TAPS = 15
STRIDE = 5  # frames from window to window (table 5-2: a time context of 30 frames with an overlap of 25)
WIRED_TO = {"other": "bass"}  # in the published code


def deepconvsep(
    spectrogram: Spectrogram,
    targets: tuple[str, ...],
    filters: int = 50,
    hidden: int = 128,
    frames: int = 30,
    published: bool = False,
) -> keras.Model:
    """Build the network.

    Args:
        spectrogram: of the mixture; of one channel.
        targets: stems that add up to the mixture: leave none out.
        filters: of both convolutions.
        hidden: units of the shared layer.
        frames: in a window, the only length the network takes.
        published: the published code's wiring.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, 1).

    Raises:
        ValueError: a single target, two channels, or too few frames.
    """
    check_shares(targets)
    if spectrogram.channels != 1:
        raise ValueError("deepconvsep is for one channel: set spectrogram.channels to 1")
    if frames < TAPS + STRIDE:
        raise ValueError(f"deepconvsep needs windows of at least {TAPS + STRIDE} frames, not {frames}")
    mixture = keras.Input((frames, spectrogram.bins, 1), name="mixture")
    vertical, horizontal = TiedVerticalConv(filters, name="vertical"), TiedHorizontalConv(filters, TAPS, name="horizontal")
    x = ops.divide(mixture, spectrogram.fft**0.5 / 0.3)  # not times: Keras treats a product with a number as sparse
    x = Bias(name="vertical_bias")(vertical(x))  # (batch, frames, filters)
    x = Bias(name="horizontal_bias")(horizontal(x))  # (batch, frames - 14, filters)
    inner = (frames - TAPS + 1, filters)
    x = layers.Dense(hidden, activation="relu", name="shared")(layers.Flatten(name="flatten")(x))
    sources = {t: WIRED_TO[t] if published and WIRED_TO.get(t) in targets else t for t in targets}  # target: its branch
    branches = {}
    for target in targets:
        if sources[target] == target:
            y = layers.Dense(inner[0] * inner[1], activation="relu", name=f"{target}_dense")(x)
            y = horizontal(layers.Reshape(inner, name=f"{target}_frames")(y), transpose=True)  # (batch, frames, filters)
            branches[target] = vertical(y, transpose=True)  # (batch, frames, bins, 1)
    estimates = []
    for target in targets:
        y = Bias(scalar=True, name=f"{target}_bias")(branches[sources[target]])
        estimates.append(layers.ReLU(name=f"{target}_relu")(y))
    shares = Shares(name="masks")(estimates)
    outputs = {target: ops.multiply(share, mixture) for target, share in zip(targets, shares, strict=True)}
    return keras.Model(mixture, outputs, name="deepconvsep")


def receptive_field(frames: int = 30, **_) -> ReceptiveField:
    """All windows that hold the frame."""
    return ReceptiveField(frames - STRIDE, window=frames, stride=STRIDE)
