"""A separator on disk: one ONNX file that holds its manifest, and the same manifest as JSON beside it.

The graph takes `mixture`, magnitudes (batch, frames, bins, channels), and gives one output of that shape per target, named
after it. The manifest says everything else that is needed to go from a waveform to stems.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError
from kerasep.masking import FILTER_FRAMES
from kerasep.spectral import Spectrogram
from kerasep.windows import crossfade, cut, middles

KEY = "kerasep"  # of the manifest among the ONNX file's metadata
FORMAT = 1
INPUT = "mixture"
MASKS = ("none", "ratio", "binary")
UNCLAIMED = ("shared", "dropped")
Run = Callable[[np.ndarray], dict[str, np.ndarray]]  # from a batch of magnitudes to each target's
LEAST = {  # what integers of a manifest may be
    "block_frames": 1,
    "context_frames": 0,
    "minimum_frames": 1,
    "wiener": 0,
    "window_frames": 0,
    "step_frames": 0,
    "margin_frames": 0,
    "batch": 0,
    "filter_frames": 1,
    "parameters": 0,
}


@dataclass(frozen=True)
class Manifest:
    """What a separator is and how to run it.

    Attributes:
        name: of the separator.
        targets: what it separates, in the order of the graph's outputs.
        spectrogram: what goes into the graph.
        block_frames: frames to run at a time, a multiple of the Wiener filter's grid and of `step_frames`.
        context_frames: frames to add on either side of a block and drop again. Where `context_exact`, they are all
            that a frame depends on, and blocks join without a trace.
        context_exact: whether the network's context is finite and covered.
        minimum_frames: the fewest frames the graph takes.
        mask: default mask, "none", "ratio" or "binary".
        exponent: default exponent of the ratio mask.
        wiener: default iterations of the Wiener filter.
        licence: terms of use of the weights, in a line.
        precision: of the weights.
        window_frames: frames that the graph takes, where it takes no other number of them; 0 where it does. A song is then cut
            into windows, counted from its first frame, the last one filled up with zeros.
        step_frames: frames from one window to the next. Where windows overlap, each fades in linearly over those before it,
            unless there is a margin.
        margin_frames: frames at both ends of a window that only give context: they overlap, and are dropped.
        batch: windows that the graph takes at a time, where it takes no other number of them; 0 where it does.
        filter_frames: the Wiener filter's grid (`kerasep.masking.wiener`).
        unclaimed: what ratio masks do with a bin in which no target has any magnitude: "shared" out evenly, or "dropped".
        origin: who made the weights, in a line.
        parameters: numbers that the networks learnt or measured.
        multiply_adds: of the graph, for a second of audio.
        details: recipe, training, parity, versions: for people and records, nothing at run time depends on it.
        format: version of this layout.
    """

    name: str
    targets: tuple[str, ...]
    spectrogram: Spectrogram
    block_frames: int
    context_frames: int
    context_exact: bool
    minimum_frames: int
    mask: str
    exponent: float
    wiener: int
    licence: str
    precision: str
    window_frames: int = 0
    step_frames: int = 0
    margin_frames: int = 0
    batch: int = 0
    filter_frames: int = FILTER_FRAMES
    unclaimed: str = "shared"
    origin: str = "not stated"
    parameters: int = 0
    multiply_adds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format!r} is not {FORMAT}")
        if not self.targets or not all(isinstance(target, str) and target.isidentifier() for target in self.targets):
            raise ValueError(f"targets must be plain names, not {self.targets!r}")
        for key, low in LEAST.items():
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{key} must be an integer of at least {low}, not {value!r}")
        if self.block_frames % self.filter_frames or self.context_frames > self.block_frames:
            raise ValueError(f"block_frames must be a multiple of {self.filter_frames} and at least context_frames")
        if self.window_frames:
            step = self.step_frames
            if self.margin_frames and step + 2 * self.margin_frames != self.window_frames:
                raise ValueError("step_frames and both margins must make up window_frames")
            if not 1 <= step <= self.window_frames:
                raise ValueError("step_frames must be from 1 to window_frames")
            if not self.margin_frames and (self.block_frames % step or self.context_frames % step):
                raise ValueError("step_frames must divide block_frames and context_frames")
        if self.unclaimed not in UNCLAIMED:
            raise ValueError(f"unknown unclaimed {self.unclaimed!r}: choose from {', '.join(UNCLAIMED)}")
        check_mask(self.mask, self.exponent)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """From `to_json`'s values. Raises ValueError or TypeError if they are not a manifest."""
        names = {item.name for item in fields(cls)}
        values = {key: value for key, value in values.items() if key in names}
        spectrogram, targets = Spectrogram(**values.pop("spectrogram")), tuple(values.pop("targets"))
        return cls(spectrogram=spectrogram, targets=targets, **values)


