"""Trained or imported runs, loaded to be one file: their networks in float32, and the manifest of the file to be."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

import kerasep
from kerasep.errors import KerasepError, UsageError, first_line
from kerasep.inference.artifact import sha256
from kerasep.inference.chunking import Arrays, estimate
from kerasep.inference.graphs import INPUT, PRESENT, Blocks, SpectrogramGraph, StepGraph, Windows
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Mask, Masking
from kerasep.models import ReceptiveField, folded, receptive_field_of, stepped
from kerasep.models.lstm import keras_lstms
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.wiener import FILTER_FRAMES
from kerasep.training.recipe import Recipe
from kerasep.training.record import WEIGHTS
from kerasep.training.runs import load_run


@contextmanager
def on_cpu() -> Iterator[None]:
    """Whatever TensorFlow makes and computes here stays on the CPU.

    What files are verified against must be float32 to its last digits, and a GPU rounds products to ten bits of mantissa.
    """
    with tf.device("CPU:0"):
        yield


@dataclass(frozen=True)
class Frozen:
    """Trained networks on the same input, in float32: what every file is made from, and measured against.

    Attributes:
        networks: as they were trained.
        lean: the same for inference only, scaling and normalisation folded into the layers next to them; of a step graph, for
            one frame at a time.
        manifest: of the file to be, without what only the file can tell.
    """

    networks: tuple[keras.Model, ...]
    lean: tuple[keras.Model, ...]
    manifest: Manifest

    @property
    def spectrogram(self) -> Spectrogram:
        """What the networks take."""
        graph = self.manifest.graph
        assert isinstance(graph, SpectrogramGraph | StepGraph)  # noqa: S101 - networks on waveforms have no transform around them
        return graph.spectrogram

    def estimate(self, magnitudes: np.ndarray) -> Arrays:
        """What Keras answers where an artifact is asked for `kerasep.inference.artifact.Artifact.estimate`."""
        graph = self.manifest.graph
        if isinstance(graph, SpectrogramGraph):
            return estimate(self.run, graph, magnitudes)
        return {target: output[0] for target, output in self.run(magnitudes[None]).items()}

    @on_cpu()
    def run(self, mixture: np.ndarray) -> Arrays:
        """Estimates of each target for a batch of magnitudes, both float32 (batch, frames, bins, channels)."""
        outputs: Arrays = {}
        for function in self._functions:
            outputs |= {target: output.numpy() for target, output in function(mixture).items()}
        return {target: outputs[target] for target in self.manifest.targets}

    @cached_property
    def _functions(self) -> list[tf.types.experimental.PolymorphicFunction]:
        """The networks as graphs of any batch and number of frames: traced once, where `predict_on_batch` traces each shape.

        Called as it is, an LSTM takes twenty times as long.
        """

        def compiled(network: keras.Model) -> tf.types.experimental.PolymorphicFunction:
            signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]
            forward = on_cpu()(lambda mixture: network(mixture, training=False))
            return tf.function(forward, input_signature=signature, autograph=False)  # it would leave files, and complain

        return [compiled(network) for network in self.networks]


@on_cpu()
def freeze(
    runs: Sequence[Path],
    name: str,
    licence: str | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    frames: int = 0,
    batch: int = 0,
) -> Frozen:
    """Load runs for a spectrogram graph.

    Args:
        runs: run folders with disjoint targets, on the same spectrogram.
        name: of the separator.
        licence: terms of use of the weights, in a line; the run's own by default.
        mask, exponent, wiener: defaults for separation, see `Masking`. Where they are not given: what the run says, or else
            ratio masks without a filter, and no mask for a single target.
        frames, batch: that the file is to take, 0 for any.

    Raises:
        KerasepError: a run cannot be used, or the runs disagree.
        UsageError: a number of frames that the networks do not take, or that holds no more than their context; or numbers that
            a manifest does not take.
    """
    loaded = _Loaded(runs)
    field = loaded.field
    windows = _windows(field, frames)
    grid = FILTER_FRAMES
    if windows and not windows.margin:  # the filter's grid must be made of whole strides
        grid = windows.stride * -(-FILTER_FRAMES // windows.stride)
    blocks = Blocks(grid * -(-max(field.block, field.context) // grid), field.context, field.exact, field.minimum)
    try:
        masking = loaded.masking(mask, exponent, wiener, grid)
        graph = SpectrogramGraph(loaded.spectrogram, blocks, masking, windows, batch)
        manifest = loaded.manifest(name, graph, licence)
    except ValueError as error:
        raise UsageError(f"{', '.join(map(str, runs))}: {first_line(error)}") from error
    lean = [folded(recipe.network, loaded.spectrogram, network) for recipe, network in loaded.pairs]
    return Frozen(tuple(loaded.networks), tuple(lean), manifest)


@on_cpu()
def freeze_step(runs: Sequence[Path], name: str, licence: str | None = None) -> Frozen:
    """Load runs for a step graph: one frame at a time, with states.

    Args:
        runs, name, licence: see `freeze`.

    Raises:
        KerasepError: a run cannot be used, or cannot run frame by frame, or the runs disagree.
    """
    loaded = _Loaded(runs)
    lean = []
    for (recipe, network), run in zip(loaded.pairs, runs, strict=True):
        try:
            lean.append(stepped(recipe.network, loaded.spectrogram, recipe.options, network))
        except ValueError as error:
            raise KerasepError(f"{run}: {error}") from error
    ahead = [field.look_ahead for field in loaded.fields]
    for run, frames in zip(runs, ahead, strict=True):
        if frames != ahead[0]:
            raise KerasepError(f"{run}: looks {frames} frames ahead and {runs[0]} {ahead[0]}: export it on its own")
    shapes = {name: tuple(tensor.shape) for network in lean for name, tensor in network.input.items()}
    states = {name: shape for name, shape in shapes.items() if name not in (INPUT, PRESENT)}
    try:
        masking = loaded.masking(None, None, 0, FILTER_FRAMES)
        graph = StepGraph(loaded.spectrogram, masking, states, ahead[0], loaded.field.minimum)
        manifest = loaded.manifest(name, graph, licence)
    except ValueError as error:
        raise UsageError(f"{', '.join(map(str, runs))}: {first_line(error)}") from error
    return Frozen(tuple(loaded.networks), tuple(lean), manifest)


class _Loaded:
    """Runs that may share a file.

    Attributes:
        records, networks, recipes, fields: of the runs.
        spectrogram: of all of them.
        field: what all of them together need.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        if keras.backend.backend() != "tensorflow":
            raise KerasepError(f"converting runs on TensorFlow, not on {keras.backend.backend()}: unset KERAS_BACKEND")
        self.runs = runs
        self.records: list[dict[str, Any]] = []
        self.networks: list[keras.Model] = []
        for run in runs:
            record, network = load_run(run)
            taken = {target for earlier in self.records for target in earlier["targets"]}
            if again := [target for target in record["targets"] if target in taken]:
                raise KerasepError(f"{run}: a second run for {again[0]}: name one run per target")
            if self.records and record["recipe"]["spectrogram"] != self.records[0]["recipe"]["spectrogram"]:
                raise KerasepError(f"{run}: trained on another spectrogram than {runs[0]}: they cannot share an input")
            for lstm in keras_lstms(network):  # else a visible GPU makes it an operator that no converter knows
                lstm.use_cudnn = False
            self.records.append(record)
            self.networks.append(network)
        self.recipes = [Recipe.from_json(record["recipe"]) for record in self.records]
        self.spectrogram = self.recipes[0].spectrogram
        self.fields = [receptive_field_of(recipe.network, recipe.options) for recipe in self.recipes]
        self.field = _together(self.fields, runs)

    @property
    def pairs(self) -> list[tuple[Recipe, keras.Model]]:
        return list(zip(self.recipes, self.networks, strict=True))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(target for record in self.records for target in record["targets"])

    @property
    def defaults(self) -> dict[str, Any]:
        """What the runs, or rather the first, say of masks, licence and origin."""
        return self.records[0].get("defaults", {})

    def masking(self, mask: str | None, exponent: float | None, wiener: int | None, grid: int) -> Masking:
        """As chosen, else as the runs have it."""
        plain: dict[str, Any] = {"mask": Mask.RATIO if len(self.targets) > 1 else Mask.NONE}
        said = {name: self.defaults[name] for name in ("mask", "exponent", "wiener", "unclaimed") if name in self.defaults}
        chosen = {"mask": mask, "exponent": exponent, "wiener": wiener}
        return Masking(**plain | said | {k: v for k, v in chosen.items() if v is not None}, filter_frames=grid)

    def manifest(self, name: str, graph: SpectrogramGraph | StepGraph, licence: str | None) -> Manifest:
        """Of a file that holds these runs."""
        names = ", ".join(sorted({recipe.name for recipe in self.recipes}))
        return Manifest(
            name=name,
            targets=self.targets,
            graph=graph,
            licence=licence or self.defaults.get("licence", "not stated: ask whoever trained it"),
            origin=self.defaults.get("origin", f"kerasep, recipe {names}"),
            parameters=sum(network.count_params() for network in self.networks),
            details={
                "runs": [_summary(record, run) for record, run in zip(self.records, self.runs, strict=True)],
                "versions": {
                    "kerasep": kerasep.__version__,
                    "python": platform.python_version(),
                    "keras": keras.__version__,
                    "tensorflow": tf.__version__,
                    "tf2onnx": tf2onnx.__version__,
                    "onnx": onnx.__version__,
                },
            },
        )


