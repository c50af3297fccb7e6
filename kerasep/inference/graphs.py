"""The kinds of graph, each with the fields of its kind alone.

SpectrogramGraph    magnitudes of a stretch of a song in, one estimate a target out
StepGraph           the same for one frame at a time, with states
WaveformGraph       samples in, stems out
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from kerasep.checks import MANY, flags, short, whole_numbers
from kerasep.inference.masking import Masking
from kerasep.signal.spectrogram import RATES, Spectrogram

INPUT = "mixture"
PRESENT = "present"  # of a step graph that looks ahead: 1 for a frame of the song, 0 for one after its end
NEXT = "_next"  # added to a state's name where it comes out
FRAMES = 10_000  # that a step graph may wait for, at most
OVERLAP = 1024  # segments that a sample is in, at most

Shapes = dict[str, tuple[int, ...]]  # by tensor; 0 where any size is taken


class Kind(StrEnum):
    """Of graph."""

    SPECTROGRAM = "spectrogram"
    STEP = "step"
    WAVEFORM = "waveform"


@dataclass(frozen=True)
class Blocks:
    """How much of a song goes through a spectrogram graph at a time.

    Attributes:
        frames: in a block, a multiple of the Wiener filter's grid and of the windows' stride.
        context: frames of its neighbours to add on either side of a block, and drop again.
        exact: whether a frame depends on no more than that, so that blocks join without a trace.
        minimum: the fewest frames that the graph takes.

    Raises:
        ValueError: a value is out of range.
    """

    frames: int
    context: int
    exact: bool
    minimum: int = 1

    def __post_init__(self) -> None:
        whole_numbers(self, "blocks.", frames=(1, MANY), context=(0, MANY), minimum=(1, MANY))
        flags(self, "exact")
        if self.context > self.frames or self.minimum > self.frames:
            raise ValueError("blocks.context and blocks.minimum must be at most blocks.frames")


@dataclass(frozen=True)
class Windows:
    """The one number of frames that a graph takes. A song is cut into such windows, the last one filled up with zeros.

    Attributes:
        frames: in a window.
        stride: frames from one window to the next. Where windows overlap, each fades in linearly over those before it,
            unless there is a margin.
        margin: frames at both ends of a window that only give context: they overlap, and are dropped.

    Raises:
        ValueError: a value is out of range.
    """

    frames: int
    stride: int
    margin: int = 0

    def __post_init__(self) -> None:
        whole_numbers(self, "windows.", frames=(1, MANY), stride=(1, MANY), margin=(0, MANY))
        if self.margin and self.stride + 2 * self.margin != self.frames:
            raise ValueError("windows.stride and both margins must make up windows.frames")
        if self.stride > self.frames:
            raise ValueError("windows.stride must be from 1 to windows.frames")


@dataclass(frozen=True)
class Segments:
    """How a song of any length is cut for a graph that takes waveforms, in samples.

    Attributes:
        samples: in a segment.
        stride: from one segment to the next.
        margin: at either end of a segment's stems, dropped but at the song's own ends: the rest of the song would change them.
        multiple: of what a graph's number of samples must be, where it takes any.
        least: the fewest that it takes.

    Raises:
        ValueError: a value is out of range.
    """

    samples: int
    stride: int
    margin: int
    multiple: int = 1
    least: int = 1

    def __post_init__(self) -> None:
        limits = (1, MANY)
        whole_numbers(self, "segments.", samples=limits, stride=limits, margin=(0, MANY), multiple=limits, least=limits)
        if self.stride + 2 * self.margin > self.samples:
            raise ValueError("segments.stride and both margins must fit into segments.samples")
        if self.samples > OVERLAP * self.stride:
            raise ValueError(f"segments.stride must be at least segments.samples / {OVERLAP}")


@dataclass(frozen=True)
class SpectrogramGraph:
    """From `INPUT`, magnitudes (batch, frames, bins, channels), to estimates of that shape for each target.

    Attributes:
        spectrogram: what goes in.
        blocks: how much of a song at a time.
        masking: from estimates to stems.
        windows: where the graph takes one number of frames.
        batch: spectrograms that the graph takes at a time; 0 for any number.

    Raises:
        ValueError: values do not fit together.
    """

    kind: ClassVar[Kind] = Kind.SPECTROGRAM

    spectrogram: Spectrogram
    blocks: Blocks
    masking: Masking
    windows: Windows | None = None
    batch: int = 0

    def __post_init__(self) -> None:
        whole_numbers(self, batch=(0, MANY))
        if self.blocks.frames % self.masking.filter_frames:
            raise ValueError(f"blocks.frames must be a multiple of {self.masking.filter_frames}")
        windows = self.windows
        if windows and not windows.margin and (self.blocks.frames % windows.stride or self.blocks.context % windows.stride):
            raise ValueError("windows.stride must divide blocks.frames and blocks.context")

    @property
    def fixed(self) -> bool:
        """Whether the graph takes one length alone."""
        return self.windows is not None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of mixture and estimates: batch, frames, bins, channels; 0 where any size is taken."""
        return (self.batch, self.windows.frames if self.windows else 0, self.spectrogram.bins, self.spectrogram.channels)

    @property
    def size(self) -> int:
        """Numbers that go in for a block, at most."""
        spectra, windows = self.blocks.frames + 2 * self.blocks.context, self.windows
        if windows:
            spectra = windows.frames * -(-spectra // windows.stride)
        return max(spectra, self.batch * (windows.frames if windows else spectra)) * math.prod(self.shape[2:])

    def inputs(self) -> Shapes:
        """The graph's inputs."""
        return {INPUT: self.shape}

    def outputs(self, targets: Iterable[str]) -> Shapes:
        """The graph's outputs."""
        return dict.fromkeys(targets, self.shape)


@dataclass(frozen=True)
class StepGraph:
    """From a frame of `INPUT`, magnitudes (1, 1, bins, channels), to each target's estimate of a frame, and states.

    States go in under their names and come out with `NEXT` added; they are zeros at the start.

    Attributes:
        spectrogram: what goes in.
        masking: from estimates to stems. There is no Wiener filter: it needs seconds of sound to learn from.
        states: with their shapes.
        look_ahead: frames from the one that is estimated to the one that goes in.
        minimum: the fewest frames that a song must have; a shorter one is filled up with zeros.
        masks: whether outputs are masks instead of magnitudes, as in files of format 1.

    Raises:
        ValueError: values do not fit together.
    """

    kind: ClassVar[Kind] = Kind.STEP

    spectrogram: Spectrogram
    masking: Masking
    states: Shapes
    look_ahead: int = 0
    minimum: int = 1
    masks: bool = False

    def __post_init__(self) -> None:
        whole_numbers(self, look_ahead=(0, FRAMES), minimum=(1, FRAMES))
        flags(self, "masks")
        object.__setattr__(self, "states", {name: tuple(shape) for name, shape in self.states.items()})  # lists, in JSON
        for name, shape in self.states.items():
            if not name.isidentifier() or not all(type(size) is int and 0 < size <= MANY for size in shape):
                raise ValueError(f"states must be named shapes, not {short(name)}: {short(shape)}")
        if not self.states:
            raise ValueError("a step graph has states")

    @property
    def fixed(self) -> bool:
        """Whether the graph takes one length alone: a frame."""
        return True

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of mixture and estimates: batch, frames, bins, channels."""
        return (1, 1, self.spectrogram.bins, self.spectrogram.channels)

    @property
    def size(self) -> int:
        """Numbers that go in with a frame."""
        return sum(map(math.prod, self.inputs().values()))

    def inputs(self) -> Shapes:
        """The graph's inputs."""
        return {INPUT: self.shape} | ({PRESENT: (1, 1, 1)} if self.look_ahead else {}) | self.states

    def outputs(self, targets: Iterable[str]) -> Shapes:
        """The graph's outputs."""
        return dict.fromkeys(targets, self.shape) | {f"{name}{NEXT}": shape for name, shape in self.states.items()}


@dataclass(frozen=True)
class WaveformGraph:
    """From `INPUT`, samples (batch, channels, samples), to each target's stem of that shape. Masks and filters are inside.

    Attributes:
        rate: in Hz.
        channels: 1 or 2.
        segments: how a song is cut.
        fixed: whether the graph takes segments of `segments.samples` alone, or any number that `segments.multiple` divides.
        exact: whether segments join without a trace.
        batch: segments that the graph takes at a time.
        blended: whether segments, which then have no margins, are averaged where they overlap, with weights that fall from
            the middle of a segment to its ends in a straight line.
        normalised: whether the graph takes a song less its mean, divided by its standard deviation, both of the mean of its
            channels over the whole song. Its stems are brought back.

    Raises:
        ValueError: a value is out of range.
    """

    kind: ClassVar[Kind] = Kind.WAVEFORM

    rate: int
    channels: int
    segments: Segments
    fixed: bool
    exact: bool
    batch: int = 1
    blended: bool = False
    normalised: bool = False

    def __post_init__(self) -> None:
        whole_numbers(self, rate=RATES, channels=(1, 2), batch=(1, MANY))
        flags(self, "fixed", "exact", "blended", "normalised")
        if self.blended and self.segments.margin:
            raise ValueError("segments that are blended have no margin")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of mixture and stems: batch, channels, samples; 0 where any number is taken."""
        return (self.batch, self.channels, self.segments.samples if self.fixed else 0)

    @property
    def size(self) -> int:
        """Numbers that go in for a segment, at most."""
        segments = self.segments
        return self.batch * self.channels * (max(segments.samples, segments.least) + segments.multiple)

    def inputs(self) -> Shapes:
        """The graph's inputs."""
        return {INPUT: self.shape}

    def outputs(self, targets: Iterable[str]) -> Shapes:
        """The graph's outputs."""
        return dict.fromkeys(targets, self.shape)


Graph = SpectrogramGraph | StepGraph | WaveformGraph
GRAPHS: dict[str, type[SpectrogramGraph] | type[StepGraph] | type[WaveformGraph]] = {
    Kind.SPECTROGRAM: SpectrogramGraph,
    Kind.STEP: StepGraph,
    Kind.WAVEFORM: WaveformGraph,
}
