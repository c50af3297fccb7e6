"""Bands in groups, a memory that all groups share, and masks that share the mixture out.

A successor of `conv`, small enough for a phone; all targets come from one network.

    bands      of bins, as wide as music needs: single ones to 1.4 kHz, 28 together from 12 kHz; means of magnitudes ** 0.3
    groups     16 neighbouring bands are a group, a sequence of its own from here on; it sees a frame and one some frames later
    blocks     of three residual parts: each group remembers (LSTM), groups speak with each other (dense), each thinks (dense)
    masks      a softmax over the targets in each band, times the mixture: the stems add up to it

All groups share the LSTMs' weights, as in Y. Luo and J. Yu, "Music source separation with band-split RNN" (2023): memory works
alike at all frequencies. What a group thinks is its own, which costs weights, but no arithmetic. Groups speak through dense
layers instead of a second recurrence, which would run along the bands of every frame.
"""

import keras
import numpy as np
from keras import layers, ops

from kerasep.models.lstm import SharedLSTM
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.stft import Spectrogram

Layout = tuple[tuple[int, int], ...]

LAYOUT: Layout = ((8, 1), (8, 2), (4, 4), (4, 8), (2, 28))
GROUP = 16
POWER, LEAST = 0.3, 1e-4  # of magnitudes, not of their squares, which float16 would not hold
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
        spectrogram: what goes in.
        targets: what the mixture is shared out among.
        layout: groups of 16 bands and the bins of such a band, from the lowest frequency on. What is above them all is
            treated as the last band.
        size: features of a group.
        blocks: how many follow each other.
        ahead: frames from the one that masks are made for to the last one seen.
        dropout: share of the features that a part of a block adds to a group that are dropped in training.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, channels).

    Raises:
        ValueError: a layout with more bins than there are.
    """
    covered = GROUP * sum(count * width for count, width in layout)
    if covered > spectrogram.bins:
        raise ValueError(f"layout has {covered} bins, the spectrogram {spectrogram.bins}")
    groups, features = _groups(layout), GROUP * spectrogram.channels

    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    x = Ahead(ahead, name="ahead")(Banded(layout, name="banded")(mixture))
    x = GroupedDense(size, name="encode")(x)
    for number in range(blocks):
        y = SharedLSTM(size, name=f"lstm{number}")(_norm(f"norm{number}")(x))
        x = layers.Add(name=f"remember{number}")([x, _dropout(dropout, name=f"dropout{number}")(y)])
        x = Speaking(2 * groups, dropout, name=f"speak{number}")(x)
        x = Thinking(4 * size // 3, dropout, name=f"think{number}")(x)
    x = GroupedDense(len(targets) * features, name="decode")(_norm("last")(x))
    x = layers.Reshape((groups, -1, len(targets), features), name="stack")(x)
    x = layers.Softmax(axis=3, dtype="float32", name="softmax")(x)
    estimates = Unbanded(layout, name="unbanded")([x, mixture])
    return keras.Model(mixture, dict(zip(targets, estimates, strict=True)), name="bands")


def step(network: keras.Model, spectrogram: Spectrogram) -> keras.Model:
    """The same network for one frame at a time.

    Args:
        network: what `bands` gave.
        spectrogram: what goes in.

    Returns:
        A functional model from mixture (1, 1, bins, channels), present (1, 1, 1) where it looks ahead, and states, to each
        target's mask, as mixture, of the frame so many frames before, and states.
    """
    layer = network.get_layer
    ahead = layer("ahead").frames
    inputs: dict[str, keras.KerasTensor] = {}
    outputs: dict[str, keras.KerasTensor] = {}

    def given(name, *shape):
        inputs[name] = keras.Input(shape, batch_size=1, name=name)
        return inputs[name]

    mixture = given("mixture", 1, spectrogram.bins, spectrogram.channels)
    x = layer("banded")(mixture)  # (1, groups, 1, features), as all that follows
    _, groups, _, features = x.shape
    there = 1.0  # whether the song has the frame that the masks are for
    if ahead:
        present = given("present", 1, 1)
        known = ops.concatenate([given("known", ahead, 1), present], axis=1)
        seen = ops.concatenate([given("seen", groups, ahead, features), x * ops.expand_dims(present, 1)], axis=2)
        outputs |= {"known_next": known[:, 1:], "seen_next": seen[:, :, 1:]}
        x, there = ops.concatenate([seen[:, :, :1], seen[:, :, -1:]], axis=-1), known[:, :1]
    x = layer("encode")(x)
    for number, trained in enumerate(part for part in network.layers if isinstance(part, SharedLSTM)):
        cell = layers.LSTMCell(trained.units, name=f"{trained.name}_step")
        names = [f"{trained.name}_{kind}" for kind in ("hidden", "cell")]
        before = [given(name, groups, trained.units)[0] for name in names]
        y, after = cell(layer(f"norm{number}")(x)[0, :, 0], before)
        cell.set_weights(trained.get_weights())
        outputs |= {f"{name}_next": ops.expand_dims(state, 0) * there for name, state in zip(names, after, strict=True)}
        x = layer(f"think{number}")(layer(f"speak{number}")(x + ops.reshape(y, (1, groups, 1, -1))))
    x = layer("softmax")(layer("stack")(layer("decode")(layer("last")(x))))
    masks = layer("unbanded")([x, ops.ones_like(mixture)])
    return keras.Model(inputs, dict(zip(network.output, masks, strict=True)) | outputs, name="bands")


def context(ahead: int = AHEAD, **_) -> ReceptiveField:
    """An LSTM remembers without a limit: so much before a block spares it the start; see docs/performance.md for more of it."""
    return ReceptiveField(64, exact=False, stretch=600, ahead=ahead)


def _norm(name: str, **options) -> layers.Layer:
    return layers.BatchNormalization(momentum=0.98, epsilon=1e-4, name=name, **options)


def _dropout(rate: float, **options) -> layers.Layer:
    """Of the same features in all frames, as Y. Gal and Z. Ghahramani do in recurrent networks (2016); cheaper, too."""
    return layers.Dropout(rate, noise_shape=(None, None, 1, None), **options)


class _Laid(layers.Layer):
    """A layer that knows which bins are in which band. In float32 whatever the policy: it has to do with magnitudes."""

    def __init__(self, layout: Layout, **kwargs) -> None:
        super().__init__(**kwargs | {"dtype": "float32", "autocast": False})
        self.layout = layout

    def get_config(self) -> dict:
        return super().get_config() | {"layout": self.layout}


@keras.saving.register_keras_serializable("kerasep")
class Banded(_Laid):
    """Means of bands, compressed and normalised: (batch, frames, bins, channels) to (batch, groups, frames, features).

    Means are products with a constant matrix, which is faster than to reshape and reduce.
    """

    def build(self, input_shape) -> None:
        self.norm = _norm("norm", dtype="float32")
        self.norm.build((None, None, _groups(self.layout) * GROUP * input_shape[3]))

    def call(self, magnitudes, training=None):
        batch, frames, bins, channels = ops.shape(magnitudes)
        flat = ops.reshape(magnitudes, (batch, frames, bins * channels))
        parts, start = [], 0
        for groups, width in self.layout:
            size = GROUP * width * channels
            part = ops.reshape(flat[..., start : start + groups * size], (batch, frames, groups, size))
            parts.append(ops.matmul(part, _spreading(width, channels).T / width))
            start += groups * size
        x = ops.power(ops.concatenate(parts, axis=2) + LEAST, POWER)
        x = self.norm(ops.reshape(x, (batch, frames, -1)), training=training)
        return ops.transpose(ops.reshape(x, (batch, frames, -1, GROUP * channels)), (0, 2, 1, 3))

    def compute_output_shape(self, input_shape):
        batch, frames, _, channels = input_shape
        return (batch, _groups(self.layout), frames, GROUP * channels)


@keras.saving.register_keras_serializable("kerasep")
class Unbanded(_Laid):
    """Shares of bands, (batch, groups, frames, targets, features), and a mixture to a list of each target's magnitudes.

    Mixture and magnitudes are (batch, frames, bins, channels).
    """

    def call(self, inputs):
        shares, mixture = inputs
        batch, frames, bins, channels = ops.shape(mixture)
        estimates = []
        for target in range(shares.shape[3]):
            share = ops.transpose(shares[:, :, :, target], (0, 2, 1, 3))
            parts, start = [], 0
            for groups, width in self.layout:
                part = ops.matmul(share[:, :, start : start + groups], _spreading(width, channels))
                parts.append(ops.reshape(part, (batch, frames, groups * GROUP * width, channels)))
                start += groups
            parts += [parts[-1][:, :, -1:]] * (bins - sum(part.shape[2] for part in parts))
            estimates.append(ops.concatenate(parts, axis=2) * mixture)
        return estimates

    def compute_output_shape(self, input_shape):
        shares, mixture = input_shape
        return [mixture] * shares[3]


@keras.saving.register_keras_serializable("kerasep")
class Ahead(layers.Layer):
    """Each frame and the one so many later, side by side in the features, and zeros where there is none."""

    def __init__(self, frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.frames = frames

    def call(self, x):
        if not self.frames:
            return x
        later = ops.pad(x, ((0, 0), (0, 0), (0, self.frames), (0, 0)))[:, :, self.frames :]
        return ops.concatenate([x, later], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], input_shape[3] * (2 if self.frames else 1))

    def get_config(self) -> dict:
        return super().get_config() | {"frames": self.frames}


@keras.saving.register_keras_serializable("kerasep")
class GroupedDense(layers.Layer):
    """A dense layer for each group, on (batch, groups, frames, features)."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape) -> None:
        _, groups, _, features = input_shape
        limit = (6 / (features + self.units)) ** 0.5  # Glorot's, of one group
        initial = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(name="kernel", shape=(groups, features, self.units), initializer=initial)
        self.bias = self.add_weight(name="bias", shape=(groups, 1, self.units), initializer="zeros")

    def call(self, x):
        return ops.matmul(x, self.kernel) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.units)

    def get_config(self) -> dict:
        return super().get_config() | {"units": self.units}