def _together(fields: Sequence[ReceptiveField], runs: Sequence[Path]) -> ReceptiveField:
    """What all networks of a graph need together."""
    first = fields[0]
    for needed, run in zip(fields, runs, strict=True):
        if (needed.window, needed.stride) != (first.window, first.stride):
            raise KerasepError(f"{run}: takes other windows than {runs[0]}: pack it on its own")
    return ReceptiveField(
        context=max(needed.context for needed in fields),
        minimum=max(needed.minimum for needed in fields),
        exact=all(needed.exact for needed in fields),
        window=first.window,
        stride=first.stride,
        block=max(needed.block for needed in fields),
    )


def _windows(needed: ReceptiveField, frames: int) -> Windows | None:
    """Windows of a file that is to take a number of frames, 0 for any."""
    if needed.window:
        if frames and frames != needed.window:
            raise UsageError(f"--frames {frames}: these networks take {needed.window} frames and no other number")
        return Windows(needed.window, needed.stride)
    if not frames:
        return None
    if frames <= 2 * needed.context:
        raise UsageError(f"--frames {frames}: {2 * needed.context} of them are context: give more")
    return Windows(frames, frames - 2 * needed.context, needed.context)


def _summary(record: dict[str, Any], run: Path) -> dict[str, Any]:
    kept = {
        key: record[key] for key in ("targets", "recipe", "seed", "parameters", "best", "started", "files") if key in record
    }
    seconds = sum(epoch["seconds"] for epoch in record["epochs"])
    songs = {subset: len(names) for subset, names in record["songs"].items()}
    return kept | {"songs": songs, "seconds": round(seconds), "weights_sha256": sha256(run / WEIGHTS)}
