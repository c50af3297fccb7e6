"""LSTMs that train fast and export cleanly.

Their weights are those of Keras' own layer, which is what runs, and what converters see, outside training. On a GPU it is what
trains as well: there Keras calls cuDNN's LSTM, one kernel for all frames, where any loop would start a few for each of some
hundred frames. On a CPU the same numbers come, in training, from a recurrence of two small products per frame:

- the input's product with the kernel is computed for all frames at once, before the loop;
- both directions of a bidirectional LSTM share one loop;
- the gradient is written out. What can be computed again for all frames at once is not stored, and the weights' gradient is one
  product over all frames. Automatic differentiation of the loop would store every frame's gates, and under XLA a copy of the
  weights per frame, which is most of the memory of Open-Unmix's training step.

They compute in float32 under every policy of mixed precision: sums over hundreds of frames, and all that JAX' cuDNN knows.
"""

from collections.abc import Iterator

import keras
from keras import ops

from kerasep.models.layers import all_layers

FLOAT32 = {"dtype": "float32"}


def on_gpu() -> bool:
    """Whether Keras computes on a GPU; there it runs an LSTM as one kernel, cuDNN's. TensorFlow's XLA cannot compile that."""
    known = keras.backend.backend() in ("tensorflow", "jax")
    return known and any(name.startswith("gpu") for name in keras.distribution.list_devices())


@keras.saving.register_keras_serializable("kerasep")
class BidirectionalLSTM(keras.layers.Bidirectional):
    """keras.layers.Bidirectional(LSTM(units, return_sequences=True)), forward and backward features concatenated.

    Args:
        units: features of each direction.
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(_lstm(units), **kwargs | FLOAT32)
        self.units = units

    def call(self, sequences, initial_state=None, mask=None, training=None):
        if not training or on_gpu():
            return super().call(sequences, training=training)
        projected, recurrent = [], []
        for layer in (self.forward_layer, self.backward_layer):
            cell = layer.cell
            projected.append(ops.matmul(sequences, cell.kernel) + cell.bias)
            recurrent.append(_tensor(cell.recurrent_kernel))
        both = ops.stack([projected[0], ops.flip(projected[1], axis=1)], axis=0)  # (2, batch, frames, 4 units)
        hidden = recurrence(ops.transpose(both, (2, 0, 1, 3)), recurrent[0], recurrent[1])  # (frames, 2, batch, units)
        sides = ops.concatenate([hidden[:, 0], ops.flip(hidden[:, 1], axis=0)], axis=-1)
        return ops.transpose(sides, (1, 0, 2))  # (batch, frames, 2 units)

    def get_config(self) -> dict:
        return keras.layers.Layer.get_config(self) | {"units": self.units}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


@keras.saving.register_keras_serializable("kerasep")
class SharedLSTM(keras.layers.Layer):
    """keras.layers.LSTM(units, return_sequences=True) over frames, on (batch, groups, frames, features); groups share it."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs | FLOAT32)
        self.units = units

    def build(self, input_shape) -> None:
        self.lstm = _lstm(self.units)
        self.lstm.build((None, None, input_shape[3]))

    def call(self, sequences, training=None):
        _, groups, frames, features = ops.shape(sequences)
        # Frames first: that is the order of the loop, and of LSTM operators in runtimes.
        x = ops.reshape(ops.transpose(sequences, (2, 0, 1, 3)), (frames, -1, features))
        if training and not on_gpu():
            cell = self.lstm.cell
            projected = ops.matmul(x, cell.kernel) + cell.bias
            x = recurrence(projected[:, None], _tensor(cell.recurrent_kernel))[:, 0]
        else:
            x = ops.transpose(self.lstm(ops.transpose(x, (1, 0, 2))), (1, 0, 2))
        x = ops.reshape(x, (frames, -1, groups, self.units))
        return ops.transpose(x, (1, 2, 0, 3))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.units)

    def get_config(self) -> dict:
        return super().get_config() | {"units": self.units}