class _Residual(layers.Layer):
    """x + what two dense layers make of x normalised, on (batch, groups, frames, features).

    Args:
        hidden: units of the first layer.
        dropout: share of the features added to a group that are dropped in training.
    """

    def __init__(self, hidden: int, dropout: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        self.dropout = dropout

    def build(self, input_shape) -> None:
        self.norm = _norm("norm")
        self.norm.build((None, None, None, input_shape[3]))
        self.drop = _dropout(self.dropout)

    def call(self, x, training=None):
        return x + self.drop(self.between(self.norm(x, training=training)), training=training)

    def get_config(self) -> dict:
        return super().get_config() | {"hidden": self.hidden, "dropout": self.dropout}


@keras.saving.register_keras_serializable("kerasep")
class Speaking(_Residual):
    """Dense layers along the groups, the same for every feature."""

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.up = layers.Dense(self.hidden, activation="relu", name="up")
        self.down = layers.Dense(input_shape[1], name="down")
        self.up.build((None, input_shape[1]))
        self.down.build((None, self.hidden))

    def between(self, x):
        return ops.transpose(self.down(self.up(ops.transpose(x, (0, 2, 3, 1)))), (0, 3, 1, 2))


@keras.saving.register_keras_serializable("kerasep")
class Thinking(_Residual):
    """Dense layers along the features, each group's own: as many multiply-adds as shared ones, and more to know with."""

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.up = GroupedDense(self.hidden, name="up")
        self.down = GroupedDense(input_shape[3], name="down")
        self.up.build(input_shape)
        self.down.build((*input_shape[:3], self.hidden))

    def between(self, x):
        return self.down(ops.relu(self.up(x)))


def _groups(layout: Layout) -> int:
    return sum(groups for groups, _ in layout)


def _spreading(width: int, channels: int) -> np.ndarray:
    """Ones from each band of a group to its bins, for each channel: (GROUP * channels, GROUP * width * channels)."""
    return np.kron(np.eye(GROUP), np.kron(np.ones((1, width)), np.eye(channels))).astype(np.float32)
