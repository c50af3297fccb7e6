"""Which tensor of PyTorch's HTDemucs is which variable of `kerasep.models.htdemucs`, and how it is laid out.

PyTorch keeps products as (outputs, inputs, ...), or (inputs, outputs, ...) where they are transposed, with the taps of a
convolution behind; Keras has these two axes last, and in the other order, whichever they are. Branches on waveforms are
convolutions in one dimension there, and in two of which one has length 1 here.
"""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from kerasep.models.htdemucs import CHANNELS, GROWTH, HIDDEN
from kerasep.models.hybrid_layers import COMPRESS, DILATIONS, KERNEL, STRIDE

State = dict[str, np.ndarray]


class Sizes(NamedTuple):
    """What the shapes of a network's tensors follow from, as arguments of `htdemucs`."""

    channels: int
    depth: int
    bottom: int
    transformer: int
    heads: int
    fft: int


class Tensor(NamedTuple):
    """A tensor.

    Attributes:
        name: in PyTorch's state dict.
        variable: path of the variable in Keras.
        shape: in PyTorch.
    """

    name: str
    variable: str
    shape: tuple[int, ...]


def tensors(sizes: Sizes, targets: int) -> Iterator[Tensor]:
    """All tensors of a network for so many targets."""
    channels = [0, *(sizes.channels * GROWTH**number for number in range(sizes.depth))]
    for theirs, ours, taps, around, values in (("", "", (KERNEL, 1), (3, 3), 2), ("t", "time_", (KERNEL,), (3,), 1)):
        for number in range(sizes.depth):
            less, more = channels[number : number + 2]
            inputs = less if number else CHANNELS * values
            outputs = less if number else CHANNELS * values * targets
            ones = (1,) * len(taps)
            name, layer = f"{theirs}encoder.{number}", f"{ours}encoder{number}"
            yield from _product(f"{name}.conv", f"{layer}/conv", (more, inputs, *taps), more)
            yield from _branches(name, layer, more)
            yield from _product(f"{name}.rewrite", f"{layer}/gate", (2 * more, more, *ones), 2 * more)
            name, layer = f"{theirs}decoder.{sizes.depth - 1 - number}", f"{ours}decoder{number}"
            yield from _product(f"{name}.rewrite", f"{layer}/gate", (2 * more, more, *around), 2 * more)
            yield from _branches(name, layer, more)
            yield from _product(f"{name}.conv_tr", f"{layer}/conv", (more, outputs, *taps), outputs)
    yield Tensor("freq_emb.embedding.weight", "frequencies/embedding", (sizes.fft // 2 // STRIDE, sizes.channels))
    features = sizes.bottom or channels[-1]
    for theirs, ours in (("", ""), ("_t", "time_")):
        if sizes.bottom:
            up, down = (features, channels[-1], 1), (channels[-1], features, 1)
            yield from _product(f"channel_upsampler{theirs}", f"{ours}up", up, features)
            yield from _product(f"channel_downsampler{theirs}", f"{ours}down", down, channels[-1])
        yield from _norm(f"crosstransformer.norm_in{theirs}", f"{ours}norm", features)
        for number in range(sizes.transformer):
            crossed, names = number % 2 == 1, (f"crosstransformer.layers{theirs}.{number}", f"{ours}transformer{number}")
            yield from _transformer_layer(*names, features, crossed)


def _branches(theirs: str, ours: str, channels: int) -> Iterator[Tensor]:
    narrow, wide = channels // COMPRESS, 2 * channels
    for number in range(len(DILATIONS)):
        name, layer = f"{theirs}.dconv.layers.{number}", f"{ours}/branch{number}"
        yield from _product(f"{name}.0", f"{layer}/narrow", (narrow, channels, 3), narrow)
        yield from _norm(f"{name}.1", f"{layer}/narrow_norm", narrow)
        yield from _product(f"{name}.3", f"{layer}/widen", (wide, narrow, 1), wide)
        yield from _norm(f"{name}.4", f"{layer}/widen_norm", wide)
        yield Tensor(f"{name}.6.scale", f"{layer}/scale", (channels,))


def _transformer_layer(theirs: str, ours: str, features: int, crossed: bool) -> Iterator[Tensor]:
    attention, hidden = f"{theirs}.{'cross' if crossed else 'self'}_attn", HIDDEN * features
    yield Tensor(f"{attention}.in_proj_weight", f"{ours}/attention/kernel", (3 * features, features))
    yield Tensor(f"{attention}.in_proj_bias", f"{ours}/attention/bias", (3 * features,))
    yield Tensor(f"{attention}.out_proj.weight", f"{ours}/attention/out_kernel", (features, features))
    yield Tensor(f"{attention}.out_proj.bias", f"{ours}/attention/out_bias", (features,))
    yield from _product(f"{theirs}.linear1", f"{ours}/up", (hidden, features), hidden)
    yield from _product(f"{theirs}.linear2", f"{ours}/down", (features, hidden), features)
    norms = ("norm", "others_norm", "feed_norm") if crossed else ("norm", "feed_norm")
    for number, norm in enumerate(norms, 1):
        yield from _norm(f"{theirs}.norm{number}", f"{ours}/{norm}", features)
    yield from _norm(f"{theirs}.norm_out", f"{ours}/out_norm", features)
    yield Tensor(f"{theirs}.gamma_1.scale", f"{ours}/scale", (features,))
    yield Tensor(f"{theirs}.gamma_2.scale", f"{ours}/feed_scale", (features,))


def _product(theirs: str, ours: str, shape: tuple[int, ...], outputs: int) -> Iterator[Tensor]:
    yield Tensor(f"{theirs}.weight", f"{ours}/kernel", shape)
    yield Tensor(f"{theirs}.bias", f"{ours}/bias", (outputs,))


def _norm(theirs: str, ours: str, channels: int) -> Iterator[Tensor]:
    yield Tensor(f"{theirs}.weight", f"{ours}/scale", (channels,))
    yield Tensor(f"{theirs}.bias", f"{ours}/offset", (channels,))


def assign(network: keras.Model, state: State, sizes: Sizes) -> None:
    """Set all weights of a network from a checked state dict."""
    variables = {variable.path: variable for variable in network.weights}
    for tensor in tensors(sizes, len(network.output)):
        variable, values = variables[tensor.variable], state[tensor.name]
        if tensor.variable.endswith("kernel"):
            values = np.moveaxis(values, (0, 1), (-1, -2)).reshape(variable.shape)
        variable.assign(values)
