"""Frequency bands in groups, an LSTM that all groups share, and masks that sum to one.

A successor of `conv`, small enough for a phone; one network estimates all targets.

    bands      mean magnitudes ** 0.3 of 1 bin (up to 1.4 kHz) to 28 bins (from 12 kHz)
    groups     16 neighbouring bands are a group, from here on a sequence; each frame also sees the one `ahead` frames later
    blocks     of three residual layers: a shared LSTM along the frames, dense layers along the groups (GroupMixer), dense
               layers along the features, separate ones for each group (GroupFeedForward)
    masks      a softmax over the targets in each band, times the mixture: the stems add up to the mixture

After Y. Luo and J. Yu, "Music source separation with band-split RNN" (2023), where all bands share an LSTM, too. Departures:
dense layers mix the groups, because a second LSTM would run along the bands of every frame; the feed-forward weights are not
shared, which costs weights but no arithmetic.
"""

import keras
from keras import layers, ops

from kerasep.models.band_layers import (
    GROUP,
    BandMerge,
    BandSplit,
    GroupedDense,
    GroupFeedForward,
    GroupMixer,
    Layout,
    LookAhead,
    batch_norm,
    frame_dropout,
    groups_in,
)
from kerasep.models.layers import check_shares
from kerasep.models.lstm import SharedLSTM
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram

LAYOUT: Layout = ((8, 1), (8, 2), (4, 4), (4, 8), (2, 28))
AHEAD = 8


def bands(
    spectrogram: Spectrogram,
    targets: tuple[str, ...],
    layout: Layout = LAYOUT,
    size: int = 48,
    blocks: int = 3,
    ahead: int = AHEAD,
    dropout: float = 0.1,
) -> keras.Model:
    """Build the network for all targets.

    Args:
        spectrogram: of the mixture.
        targets: stems that add up to the mixture.
        layout: (groups, bins in each of a group's bands), from the lowest frequency up. Bins above the layout share the last
            band's mask.
        size: features of a group.
        blocks: number of blocks.
        ahead: look-ahead in frames.
        dropout: share of the features that a residual layer adds to a group that training drops.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, channels).

    Raises:
        ValueError: a single target, or a layout with more bins than the spectrogram.
    """
    check_shares(targets)
    covered = GROUP * sum(count * width for count, width in layout)
    if covered > spectrogram.bins:
        raise ValueError(f"layout has {covered} bins, the spectrogram {spectrogram.bins}")
    groups, features = groups_in(layout), GROUP * spectrogram.channels

    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    x = LookAhead(ahead, name="look_ahead")(BandSplit(layout, name="band_split")(mixture))
    x = GroupedDense(size, name="encode")(x)  # (batch, groups, frames, size)
    for number in range(blocks):
        y = SharedLSTM(size, name=f"lstm{number}")(batch_norm(f"norm{number}")(x))
        x = layers.Add(name=f"residual{number}")([x, frame_dropout(dropout, name=f"dropout{number}")(y)])
        x = GroupMixer(2 * groups, dropout, name=f"mixer{number}")(x)
        x = GroupFeedForward(4 * size // 3, dropout, name=f"feed_forward{number}")(x)
    x = GroupedDense(len(targets) * features, name="decode")(batch_norm("last")(x))
    x = layers.Reshape((groups, -1, len(targets), features), name="stack")(x)
    x = layers.Softmax(axis=3, dtype="float32", name="softmax")(x)
    estimates = BandMerge(layout, name="band_merge")([x, mixture])
    return keras.Model(mixture, dict(zip(targets, estimates, strict=True)), name="bands")


def step(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for one frame at a time.

    Args:
        network: a model built by `bands`.
        spectrogram: of the mixture.

    Returns:
        A functional model from mixture (1, 1, bins, channels), present (1, 1, 1) if it looks ahead, and states, to each
        target's mask, shaped like the mixture, of the frame `ahead` frames earlier, and the states' next values.
    """
    layer = network.get_layer
    ahead = layer("look_ahead").frames
    inputs: dict[str, keras.KerasTensor] = {}
    outputs: dict[str, keras.KerasTensor] = {}

    def given(name, *shape):
        inputs[name] = keras.Input(shape, batch_size=1, name=name)
        return inputs[name]

    mixture = given("mixture", 1, spectrogram.bins, spectrogram.channels)
    x = layer("band_split")(mixture)  # (1, groups, 1, features), like all features below
    _, groups, _, features = x.shape
    valid = 1.0  # 0 for masks of frames before the song's first
    if ahead:
        present = given("present", 1, 1)
        known = ops.concatenate([given("known", ahead, 1), present], axis=1)
        seen = ops.concatenate([given("seen", groups, ahead, features), x * ops.expand_dims(present, 1)], axis=2)
        outputs |= {"known_next": known[:, 1:], "seen_next": seen[:, :, 1:]}
        x, valid = ops.concatenate([seen[:, :, :1], seen[:, :, -1:]], axis=-1), known[:, :1]
    x = layer("encode")(x)
    for number, trained in enumerate(part for part in network.layers if isinstance(part, SharedLSTM)):
        cell = layers.LSTMCell(trained.units, name=f"{trained.name}_step")
        names = [f"{trained.name}_{kind}" for kind in ("hidden", "cell")]
        before = [given(name, groups, trained.units)[0] for name in names]
        y, after = cell(layer(f"norm{number}")(x)[0, :, 0], before)
        cell.set_weights(trained.get_weights())
        outputs |= {f"{name}_next": ops.expand_dims(state, 0) * valid for name, state in zip(names, after, strict=True)}
        x = layer(f"feed_forward{number}")(layer(f"mixer{number}")(x + ops.reshape(y, (1, groups, 1, -1))))
    x = layer("softmax")(layer("stack")(layer("decode")(layer("last")(x))))
    masks = layer("band_merge")([x, ops.ones_like(mixture)])
    return keras.Model(inputs, dict(zip(network.output, masks, strict=True)) | outputs, name="bands")


def receptive_field(ahead: int = AHEAD, **_) -> ReceptiveField:
    """An LSTM's memory has no limit: 64 frames spare a block the cold start; docs/performance.md, "Blocks", measures more."""
    return ReceptiveField(64, exact=False, block=600, look_ahead=ahead)
