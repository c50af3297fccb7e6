"""Layers that span every frequency bin, as convolutions in their weights and as matrix products in their arithmetic.

A convolution whose kernel covers all bins of a frame is one product of the flattened frame with the flattened kernel.
Written as Conv2D the same arithmetic trains many times slower on a CPU, so these layers keep a convolution's kernel
(shape, name, initial values) and compute the product. Spectrograms are (batch, frames, bins, channels), features are
(batch, frames, filters).
"""

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kerasep")
class VerticalConv(keras.layers.Layer):
    """Conv2D(filters, (1, bins)) on (batch, frames, bins, channels), without the axis of length 1 it leaves.

    Weights: kernel (1, bins, channels, filters) and bias (filters,), as Conv2D has them.
    """

    def __init__(self, filters: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape) -> None:
        _, _, bins, channels = input_shape
        self.kernel = self.add_weight(name="kernel", shape=(1, bins, channels, self.filters), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, spectrogram):
        batch, frames, bins, channels = ops.shape(spectrogram)
        flat = ops.reshape(spectrogram, (batch, frames, bins * channels))
        return ops.matmul(flat, ops.reshape(self.kernel, (bins * channels, self.filters))) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.filters)

    def get_config(self) -> dict:
        return super().get_config() | {"filters": self.filters}


@keras.saving.register_keras_serializable("kerasep")
class VerticalConvTranspose(keras.layers.Layer):
    """Conv2DTranspose(channels, (1, bins)) on (batch, frames, 1, filters), whose axis of length 1 is left out.

    Weights: kernel (1, bins, channels, filters) and bias (channels,), as Conv2DTranspose has them.
    """

    def __init__(self, bins: int, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.bins = bins
        self.channels = channels

    def build(self, input_shape) -> None:
        filters = input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(1, self.bins, self.channels, filters), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.channels,), initializer="zeros")

    def call(self, features):
        batch, frames, _ = ops.shape(features)
        bias = ops.zeros((self.bins, 1), self.compute_dtype) + self.bias  # not tiled: converters leave that to the runtime
        flat = _vertical_transpose(features, self.kernel) + ops.reshape(bias, (-1,))
        return ops.reshape(flat, (batch, frames, self.bins, self.channels))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.bins, self.channels)

    def get_config(self) -> dict:
        return super().get_config() | {"bins": self.bins, "channels": self.channels}


@keras.saving.register_keras_serializable("kerasep")
class HorizontalConvTranspose(keras.layers.Layer):
    """Conv1DTranspose(filters, taps) over frames with stride 1, on (batch, frames, features).

    A transposed convolution of stride 1 is a plain one of the padded input with the kernel reversed in time; plain ones need
    no output length, which a converter would otherwise compute inside the exported graph.

    Weights: kernel (taps, filters, features) and bias (filters,), as Conv1DTranspose has them.

    Args:
        filters: features that come out.
        taps: frames that each input frame spreads over.
        padding: "valid" returns frames + taps - 1 frames; the others return `frames` of these: "same" those in the middle,
            "causal" the first, which depend on no later frame.
    """

    def __init__(self, filters: int, taps: int, padding: str = "valid", **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.taps = taps
        self.padding = padding

    def build(self, input_shape) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(self.taps, self.filters, input_shape[-1]), initializer="glorot_uniform"
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, features):
        return _horizontal_transpose(features, self.kernel, self.padding) + self.bias

    def compute_output_shape(self, input_shape):
        batch, frames, _ = input_shape
        if frames is not None and self.padding == "valid":
            frames += self.taps - 1
        return (batch, frames, self.filters)

    def get_config(self) -> dict:
        return super().get_config() | {"filters": self.filters, "taps": self.taps, "padding": self.padding}


@keras.saving.register_keras_serializable("kerasep")
class Standardise(keras.layers.Layer):
    """(x ** power - mean) * scale per bin, on (batch, frames, bins, channels).

    Weights: mean and scale of shape (bins,), measured on the training set; trained further only if the layer is trainable.
    """

    def __init__(self, power: float = 1.0, trainable: bool = False, **kwargs) -> None:
        super().__init__(trainable=trainable, **kwargs)
        self.power = power

    def build(self, input_shape) -> None:
        shape = (input_shape[2],)
        self.mean = self.add_weight(name="mean", shape=shape, initializer="zeros")
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")

    def call(self, spectrogram):
        compressed = spectrogram if self.power == 1.0 else ops.power(spectrogram, self.power)
        return (compressed - self.mean[:, None]) * self.scale[:, None]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"power": self.power}


