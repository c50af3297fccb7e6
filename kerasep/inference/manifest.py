"""What a separator says of itself: how its graph is fed and what to do with what comes out."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kerasep.errors import UsageError
from kerasep.signal.stft import Spectrogram
from kerasep.signal.wiener import FILTER_FRAMES

FORMAT = 1
INPUT = "mixture"
PRESENT = "present"
NEXT = "_next"
GRAPHS = ("spectrogram", "step", "waveform")
MASKS = ("none", "ratio", "binary")
UNCLAIMED = ("shared", "dropped")
LEAST = {  # what integers of a manifest may be
    "block_frames": 1,
    "context_frames": 0,
    "minimum_frames": 1,
    "wiener": 0,
    "window_frames": 0,
    "step_frames": 0,
    "margin_frames": 0,
    "batch": 0,
    "look_ahead_frames": 0,
    "samples": 0,
    "filter_frames": 1,
    "parameters": 0,
}


@dataclass(frozen=True)
class Manifest:
    """What a separator is and how to run it.

    Attributes:
        name: of the separator.
        targets: what it separates.
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
        graph: "spectrogram", from `INPUT` to a magnitude spectrogram for each target; or "step", one frame at a time
            (`kerasep.inference.stream`): states go in under their names and come out with `NEXT` added, zeros at the start, and
            outputs are masks. Where it looks ahead, `PRESENT` is 1 for a frame of the song, 0 for one after its end; or
            "waveform", from `INPUT` to stems, with the transform and the masks inside (`kerasep.inference.waveform`).
        samples: that a waveform graph takes, where it takes no other number of them; 0 where it takes any that the hop divides.
        states: of a step graph, with their shapes.
        look_ahead_frames: of a step graph: how many frames a mask comes later than its frame.
        filter_frames: the Wiener filter's grid (`kerasep.signal.wiener.wiener`).
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
    graph: str = "spectrogram"
    states: dict[str, tuple[int, ...]] = field(default_factory=dict)
    look_ahead_frames: int = 0
    samples: int = 0
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
        for name, choices in (("unclaimed", UNCLAIMED), ("graph", GRAPHS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose from {', '.join(choices)}")
        if (self.graph == "step") != bool(self.states):
            raise ValueError("a step graph has states, and no other graph has")
        for name, shape in self.states.items():
            if not name.isidentifier() or not all(type(size) is int and size > 0 for size in shape):
                raise ValueError(f"states must be named shapes, not {name!r}: {shape!r}")
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
        states = {name: tuple(shape) for name, shape in values.pop("states", {}).items()}
        return cls(spectrogram=spectrogram, targets=targets, states=states, **values)

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """The graph's inputs with their shapes, 0 where it takes any size."""
        return {INPUT: self.shape} | ({PRESENT: (1, 1, 1)} if self.look_ahead_frames else {}) | self.states

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """The graph's outputs with their shapes."""
        return dict.fromkeys(self.targets, self.shape) | {f"{name}{NEXT}": shape for name, shape in self.states.items()}

    def chosen(self, targets: Iterable[str] | None) -> tuple[str, ...]:
        """These targets, each once; all if None. Raises UsageError for one that there is not."""
        chosen = self.targets if targets is None else tuple(dict.fromkeys(targets))
        for target in chosen:
            if target not in self.targets:
                raise UsageError(f"unknown target {target!r}: {self.name} has {', '.join(self.targets)}")
        return chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the mixture and of each target in the graph, 0 where it takes any size.

        Batch, frames, bins, channels; or, of a waveform graph, batch, channels, samples.
        """
        if self.graph == "waveform":
            return (self.batch, self.spectrogram.channels, self.samples)
        frames = 1 if self.graph == "step" else self.window_frames
        return (self.batch, frames, self.spectrogram.bins, self.spectrogram.channels)


def check_mask(mask: str, exponent: float) -> None:
    """Raise ValueError unless `mask` is known and `exponent` is a positive number."""
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}: choose from {', '.join(MASKS)}")
    if not isinstance(exponent, int | float) or not 0 < exponent < 100:
        raise ValueError(f"exponent must be a positive number below 100, not {exponent!r}")
