"""Networks by name. Each is a Keras functional model from mixture to target magnitudes, on any Keras backend."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from kerasep.models import conv, openunmix
from kerasep.spectral import Spectrogram


class Context(NamedTuple):
    """Frames a network needs around those it is asked for.

    Attributes:
        frames: either side, that one output frame depends on, or that are worth giving it.
        minimum: fewest frames it takes.
        exact: whether more of them would change nothing.
    """

    frames: int
    minimum: int
    exact: bool


class Network(NamedTuple):
    """A network's builder for one target, build(spectrogram, **options), and what the options say of its context."""

    build: Callable[..., keras.Model]
    context: Callable[..., tuple[int, int, bool]]


NETWORKS = {
    "conv": Network(conv.conv, conv.context),
    "openunmix": Network(openunmix.openunmix, openunmix.context),
}


def build(network: str, spectrogram: Spectrogram, options: dict[str, Any], targets: tuple[str, ...]) -> keras.Model:
    """Build a network by name for the given spectrogram: one for each target, side by side on the same input.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, channels).

    Raises:
        ValueError: an unknown name or option.
    """
    _check(network)
    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    outputs = {}
    for target in targets:
        one = NETWORKS[network].build(spectrogram, **options)
        outputs[target] = keras.Model(one.inputs, one.outputs[0], name=target)(mixture)
    return keras.Model(mixture, outputs, name=network)


def context(network: str, options: dict[str, Any]) -> Context:
    """What a network built with these options needs around a frame. Raises ValueError on an unknown name."""
    _check(network)
    return Context(*NETWORKS[network].context(**options))


def _check(network: str) -> None:
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}: choose from {', '.join(NETWORKS)}")
