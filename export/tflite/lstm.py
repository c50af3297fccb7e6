"""LSTMs as TFLite runs them well: with its own operators, and as little as can be in the loop.

A converter makes a loop of Keras' LSTM that takes one frame at a time, and five times as long as ONNX Runtime. Here the input's
product with the kernel is made for all frames at once, before the loop, and the loop goes 16 frames at a time, because each of
its turns copies what it has made so far. Each direction has a loop of its own: what it multiplies by, 1 MB for 256 units, then
stays in a core's cache. Tried, and slower or the same: both directions in one loop, as two products, as one of two matrices or
as a grouped convolution; 1, 4, 8 and 32 frames at a time.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasep.models.lstm import BidirectionalLSTM, SharedLSTM

STEPS = 16  # frames in a turn of the loop at most; as many of them as divide all frames


def looped(network: keras.Model) -> keras.Model:
    """A network with a loop for each LSTM; it takes one number of frames, and one song at a time."""

    def clone(layer):
        if isinstance(layer, BidirectionalLSTM):
            return LSTMLoop([layer.forward_layer, layer.backward_layer])
        if isinstance(layer, SharedLSTM):
            return SharedLoop(layer)
        return LSTMLoop([layer]) if isinstance(layer, layers.LSTM) else layer

    return keras.models.clone_model(network, clone_function=clone, recursive=True)


def has_loops(networks: Sequence[keras.Model]) -> bool:
    """Whether there are LSTMs in them, at any depth."""
    return any(
        isinstance(layer, layers.LSTM | BidirectionalLSTM) for network in networks for layer in network._flatten_layers()
    )


class LSTMLoop(layers.Layer):
    """What trained LSTMs make of a sequence (1, frames, features), side by side: (1, frames, units of all of them)."""

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
    """What a trained LSTM makes of each of several sequences, (1, groups, frames, features)."""

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
    steps = max(number for number in range(1, STEPS + 1) if frames % number == 0)
    projected = tf.matmul(tf.reshape(sequences, (frames * count, features)), kernel) + bias
    chunks = tf.reshape(projected, (frames // steps, steps, count, 4 * units))

    # No shape in the loop depends on its number, as that of a slice from it on would, for a runtime: what comes after the loop
    # would get its memory only while it runs, and LiteRT 2.3 then reads what comes before it from where it was.
    def turn(number, hidden, cell, made):
        new, weights = [], tf.constant(recurrent)  # of the loop's own: what comes from outside is copied at each turn
        for frame in tf.unstack(tf.gather(chunks, number)):
            gates = frame + tf.matmul(hidden, weights)
            i, f, o = tf.split(tf.sigmoid(gates[:, : 3 * units]), 3, axis=1)
            cell = f * cell + i * tf.tanh(gates[:, 3 * units :])
            hidden = o * tf.tanh(cell)
            new.append(hidden)
        return number + 1, hidden, cell, tf.concat([made[1:], [new]], axis=0)

    turns, nothing = frames // steps, tf.zeros((count, units))
    # What is in the last at first goes out turn by turn. Zeros would be in the file: 3 MB for `bands`.
    start = (0, nothing, nothing, chunks[..., :units])
    *_, made = tf.while_loop(lambda number, *_: number < turns, turn, start)
    return tf.reshape(made, (frames, count, units))


def _ordered(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Kernel, recurrent kernel and bias with the gates that a sigmoid follows side by side: Keras' i, f, c, o as i, f, o, c."""
    return [np.concatenate([np.split(weight, 4, axis=-1)[gate] for gate in (0, 1, 3, 2)], axis=-1) for weight in weights]
