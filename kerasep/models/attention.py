"""Layers of transformers, on tokens (batch, tokens, features), and where tokens stand."""

import keras
import numpy as np
from keras import layers, ops

from kerasep.models.hybrid_layers import Norm, gelu

PERIOD = 10_000.0  # of the slowest wave, over 2 pi


def positions(tokens: int, features: int) -> np.ndarray:
    """Waves of falling frequency, cosines before sines, as the original has them for one dimension: (tokens, features)."""
    half = features // 2
    exponents = np.arange(half, dtype=np.float32) / np.float32(half - 1)
    periods = (PERIOD ** exponents.astype(np.float64)).astype(np.float32)
    phases = np.arange(tokens, dtype=np.float32)[:, None] / periods  # rounded as the original's: they become large
    return np.concatenate([np.cos(phases), np.sin(phases)], axis=1)


def positions_2d(time: int, bins: int, features: int) -> np.ndarray:
    """Waves along time in the first half of the features, along bins in the second, sines and cosines in turns.

    Returns:
        (time x bins, features), in the order of `time` first.
    """
    half = features // 2
    exponents = np.arange(0, half, 2, dtype=np.float32) * np.float32(-np.log(PERIOD) / half)
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)

    def waves(count: int) -> np.ndarray:
        phases = np.arange(count, dtype=np.float32)[:, None] * frequencies
        return np.stack([np.sin(phases), np.cos(phases)], axis=-1).reshape(count, half)

    along_time = np.broadcast_to(waves(time)[:, None], (time, bins, half))
    along_bins = np.broadcast_to(waves(bins)[None], (time, bins, half))
    return np.concatenate([along_time, along_bins], axis=-1).reshape(time * bins, features)


@keras.saving.register_keras_serializable("kerasep")
class Positions(layers.Layer):
    """Adds to each token where it stands.

    Args:
        bins: that tokens are of, each frame's after another; 0 for tokens in one dimension.
    """

    def __init__(self, bins: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def build(self, input_shape) -> None:
        _, tokens, features = input_shape
        self.table = positions_2d(tokens // self.bins, self.bins, features) if self.bins else positions(tokens, features)

    def call(self, x):
        return x + ops.cast(self.table, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"bins": self.bins}


@keras.saving.register_keras_serializable("kerasep")
class Attention(layers.Layer):
    """Attention with several heads (A. Vaswani et al., NeurIPS 2017), one after another.

    The scores of a head are the largest thing in a network, (tokens, other tokens): at no time there are those of two.

    Weights: kernel (features, 3 features) and bias (3 features,) of queries, keys and values; out_kernel (features, features)
    and out_bias (features,).
    """

    def __init__(self, heads: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, features: int) -> None:
        self.features = features
        self.kernel = self.add_weight(name="kernel", shape=(features, 3 * features), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(3 * features,), initializer="zeros")
        self.out_kernel = self.add_weight(name="out_kernel", shape=(features, features), initializer="glorot_uniform")
        self.out_bias = self.add_weight(name="out_bias", shape=(features,), initializer="zeros")

    def call(self, x, others):
        size = self.features // self.heads
        query, key, value = (
            ops.matmul(given, self.kernel[:, part : part + self.features]) + self.bias[part : part + self.features]
            for given, part in ((x, 0), (others, self.features), (others, 2 * self.features))
        )
        heads = []
        for start in range(0, self.features, size):
            q, k, v = (part[..., start : start + size] for part in (query * size**-0.5, key, value))
            heads.append(ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v))
        return ops.matmul(ops.concatenate(heads, axis=-1), self.out_kernel) + self.out_bias

    def get_config(self) -> dict:
        return super().get_config() | {"heads": self.heads}


@keras.saving.register_keras_serializable("kerasep")
class TransformerLayer(layers.Layer):
    """x + attention, then + two dense layers, each of what was normalised first and each with a scale for every feature.

    Takes x to attend to itself, or [x, others] to attend to the others. What comes out is normalised over tokens and features.

    Args:
        heads: of the attention.
        hidden: units of the first dense layer.
    """

    def __init__(self, heads: int, hidden: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self.hidden = hidden

    def build(self, input_shape) -> None:
        crossed = isinstance(input_shape[0], tuple | list)
        shape = tuple(input_shape[0] if crossed else input_shape)
        small = keras.initializers.Constant(1e-4)
        self.attention = Attention(self.heads, name="attention")
        self.attention.build(shape[-1])
        self.up = layers.Dense(self.hidden, name="up")
        self.down = layers.Dense(shape[-1], name="down")
        self.up.build(shape)
        self.down.build((*shape[:-1], self.hidden))
        self.norm, self.feed_norm, self.out_norm = Norm(1, name="norm"), Norm(1, name="feed_norm"), Norm(2, name="out_norm")
        self.others_norm = Norm(1, name="others_norm") if crossed else None
        for norm in filter(None, (self.norm, self.others_norm, self.feed_norm, self.out_norm)):
            norm.build(shape)
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer=small)
        self.feed_scale = self.add_weight(name="feed_scale", shape=shape[-1:], initializer=small)

    def call(self, inputs):
        x, others = (inputs[0], self.others_norm(inputs[1])) if self.others_norm else (inputs, None)
        normed = self.norm(x)
        x = x + self.attention(normed, normed if others is None else others) * self.scale
        x = x + self.down(gelu(self.up(self.feed_norm(x)))) * self.feed_scale
        return self.out_norm(x)

    def compute_output_shape(self, input_shape):
        return input_shape[0] if isinstance(input_shape[0], tuple | list) else input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"heads": self.heads, "hidden": self.hidden}
