"""Networks by name. Each is a Keras functional model from mixture to target magnitudes, on any Keras backend."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from kerasep.models.conv import context, conv
from kerasep.spectral import Spectrogram


class Network(NamedTuple):
    """A network's builder, build(bins, channels, **options), and what its options say of the frames it needs."""

    build: Callable[..., keras.Model]
    context: Callable[..., tuple[int, int]]


NETWORKS = {"conv": Network(conv, context)}


def build(network: str, spectrogram: Spectrogram, options: dict[str, Any]) -> keras.Model:
    """Build a network by name for the given spectrogram. Raises ValueError on an unknown name or option."""
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}: choose from {', '.join(NETWORKS)}")
    return NETWORKS[network].build(spectrogram.bins, spectrogram.channels, **options)
