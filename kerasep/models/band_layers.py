"""Layers on groups of frequency bands, for the network `bands`: features are (batch, groups, frames, features).

A layout says how bins become bands: a tuple of (groups, width), from the lowest frequency up; each group is `GROUP` bands of
`width` bins.
"""

import keras
import numpy as np
from keras import layers, ops

Layout = tuple[tuple[int, int], ...]

GROUP = 16  # bands
POWER, LEAST = 0.3, 1e-4  # of magnitudes, not of their squares, which float16 would not hold


class _BandLayer(layers.Layer):
    """A layer that knows the layout. Float32 under every policy, because it handles magnitudes."""

    def __init__(self, layout: Layout, **kwargs) -> None:
        super().__init__(**kwargs | {"dtype": "float32", "autocast": False})
        self.layout = layout

    def get_config(self) -> dict:
        return super().get_config() | {"layout": self.layout}


@keras.saving.register_keras_serializable("kerasep")
class BandSplit(_BandLayer):
    """Means of bands, compressed and normalised: (batch, frames, bins, channels) to (batch, groups, frames, features).

    A group's features are its bands in every channel: `GROUP` * channels. The means are products with a constant matrix, which
    is faster than a reshape and a reduction.
    """

    def build(self, input_shape) -> None:
        self.norm = batch_norm("norm", dtype="float32")
        self.norm.build((None, None, groups_in(self.layout) * GROUP * input_shape[3]))

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
        return (batch, groups_in(self.layout), frames, GROUP * channels)


@keras.saving.register_keras_serializable("kerasep")
class BandMerge(_BandLayer):
    """Masks per band and a mixture to each target's magnitudes.

    From masks (batch, groups, frames, targets, features) and a mixture (batch, frames, bins, channels) to a list of magnitudes
    shaped like the mixture. Every bin gets its band's mask; bins above the layout get the last band's.
    """

    def call(self, inputs):
        masks, mixture = inputs
        batch, frames, bins, channels = ops.shape(mixture)
        estimates = []
        for target in range(masks.shape[3]):
            mask = ops.transpose(masks[:, :, :, target], (0, 2, 1, 3))  # (batch, frames, groups, features)
            parts, start = [], 0
            for groups, width in self.layout:
                part = ops.matmul(mask[:, :, start : start + groups], _spreading(width, channels))
                parts.append(ops.reshape(part, (batch, frames, groups * GROUP * width, channels)))
                start += groups
            parts += [parts[-1][:, :, -1:]] * (bins - sum(part.shape[2] for part in parts))
            estimates.append(ops.concatenate(parts, axis=2) * mixture)
        return estimates

    def compute_output_shape(self, input_shape):
        masks, mixture = input_shape
        return [mixture] * masks[3]


@keras.saving.register_keras_serializable("kerasep")
class LookAhead(layers.Layer):
    """Each frame and the one `frames` later, concatenated along the features; zeros after the last frame."""

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
    """A separate dense layer for each group.

    Weights: kernel (groups, features, units) and bias (groups, 1, units).
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape) -> None:
        _, groups, _, features = input_shape
        limit = (6 / (features + self.units)) ** 0.5  # Glorot's, for one group
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
    """x + what two dense layers make of normalised x.

    Args:
        hidden: units of the first dense layer.
        dropout: share of the features added to a group that training drops.
    """

    def __init__(self, hidden: int, dropout: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        self.dropout = dropout

    def build(self, input_shape) -> None:
        self.norm = batch_norm("norm")
        self.norm.build((None, None, None, input_shape[3]))
        self.drop = frame_dropout(self.dropout)

    def call(self, x, training=None):
        return x + self.drop(self.transform(self.norm(x, training=training)), training=training)

    def get_config(self) -> dict:
        return super().get_config() | {"hidden": self.hidden, "dropout": self.dropout}


@keras.saving.register_keras_serializable("kerasep")
class GroupMixer(_Residual):
    """Mixes groups: dense layers along the groups, shared by all features."""

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.up = layers.Dense(self.hidden, activation="relu", name="up")
        self.down = layers.Dense(input_shape[1], name="down")
        self.up.build((None, input_shape[1]))
        self.down.build((None, self.hidden))

    def transform(self, x):
        return ops.transpose(self.down(self.up(ops.transpose(x, (0, 2, 3, 1)))), (0, 3, 1, 2))


@keras.saving.register_keras_serializable("kerasep")
class GroupFeedForward(_Residual):
    """Dense layers along the features, separate ones for each group: more weights than shared ones, the same arithmetic."""

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.up = GroupedDense(self.hidden, name="up")
        self.down = GroupedDense(input_shape[3], name="down")
        self.up.build(input_shape)
        self.down.build((*input_shape[:3], self.hidden))

    def transform(self, x):
        return self.down(ops.relu(self.up(x)))


def batch_norm(name: str, **options) -> layers.Layer:
    """Batch normalisation over the last axis."""
    return layers.BatchNormalization(momentum=0.98, epsilon=1e-4, name=name, **options)


def frame_dropout(rate: float, **options) -> layers.Layer:
    """Dropout of the same features in all frames, as Y. Gal and Z. Ghahramani do in recurrent networks (2016); cheaper, too."""
    return layers.Dropout(rate, noise_shape=(None, None, 1, None), **options)


def groups_in(layout: Layout) -> int:
    """Groups of a layout.

    Example:
        >>> groups_in(((8, 1), (4, 4)))
        12
    """
    return sum(groups for groups, _ in layout)


def _spreading(width: int, channels: int) -> np.ndarray:
    """Ones from each band of a group to its bins, for each channel: (GROUP * channels, GROUP * width * channels)."""
    return np.kron(np.eye(GROUP), np.kron(np.ones((1, width)), np.eye(channels))).astype(np.float32)
