"""Hybrid Transformer Demucs (S. Rouard, F. Massa, A. Defossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023),
after Hybrid Demucs (A. Defossez, "Hybrid Spectrogram and Waveform Source Separation", MDX workshop 2021).

Two U-Nets side by side, one on the mixture's complex spectrogram and one on its waveform, that meet in a transformer. Both
estimate every stem; a stem is the sum of the two estimates. From waveform to waveforms, the transforms are inside.

    whiten      both inputs to zero mean and unit deviation, undone on the estimates (2021)
    encoder     4 layers a branch, 48 to 384 channels, each with a quarter of the bins, or of the samples; to the first layer
                of the spectrogram's an embedding of its bins is added (2021)
    transformer tokens of 384 features, made 512 and back in the network for four stems; 5 layers a branch, of which the second
                and fourth attend to the other branch (2023)
    decoder     4 layers a branch, each on the sum of what comes from below and the encoder's layer of that size

`bottom` is 512 in the published networks for four stems, and 0 (none) in the one for six.

Departures: tokens are not shifted at random in training, there is no dropout, and a waveform shorter than the training's is not
filled up with zeros: the network is built for the length that it gets.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasep.models.attention import Positions, TransformerLayer
from kerasep.models.hybrid_layers import KERNEL, STRIDE, Decoder, Encoder, FrequencyEmbedding, Norm, Whiten
from kerasep.models.spectra import Spectra, Waveforms

SEGMENT = 343_980  # samples: 7.8 s at 44.1 kHz
CHANNELS = 2  # of audio
GROWTH = 2  # of channels, from layer to layer
HIDDEN = 4  # units of a transformer's dense layers for each of its features


def htdemucs(
    targets: Sequence[str],
    segment: int = SEGMENT,
    channels: int = 48,
    depth: int = 4,
    bottom: int = 512,
    transformer: int = 5,
    heads: int = 8,
    fft: int = 4096,
) -> keras.Model:
    """Build the network.

    Args:
        targets: stems to estimate, in the order in which the last layers have them.
        segment: samples of a waveform, the only number that the network takes.
        channels: of the first layer.
        depth: layers of the encoder, and of the decoder.
        bottom: features of the transformer's tokens, 0 for as many as the last layer of the encoder has channels.
        transformer: its layers.
        heads: of its attention.
        fft: samples in a window of the spectrogram.

    Returns:
        A functional model from mixture (batch, segment, 2) to a dict of the targets' waveforms of the same shape.

    Raises:
        ValueError: sizes that do not fit together, or fewer samples than a reflection at their end takes.

    Example:
        network = htdemucs(("drums", "bass", "other", "vocals"))
        stems = network(mixture)["vocals"]
    """
    features = bottom or channels * GROWTH ** (depth - 1)
    if features % (4 * heads):
        raise ValueError(f"tokens of {features} features do not divide into {heads} heads, and into sines and cosines")
    if fft // 2 % STRIDE**depth or fft // 2 // STRIDE ** (depth - 1) <= KERNEL:
        raise ValueError(f"a spectrogram of {fft // 2} bins is too small for {depth} layers")
    sizes = [channels * GROWTH**number for number in range(depth)]
    mixture = keras.Input((segment, CHANNELS), name="mixture")
    x, mean, deviation = Whiten(name="whiten")(Spectra(fft, segment, name="spectra")(mixture))
    y, time_mean, time_deviation = Whiten(name="time_whiten")(mixture)
    y = layers.Reshape((1, segment, CHANNELS), name="time_unflatten")(y)

    skips, time_skips, times = [], [], []
    for number, size in enumerate(sizes):
        times.append(y.shape[2])
        x = Encoder(size, "bins", name=f"encoder{number}")(x)
        y = Encoder(size, "time", name=f"time_encoder{number}")(y)
        if number == 0:
            x = FrequencyEmbedding(name="frequencies")(x)
        skips.append(x)
        time_skips.append(y)

    x, y = _transformed(x, y, bottom, transformer, heads)

    for number in reversed(range(depth)):
        outputs = sizes[number - 1] if number else CHANNELS * len(targets)
        last, complex_outputs = number == 0, outputs if number else 2 * outputs
        x = Decoder(complex_outputs, "bins", x.shape[2], last, name=f"decoder{number}")([x, skips.pop()])
        y = Decoder(outputs, "time", times.pop(), last, name=f"time_decoder{number}")([y, time_skips.pop()])

    x = Waveforms(fft, segment, name="waveforms")(x * deviation + mean)  # (batch, segment, targets x channels)
    y = layers.Reshape((segment, CHANNELS * len(targets)), name="time_flatten")(y)
    stems = x + (y * time_deviation + time_mean)
    outputs = {target: stems[..., CHANNELS * n : CHANNELS * (n + 1)] for n, target in enumerate(targets)}
    return keras.Model(mixture, outputs, name="htdemucs")


def _transformed(x, y, bottom: int, count: int, heads: int):
    """Both branches (batch, bins, time, channels) through the transformer."""
    _, bins, time, channels = x.shape
    x = layers.Reshape((time * bins, channels), name="tokens")(ops.transpose(x, (0, 2, 1, 3)))  # time first
    y = layers.Reshape((y.shape[2], channels), name="time_tokens")(y)
    if bottom:
        x, y = layers.Dense(bottom, name="up")(x), layers.Dense(bottom, name="time_up")(y)
    x = Positions(bins, name="positions")(Norm(1, name="norm")(x))
    y = Positions(name="time_positions")(Norm(1, name="time_norm")(y))
    hidden = HIDDEN * x.shape[-1]
    for number in range(count):
        crossed = number % 2 == 1
        layer = TransformerLayer(heads, hidden, name=f"transformer{number}")
        time_layer = TransformerLayer(heads, hidden, name=f"time_transformer{number}")
        x, y = layer([x, y] if crossed else x), time_layer([y, x] if crossed else y)
    if bottom:
        x, y = layers.Dense(channels, name="down")(x), layers.Dense(channels, name="time_down")(y)
    x = ops.transpose(layers.Reshape((time, bins, channels), name="untokens")(x), (0, 2, 1, 3))
    return x, layers.Reshape((1, y.shape[1], channels), name="time_untokens")(y)