def _lstm(units: int) -> keras.layers.LSTM:
    """Named, so that variables keep their paths when a network is saved and loaded."""
    return keras.layers.LSTM(units, return_sequences=True, name="lstm", **FLOAT32)


def _tensor(weight: keras.Variable):
    """A weight's value: TensorFlow's custom gradients take no variables where they run eagerly."""
    return ops.convert_to_tensor(weight) + 0


@ops.custom_gradient
def recurrence(projected, *kernels):
    """The recurrent part of an LSTM, for several directions, all of which run forwards.

    Args:
        projected: input times kernel plus bias for all gates, in Keras' order i, f, c, o: (frames, directions, batch, 4 units).
        kernels: recurrent kernels (units, 4 units), one for each direction.

    Returns:
        Hidden states (frames, directions, batch, units). The gradient is that of S. Hochreiter and J. Schmidhuber's LSTM with
        forget gates, through all frames.
    """
    units = kernels[0].shape[0]

    def gates(frame, hidden):
        """Projected input (..., directions, batch, 4 units) and the previous hidden state to i, f, c, o."""
        before = [ops.matmul(hidden[..., number, :, :], kernel) for number, kernel in enumerate(kernels)]
        i, f, c, o = ops.split(frame + ops.stack(before, axis=-3), 4, axis=-1)
        return ops.sigmoid(i), ops.sigmoid(f), ops.tanh(c), ops.sigmoid(o)

    def step(carry, frame):
        hidden, cell = carry
        i, f, c, o = gates(frame, hidden)
        cell = f * cell + i * c
        carry = (o * ops.tanh(cell), cell)
        return carry, carry

    zeros = ops.zeros_like(projected[0, ..., :units])
    _, (hiddens, cells) = ops.scan(step, (zeros, zeros), projected)

    def gradient(*upstream):
        hiddens_before = ops.concatenate([zeros[None], hiddens[:-1]], axis=0)
        cells_before = ops.concatenate([zeros[None], cells[:-1]], axis=0)
        i, f, c, o = gates(projected, hiddens_before)  # recomputed for all frames in one product, not stored
        tanh = ops.tanh(cells)
        # Factors from the gradient of the cell, or of the hidden state, to that of each gate before its activation.
        of_cell = (c * i * (1 - i), cells_before * f * (1 - f), i * (1 - c * c))
        of_hidden = tanh * o * (1 - o)
        through = o * (1 - tanh * tanh)
        transposed = [ops.transpose(kernel) for kernel in kernels]

        def back(carry, frame):
            dh_after, dc_after = carry
            dh_given, f, through, ci, cf, cc, ho = frame
            dh = dh_given + dh_after
            dc = dc_after + dh * through
            at_gates = ops.concatenate([dc * ci, dc * cf, dc * cc, dh * ho], axis=-1)
            dh_before = ops.stack([ops.matmul(at_gates[number], kernel) for number, kernel in enumerate(transposed)], axis=0)
            return (dh_before, dc * f), (dh, dc)

        given = (upstream[-1], f, through, *of_cell, of_hidden)
        _, (dh, dc) = ops.scan(back, (zeros, zeros), given, reverse=True)
        at_gates = ops.concatenate([dc * of_cell[0], dc * of_cell[1], dc * of_cell[2], dh * of_hidden], axis=-1)
        directions = range(len(kernels))
        return at_gates, *(ops.einsum("tbu,tbv->uv", hiddens_before[:, number], at_gates[:, number]) for number in directions)

    return hiddens, gradient


def keras_lstms(network: keras.Model) -> Iterator[keras.layers.LSTM]:
    """Keras' own LSTM layers in a network, those inside bidirectional and shared LSTMs among them."""
    for layer in all_layers(network):
        if isinstance(layer, keras.layers.LSTM):
            yield layer
        elif isinstance(layer, BidirectionalLSTM):
            yield from (layer.forward_layer, layer.backward_layer)
        elif isinstance(layer, SharedLSTM):
            yield layer.lstm
