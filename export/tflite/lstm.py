"""LSTMs as TFLite runs them well: built-in operators, and as little as possible inside the loop.

The converter's own loop takes one frame at a time, and five times as long as ONNX Runtime. Here the input's product with the
kernel is computed for all frames at once, before the loop, and an iteration takes 16 frames, because each one copies the output
so far. Each direction has a separate loop: its recurrent weights, 1 MB for 256 units, then stay in a core's cache. Tried, and
slower or the same: both directions in one loop, as two products, as one of two matrices or as a grouped convolution; 1, 4, 8
and 32 frames an iteration.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasep.models.lstm import BidirectionalLSTM, SharedLSTM, keras_lstms

UNROLLED = 16  # frames in an iteration at most: the largest number that divides all frames


def looped(network: keras.Model) -> keras.Model:
    """A network with a loop for each LSTM; it takes one number of frames and one song at a time."""

    def clone(layer):
        if isinstance(layer, BidirectionalLSTM):
            return LSTMLoop([layer.forward_layer, layer.backward_layer])
        if isinstance(layer, SharedLSTM):
            return SharedLoop(layer)
        return LSTMLoop([layer]) if isinstance(layer, layers.LSTM) else layer

    return keras.models.clone_model(network, clone_function=clone, recursive=True)


def has_loops(networks: Sequence[keras.Model]) -> bool:
    """Whether there are LSTMs in them, at any depth."""
    return any(True for network in networks for _ in keras_lstms(network))


class LSTMLoop(layers.Layer):
    """Trained LSTMs on a sequence (1, frames, features), their outputs concatenated: (1, frames, units of all of them)."""

    def __init__(self, directions: list[layers.LSTM]) -> None:
        super().__init__()
        self.units = directions[0].units
        self.directions = [(direction.go_backwards, _ordered(direction.cell.get_weights())) for direction in directions]

    def compute_output_shape(self, sequences_shape):
        return (*sequences_shape[:2], self.units * len(self.directions))

    def call(self, sequences, initial_state=None, mask=None, training=None):
        return tf.concat([self._direction(sequences, *direction) for direction in self.directions], axis=-1)

    def _direction(self, sequences, backwards: bool, weights: list[np.ndarray]):
        _, frames, features = sequences.shape
        x = tf.reshape(sequences, (frames, 1, features))
        hiddens = _loop(tf.reverse(x, [0]) if backwards else x, weights)
        return tf.reshape(tf.reverse(hiddens, [0]) if backwards else hiddens, (1, frames, self.units))


class SharedLoop(layers.Layer):
    """A trained LSTM on each of several sequences, (1, groups, frames, features)."""

    def __init__(self, trained: SharedLSTM) -> None:
        super().__init__()
        self.units = trained.units
        self.weights_in_order = _ordered(trained.lstm.cell.get_weights())

    def compute_output_shape(self, sequences_shape):
        return (*sequences_shape[:3], self.units)

    def call(self, sequences, training=None):
        _, groups, frames, features = sequences.shape
        x = tf.transpose(tf.reshape(sequences, (groups, frames, features)), (1, 0, 2))
        hiddens = tf.transpose(_loop(x, self.weights_in_order), (1, 0, 2))
        return tf.reshape(hiddens, (1, groups, frames, self.units))


def _loop(sequences, ordered: list[np.ndarray]):
    """Hidden states (frames, count, units) of sequences (frames, count, features), with weights as `_ordered` gives them."""
    frames, count, features = sequences.shape
    kernel, recurrent, bias = ordered
    units = len(recurrent)
    steps = max(number for number in range(1, UNROLLED + 1) if frames % number == 0)
    projected = tf.matmul(tf.reshape(sequences, (frames * count, features)), kernel) + bias
    chunks = tf.reshape(projected, (frames // steps, steps, count, 4 * units))

    # No shape in the loop depends on its number, as that of a slice from it on would: else a runtime allocates what comes after
    # the loop only while it runs, and LiteRT 2.3 then reads earlier tensors from where they were before.
    def iteration(number, hidden, cell, outputs):
        new, weights = (
            [],
            tf.constant(recurrent),
        )  # inside the loop: a tensor from outside is copied each time
        for frame in tf.unstack(tf.gather(chunks, number)):
            gates = frame + tf.matmul(hidden, weights)
            i, f, o = tf.split(tf.sigmoid(gates[:, : 3 * units]), 3, axis=1)
            cell = f * cell + i * tf.tanh(gates[:, 3 * units :])
            hidden = o * tf.tanh(cell)
            new.append(hidden)
        return number + 1, hidden, cell, tf.concat([outputs[1:], [new]], axis=0)

    iterations, zeros = frames // steps, tf.zeros((count, units))
    # Any values of the outputs' shape: each iteration pushes some out. Zeros would be stored in the file, 3 MB for `bands`.
    start = (0, zeros, zeros, chunks[..., :units])
    *_, outputs = tf.while_loop(lambda number, *_: number < iterations, iteration, start)
    return tf.reshape(outputs, (frames, count, units))


def _ordered(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Kernel, recurrent kernel and bias with the gates that a sigmoid follows side by side: Keras' i, f, c, o as i, f, o, c."""
    return [np.concatenate([np.split(weight, 4, axis=-1)[gate] for gate in (0, 1, 3, 2)], axis=-1) for weight in weights]
