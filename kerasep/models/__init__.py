"""Networks by name. Each is a Keras functional model from mixture to target magnitudes, on any Keras backend."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
from keras import ops

from kerasep.models import bands, conv, deepconvsep, openunmix, spleeter
from kerasep.models.receptive_field import ReceptiveField
from kerasep.signal.spectrogram import Spectrogram


class Network(NamedTuple):
    """How a network is built, and what its options say about its receptive field.

    Attributes:
        build: build(spectrogram, **options) for one target; of a `joint` network, build(spectrogram, targets, **options).
        receptive_field: receptive_field(**options).
        joint: whether its targets share layers. If not, each target has a separate network on the same input.
        fold: fold(network of one target, spectrogram), the same for inference only, with fewer passes over its data.
        step: step(network of one target, spectrogram), the same for one frame at a time: from `mixture`, `present` if it looks
            ahead, and states to `mask` and each state's `STATE_next`. Raises ValueError if the network cannot do that. For a
            `joint` network: step(network, spectrogram), and the masks are named after their targets.
    """

    build: Callable[..., keras.Model]
    receptive_field: Callable[..., ReceptiveField]
    joint: bool = False
    fold: Callable[[keras.Model, Spectrogram], keras.Model] | None = None
    step: Callable[[keras.Model, Spectrogram], keras.Model] | None = None


NETWORKS = {
    "bands": Network(bands.bands, bands.receptive_field, joint=True, step=bands.step),
    "conv": Network(conv.conv, conv.receptive_field, fold=conv.fold, step=conv.step),
    "deepconvsep": Network(deepconvsep.deepconvsep, deepconvsep.receptive_field, joint=True),
    "openunmix": Network(openunmix.openunmix, openunmix.receptive_field, fold=openunmix.fold, step=openunmix.step),
    "spleeter": Network(spleeter.spleeter, spleeter.receptive_field, joint=True),
}


def build(network: str, spectrogram: Spectrogram, options: dict[str, Any], targets: tuple[str, ...]) -> keras.Model:
    """Build a network by name for the given spectrogram and targets.

    Returns:
        A functional model from mixture to a dict of target magnitudes, all (batch, frames, bins, channels).

    Raises:
        ValueError: an unknown name or option, or one that does not fit.

    Example:
        >>> model = build("conv", Spectrogram(fft=256, hop=64), {"hidden": 8}, ("vocals", "bass"))
        >>> sorted(model.output)
        ['bass', 'vocals']
    """
    entry = _find(network)
    with _options_of(network):
        if entry.joint:
            return entry.build(spectrogram, targets, **options)
        return _side_by_side(network, spectrogram, {target: entry.build(spectrogram, **options) for target in targets})


@contextmanager
def _options_of(network: str) -> Iterator[None]:
    """Makes a ValueError of what Python says of keywords that a builder does not have, and of values of another kind."""
    try:
        yield
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"network {network}: {error}") from error


def folded(network: str, spectrogram: Spectrogram, model: keras.Model) -> keras.Model:
    """A trained model from `build` for inference only."""
    fold = _find(network).fold
    if fold is None:
        return model
    return _side_by_side(network, spectrogram, {target: fold(model.get_layer(target), spectrogram) for target in model.output})


def stepped(network: str, spectrogram: Spectrogram, options: dict[str, Any], model: keras.Model) -> keras.Model:
    """A trained model from `build` for one frame at a time.

    Args:
        network, spectrogram, options: that it was built with.
        model: from `build`.

    Returns:
        A functional model of dicts: from mixture (1, 1, bins, channels), present (1, 1, 1) if it looks ahead, and states, to
        each target's magnitudes, shaped like the mixture, and the states' next values, named `STATE_next`. Estimates are of the
        frame as many frames earlier as it looks ahead, which the state `waiting` keeps until then.

    Raises:
        ValueError: the network cannot run frame by frame.
    """
    step = _find(network).step
    if step is None:
        raise ValueError("it takes windows of frames: it cannot be streamed")
    masked = step(model, spectrogram) if _find(network).joint else _steps_side_by_side(step, spectrogram, model)
    inputs, outputs = dict(masked.input), dict(masked.output)
    mixture = inputs["mixture"]
    if ahead := receptive_field_of(network, options).look_ahead:
        inputs["waiting"] = keras.Input((ahead, *mixture.shape[2:]), batch_size=1, name="waiting")
        frames = ops.concatenate([inputs["waiting"], mixture], axis=1)
        mixture, outputs["waiting_next"] = frames[:, :1], frames[:, 1:]
    outputs |= {target: outputs[target] * mixture for target in model.output}
    return keras.Model(inputs, outputs, name=network)


def _steps_side_by_side(
    step: Callable[[keras.Model, Spectrogram], keras.Model], spectrogram: Spectrogram, model: keras.Model
) -> keras.Model:
    """The step networks of all targets on the same mixture, their states named `TARGET_STATE`, their masks `TARGET`."""
    inputs: dict[str, keras.KerasTensor] = {}
    outputs = {}
    for target in model.output:
        part = step(model.get_layer(target), spectrogram)
        part = keras.Model(part.input, part.output, name=target)
        names = {name: name if name in ("mixture", "present") else f"{target}_{name}" for name in part.input}
        for name, tensor in part.input.items():
            inputs.setdefault(names[name], keras.Input(tensor.shape[1:], batch_size=1, name=names[name]))
        given = part({name: inputs[names[name]] for name in part.input})
        outputs[target] = given.pop("mask")
        outputs |= {f"{target}_{name}": state for name, state in given.items()}
    return keras.Model(inputs, outputs)


def _side_by_side(network: str, spectrogram: Spectrogram, parts: dict[str, keras.Model]) -> keras.Model:
    mixture = keras.Input((None, spectrogram.bins, spectrogram.channels), name="mixture")
    named = {target: keras.Model(part.inputs, part.outputs[0], name=target) for target, part in parts.items()}
    return keras.Model(mixture, {target: part(mixture) for target, part in named.items()}, name=network)


def receptive_field_of(network: str, options: dict[str, Any]) -> ReceptiveField:
    """The receptive field of a network built with these options. Raises ValueError on an unknown name or option.

    Example:
        >>> receptive_field_of("conv", {"padding": "causal"}).context
        28
    """
    field = _find(network).receptive_field
    with _options_of(network):
        return field(**options)


def _find(network: str) -> Network:
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}: choose from {', '.join(NETWORKS)}")
    return NETWORKS[network]