@keras.saving.register_keras_serializable("kerasep")
class Rescale(keras.layers.Layer):
    """x * scale + mean per bin, on (batch, frames, bins, channels).

    Weights: scale and mean of shape (bins,), initially 1.
    """

    def build(self, input_shape) -> None:
        self.scale = self.add_weight(name="scale", shape=(input_shape[2],), initializer="ones")
        self.mean = self.add_weight(name="mean", shape=(input_shape[2],), initializer="ones")

    def call(self, spectrogram):
        return spectrogram * self.scale[:, None] + self.mean[:, None]

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("kerasep")
class TiedVerticalConv(VerticalConv):
    """A `VerticalConv` that also decodes, with the same weights: `layer(features, transpose=True)`.

    The transpose, without a bias, takes (batch, frames, filters) to (batch, frames, bins, channels).
    """

    def call(self, inputs, transpose=False):
        if not transpose:
            return super().call(inputs)
        batch, frames, _ = ops.shape(inputs)
        return ops.reshape(_vertical_transpose(inputs, self.kernel), (batch, frames, *self.kernel.shape[1:3]))

    compute_output_shape = keras.layers.Layer.compute_output_shape  # inferred from `call`: there are two shapes


@keras.saving.register_keras_serializable("kerasep")
class TiedHorizontalConv(keras.layers.Layer):
    """Conv1D(filters, taps) over frames that also decodes, with the same weights: `layer(features, transpose=True)`.

    The transpose, without a bias, takes (batch, frames, filters) to (batch, frames + taps - 1, features).

    Weights: kernel (taps, features, filters) and bias (filters,), as Conv1D has them.
    """

    def __init__(self, filters: int, taps: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.taps = taps

    def build(self, input_shape) -> None:
        shape = (self.taps, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs, transpose=False):
        if not transpose:
            return ops.conv(inputs, self.kernel, padding="valid") + self.bias
        return _horizontal_transpose(inputs, self.kernel, "valid")

    def get_config(self) -> dict:
        return super().get_config() | {"filters": self.filters, "taps": self.taps}


@keras.saving.register_keras_serializable("kerasep")
class Bias(keras.layers.Layer):
    """Adds a trained number to each feature of the last axis, or, `scalar`, the same to all."""

    def __init__(self, scalar: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.scalar = scalar

    def build(self, input_shape) -> None:
        self.bias = self.add_weight(name="bias", shape=(1 if self.scalar else input_shape[-1],), initializer="zeros")

    def call(self, inputs):
        return inputs + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"scalar": self.scalar}


@keras.saving.register_keras_serializable("kerasep")
class Shares(keras.layers.Layer):
    """Each of several estimates divided by their sum; where all are zero, equal shares.

    Float32 under every policy: half precision cannot hold the constant that prevents a division by zero (1e-18, and 1e-8 in
    training, as in DeepConvSep).
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs | {"dtype": "float32"})

    def call(self, estimates, training=False):
        tiny = 1e-8 if training else 1e-18
        estimates = [ops.cast(estimate, "float32") + tiny for estimate in estimates]
        total = sum(estimates)
        return [estimate / total for estimate in estimates]

    def compute_output_shape(self, input_shape):
        return input_shape


def check_shares(targets: tuple[str, ...]) -> None:
    """Raise ValueError for a single target of a network whose masks add up to one: it would get all, whatever the weights."""
    if len(targets) < 2:
        raise ValueError(f"masks that add up to one need two targets or more, not {targets[0]} alone: nothing could be learnt")


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, and of the models among them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


def dense(kernel: np.ndarray, bias: np.ndarray, activation: str) -> keras.layers.Layer:
    """A dense layer with these weights."""
    layer = keras.layers.Dense(len(bias), activation=activation)
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, bias])
    return layer


def _vertical_transpose(features, kernel):
    """(batch, frames, filters) and a kernel (1, bins, channels, filters) to (batch, frames, bins * channels)."""
    _, bins, channels, filters = kernel.shape
    return ops.matmul(features, ops.transpose(ops.reshape(kernel, (bins * channels, filters))))


def _horizontal_transpose(features, kernel, padding):
    """(batch, frames, features) and a kernel (taps, filters, features) to (batch, frames or frames + taps - 1, filters)."""
    more = kernel.shape[0] - 1
    if padding != "same":
        features = ops.pad(features, ((0, 0), (more, more if padding == "valid" else 0), (0, 0)))
    reversed_kernel = ops.transpose(ops.flip(kernel, axis=0), (0, 2, 1))
    return ops.conv(features, reversed_kernel, padding="same" if padding == "same" else "valid")
