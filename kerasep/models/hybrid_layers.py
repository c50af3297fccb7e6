"""Layers of hybrid networks: features are (batch, bins, time, channels); those of a waveform have a single bin.

The same layers then serve a spectrogram's branch, which steps along bins, and a waveform's, which steps along time.
"""

import math

import keras
from keras import layers, ops

TINY = 1e-5  # added to deviations, and to variances in norms, as PyTorch does
PIECE = 4096  # of an axis that is added up at once
COMPRESS = 8  # of channels in a residual branch
DILATIONS = (1, 2)  # of a block's residual branches
KERNEL, STRIDE = 8, 4  # of a block's convolution


def gelu(x):
    """x times the normal distribution's integral up to x (D. Hendrycks and K. Gimpel, 2016), exactly.

    Keras' own becomes an operator that ONNX does not have.
    """
    return 0.5 * x * (1 + ops.erf(x * 0.5**0.5))


def glu(x):
    """The first half of the channels, gated by the second (Y. Dauphin et al., ICML 2017)."""
    half = x.shape[-1] // 2
    return x[..., :half] * ops.sigmoid(x[..., half:])


def mean(x, axes: int):
    """The mean over the last axes, which become 1: axis by axis, and long ones in pieces.

    A layer of these networks has millions of numbers. Runtimes that add them up one by one are wrong by a hundredth.
    """
    for axis in range(len(x.shape) - 1, len(x.shape) - 1 - axes, -1):
        size = x.shape[axis]
        if size <= PIECE:
            x = ops.mean(x, axis, keepdims=True)
        else:
            rest = x.shape[1:axis]
            x = ops.reshape(x, (-1, *rest, size))  # the axes behind are 1 by now
            x = ops.pad(x, ((0, 0), *((0, 0) for _ in rest), (0, -size % PIECE)))
            x = ops.mean(ops.reshape(x, (-1, *rest, -(-size // PIECE), PIECE)), -1)
            x = ops.reshape(ops.sum(x, -1) * (PIECE / size), (-1, *rest, *(1,) * axes))
    return x


@keras.saving.register_keras_serializable("kerasep")
class Whiten(layers.Layer):
    """(x - mean) / (1e-5 + deviation), with those of each example; gives the mean and deviation (batch, 1, ...), too.

    The deviation is the unbiased one. Float32 under every policy.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs | {"dtype": "float32", "autocast": False})

    def call(self, x):
        axes, count = len(x.shape) - 1, math.prod(x.shape[1:])
        middle = mean(x, axes)
        centred = x - middle
        deviation = ops.sqrt(mean(ops.square(centred), axes) * (count / (count - 1)))
        return [centred / (TINY + deviation), middle, deviation]


@keras.saving.register_keras_serializable("kerasep")
class Norm(layers.Layer):
    """Zero mean and unit variance over the last axes, then a scale and an offset for each channel.

    Over one axis this is layer normalisation, over two group normalisation with a single group.

    Weights: scale and offset (channels,).

    Args:
        axes: how many.
    """

    def __init__(self, axes: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.axes = axes

    def build(self, input_shape) -> None:
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
        self.offset = self.add_weight(name="offset", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x):
        centred = x - mean(x, self.axes)
        variance = mean(ops.square(centred), self.axes)
        return centred * (ops.rsqrt(variance + TINY) * self.scale) + self.offset

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"axes": self.axes}


@keras.saving.register_keras_serializable("kerasep")
class FrequencyEmbedding(layers.Layer):
    """Adds to every bin a vector of its own, so that convolutions along bins can tell low ones from high ones.

    Weights: embedding (bins, channels), of which `SCALE` times is added.
    """

    SCALE = 10 * 0.2  # the original learns a tenth of the vectors, and adds a fifth of them

    def build(self, input_shape) -> None:
        _, bins, _, channels = input_shape
        self.embedding = self.add_weight(name="embedding", shape=(bins, channels), initializer="random_normal")

    def call(self, x):
        return x + self.SCALE * self.embedding[:, None]

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("kerasep")
class ResidualBranch(layers.Layer):
    """x + a scale for each channel times what a narrow convolution along time makes of x, each bin by itself.

    Args:
        dilation: of the convolution of three frames.
    """

    def __init__(self, dilation: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.dilation = dilation

    def build(self, input_shape) -> None:
        channels = input_shape[-1]
        narrow, wide = channels // COMPRESS, 2 * channels
        self.narrow = layers.Conv2D(narrow, (1, 3), padding="same", dilation_rate=(1, self.dilation), name="narrow")
        self.narrow_norm = Norm(2, name="narrow_norm")
        self.widen = layers.Conv2D(wide, 1, name="widen")
        self.widen_norm = Norm(2, name="widen_norm")
        self.scale = self.add_weight(name="scale", shape=(channels,), initializer=keras.initializers.Constant(1e-3))
        shape = tuple(input_shape[:-1])
        self.narrow.build(input_shape)
        self.narrow_norm.build((*shape, narrow))
        self.widen.build((*shape, narrow))
        self.widen_norm.build((*shape, wide))

    def call(self, x):
        y = gelu(self.narrow_norm(self.narrow(x)))
        return x + glu(self.widen_norm(self.widen(y))) * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return super().get_config() | {"dilation": self.dilation}


class _Block(layers.Layer):
    """A layer of the encoder or the decoder.

    Args:
        channels: that come out.
        along: "bins" or "time": what it has a quarter, or four times, of.
    """

    def __init__(self, channels: int, along: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.along = along

    def _sizes(self) -> dict:
        """Of the convolution that steps: those outputs that it shares with one that is padded by two at either end."""
        shape = (KERNEL, 1) if self.along == "bins" else (1, KERNEL)
        strides = (STRIDE, 1) if self.along == "bins" else (1, STRIDE)
        return {"kernel_size": shape, "strides": strides, "padding": "same", "name": "conv"}

    def _build_branches(self, shape) -> None:
        self.branches = [ResidualBranch(d, name=f"branch{number}") for number, d in enumerate(DILATIONS)]
        for branch in self.branches:
            branch.build(shape)

    def get_config(self) -> dict:
        return super().get_config() | {"channels": self.channels, "along": self.along}


@keras.saving.register_keras_serializable("kerasep")
class Encoder(_Block):
    """A convolution of 8 with stride 4, residual branches, and a gated convolution of 1.

    Time that is no multiple of 4 is filled up with zeros.
    """

    def build(self, input_shape) -> None:
        self.conv = layers.Conv2D(self.channels, **self._sizes())
        self.gate = layers.Conv2D(2 * self.channels, 1, name="gate")
        self.conv.build(input_shape)
        shape = (*input_shape[:-1], self.channels)
        self._build_branches(shape)
        self.gate.build(shape)

    def call(self, x):
        if self.along == "time":
            x = ops.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % STRIDE), (0, 0)))
        x = gelu(self.conv(x))
        for branch in self.branches:
            x = branch(x)
        return glu(self.gate(x))

    def compute_output_shape(self, input_shape):
        batch, bins, time, _ = input_shape
        if self.along == "bins":
            return (batch, bins // STRIDE, time, self.channels)
        return (batch, bins, -(-time // STRIDE), self.channels)


@keras.saving.register_keras_serializable("kerasep")
class Decoder(_Block):
    """A gated convolution of 3 (of 3 x 3 along bins), residual branches, and a transposed convolution of 8 with stride 4.

    Takes [what comes up from below, what the encoder's layer gave].

    Args:
        time: frames that come out.
        last: whether no activation follows.
    """

    def __init__(self, channels: int, along: str, time: int, last: bool = False, **kwargs) -> None:
        super().__init__(channels, along, **kwargs)
        self.time = time
        self.last = last

    def build(self, input_shape) -> None:
        shape = input_shape[0]
        self.gate = layers.Conv2D(2 * shape[-1], (3 if self.along == "bins" else 1, 3), padding="same", name="gate")
        self.conv = layers.Conv2DTranspose(self.channels, **self._sizes())
        self.gate.build(shape)
        self._build_branches(shape)
        self.conv.build(shape)

    def call(self, inputs):
        below, skip = inputs
        x = glu(self.gate(below + skip))
        for branch in self.branches:
            x = branch(x)
        x = self.conv(x)[:, :, : self.time]
        return x if self.last else gelu(x)

    def compute_output_shape(self, input_shape):
        batch, bins, *_ = input_shape[0]
        return (batch, bins * STRIDE if self.along == "bins" else bins, self.time, self.channels)

    def get_config(self) -> dict:
        return super().get_config() | {"time": self.time, "last": self.last}
