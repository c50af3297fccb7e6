"""Spleeter (R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source separation tool
with pre-trained models", JOSS 2020), after the U-Net of A. Jansson et al., ISMIR 2017.

A U-Net for each target. Magnitudes of 512 frames of the mixture go in, the target's come out: a mask times the mixture.

    crop        to the first 1024 bins; above them every target is zero
    down        6 x convolution 5 x 5 of stride 2, batch normalisation, activation
    up          6 x transposed convolution 5 x 5 of stride 2, activation, batch normalisation; dropout after the first three.
                All but the first also take the raw convolution of their size on the way down
    mask        convolution 4 x 4, dilated by 2, to all channels; sigmoid, times the mixture

The published networks for two stems have LeakyReLU(0.2) on the way down and ReLU on the way up, those for four and five stems
ELU both ways; weights load into either and separate badly with the wrong one. Those for five stems have a softmax over the
targets in place of sigmoids.

Departure: the original normalises the last convolution on the way down and then uses it raw; that normalisation is left out.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasep.models.layers import check_shares
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram

FILTERS = (16, 32, 64, 128, 256, 512)
EPSILON, MOMENTUM = 1e-3, 0.99  # Keras' own, which these networks were trained with


def spleeter(
    spectrogram: Spectrogram,
    targets: tuple[str, ...],
    elu: bool = False,
    softmax: bool = False,
    filters: Sequence[int] = FILTERS,
    bins: int = 1024,
    frames: int = 512,
) -> keras.Model:
    """Build the networks.

    Args:
        spectrogram: of the mixture.
        targets: stems to estimate.
        elu: ELU both ways instead of LeakyReLU down and ReLU up.
        softmax: masks that add up to one.
        filters: on the way down.
        bins: that the network sees and estimates.
        frames: in a window, the only length the network takes.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, channels).

    Raises:
        ValueError: bins or frames that cannot be halved once for each of `filters`, more bins than the spectrogram has, or a
            single target with a softmax.
    """
    if softmax:
        check_shares(targets)
    whole = 2 ** len(filters)
    if bins % whole or frames % whole or bins > spectrogram.bins:
        raise ValueError(f"spleeter needs bins and frames in multiples of {whole}, no more than {spectrogram.bins} bins")
    mixture = keras.Input((frames, spectrogram.bins, spectrogram.channels), name="mixture")
    seen = mixture[:, :, :bins]
    masks = [_unet(target, (frames, bins, spectrogram.channels), filters, elu)(seen) for target in targets]
    if softmax:
        stacked = ops.softmax(ops.stack(masks, axis=-1), axis=-1)
        masks = [stacked[..., number] for number in range(len(targets))]
    else:
        masks = [ops.sigmoid(mask) for mask in masks]
    outputs = {}
    for target, mask in zip(targets, masks, strict=True):
        above = ((0, 0), (0, spectrogram.bins - bins))
        outputs[target] = layers.ZeroPadding2D(above, name=f"{target}_above")(ops.multiply(mask, seen))
    return keras.Model(mixture, outputs, name="spleeter")


def receptive_field(frames: int = 512, **_) -> ReceptiveField:
    """No context: windows follow each other without overlap, as in the original."""
    return ReceptiveField(0, window=frames, stride=frames)


def _unet(name: str, shape: tuple[int, int, int], filters: Sequence[int], elu: bool) -> keras.Model:
    """From a mixture (batch, frames, bins, channels) to a target's mask before its sigmoid."""

    def down(x):
        return ops.elu(x) if elu else ops.leaky_relu(x, 0.2)

    def up(x):
        return ops.elu(x) if elu else ops.relu(x)

    def normalised(x, name):
        return layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=name)(x)

    mixture = x = keras.Input(shape, name="mixture")
    skips = []
    for number, count in enumerate(filters, 1):
        x = layers.Conv2D(count, 5, strides=2, padding="same", name=f"down{number}")(x)
        if number < len(filters):
            skips.append(x)
            x = down(normalised(x, f"down{number}_norm"))
    for number, count in enumerate((*filters[-2::-1], 1), 1):
        x = up(layers.Conv2DTranspose(count, 5, strides=2, padding="same", name=f"up{number}")(x))
        x = normalised(x, f"up{number}_norm")
        if number <= 3:
            x = layers.Dropout(0.5, name=f"up{number}_dropout")(x)
        if skips:
            x = layers.Concatenate(name=f"up{number}_skip")([skips.pop(), x])
    x = layers.Conv2D(shape[2], 4, dilation_rate=2, padding="same", name="mask")(x)
    return keras.Model(mixture, x, name=name)