def check_mask(mask: str, exponent: float) -> None:
    """Raise ValueError unless `mask` is known and `exponent` is a positive number."""
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}: choose from {', '.join(MASKS)}")
    if not isinstance(exponent, int | float) or not 0 < exponent < 100:
        raise ValueError(f"exponent must be a positive number below 100, not {exponent!r}")


class Artifact:
    """An opened separator.

    Attributes:
        path: the ONNX file.
        manifest: its manifest.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open an ONNX file on ONNX Runtime's CPU provider.

        Args:
            path: the file; where a `.json` of the same name stands beside it, the file's sha256 must be the one in there.
            threads: of the network, all cores if None.

        Raises:
            KerasepError: the file is missing, damaged, no ONNX file or none of kerasep's, or ONNX Runtime is not installed.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise KerasepError(f"{path}: no such file")
        _check_hash(self.path)
        try:
            import onnxruntime
        except ImportError as error:
            raise KerasepError("ONNX Runtime is not installed: pip install 'kerasep[cpu]'") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions
        options.intra_op_num_threads = threads or 0
        # Threads that wait in a busy loop make an LSTM a quarter faster; between two blocks the cores belong to the transforms.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise KerasepError(f"{path}: not an ONNX file that this ONNX Runtime can run: export it again") from error
        self.manifest = _read_manifest(self.path, self._session.get_modelmeta().custom_metadata_map)
        self._check_graph()

    def predict(self, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network on one stretch of a song.

        Args:
            magnitudes: of the mixture, float32 (frames, bins, channels).

        Returns:
            Each target's magnitudes, float32 (frames, bins, channels). (All of them: ONNX Runtime computes what is not asked
            for as well.)
        """
        return predict(self.run, self.manifest, magnitudes)

    def run(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph: mixture and each target's estimate float32 (batch, frames, bins, channels), of its own sizes."""
        targets = self.manifest.targets
        return dict(zip(targets, self._session.run(list(targets), {INPUT: mixture}), strict=True))

    def _check_graph(self) -> None:
        spectrogram = self.manifest.spectrogram
        shape = [self.manifest.batch, self.manifest.window_frames, spectrogram.bins, spectrogram.channels]
        inputs = {
            node.name: [size if isinstance(size, int) else 0 for size in node.shape] for node in self._session.get_inputs()
        }
        outputs = {node.name for node in self._session.get_outputs()}
        if inputs != {INPUT: shape} or outputs != set(self.manifest.targets):
            raise KerasepError(f"{self.path}: its manifest does not describe its graph: export it again")


def predict(run: Run, manifest: Manifest, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
    """A stretch of a song through a network that takes what its manifest says.

    Args:
        run: from mixture to estimates, all (batch, frames, bins, channels).
        manifest: says how many frames and how large a batch it takes.
        magnitudes: of the mixture, float32 (frames, bins, channels).

    Returns:
        Each target's magnitudes, (frames, bins, channels).
    """
    frames, window, step = len(magnitudes), manifest.window_frames, manifest.step_frames
    missing = max(0, manifest.minimum_frames - frames)
    batch = cut(magnitudes, window, step) if window else _filled(magnitudes, missing)[None]
    size = manifest.batch or len(batch)
    filled = _filled(batch, -len(batch) % size)
    parts = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    estimates = {}
    for target in manifest.targets:
        output = parts[0][target] if len(parts) == 1 else np.concatenate([part[target] for part in parts])
        if manifest.margin_frames:
            whole = middles(output[: len(batch)], manifest.margin_frames)
        else:
            whole = crossfade(output[: len(batch)], step) if window else output[0]
        estimates[target] = whole[:frames]
    return estimates


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    """With so many zeros more along the first axis."""
    return np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1))) if missing else array


def sha256(path: Path) -> str:
    """A file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_hash(path: Path) -> None:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return
    try:
        expected = json.loads(beside.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasepError(f"{beside}: not a manifest ({error}): remove it or export {path.name} again") from error
    if sha256(path) != expected:
        raise KerasepError(f"{path}: its sha256 is not the one in {beside.name}: fetch or export both again")


def _read_manifest(path: Path, metadata: dict[str, str]) -> Manifest:
    if KEY not in metadata:
        raise KerasepError(f"{path}: an ONNX file, but none of kerasep's (no manifest in it)")
    try:
        return Manifest.from_json(json.loads(metadata[KEY]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KerasepError(f"{path}: its manifest cannot be used ({error}): export it with this version") from error
