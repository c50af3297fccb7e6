"""Waveform in, stems out, block by block: memory does not grow with the length of a song."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasep.errors import KerasepError, UsageError
from kerasep.inference import sound
from kerasep.inference.adapt import Counted, Output, to_channels
from kerasep.inference.artifact import Artifact
from kerasep.inference.chunking import with_context
from kerasep.inference.files import Format, separate_file
from kerasep.inference.graphs import SpectrogramGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.masker import Masker
from kerasep.inference.residual import RESIDUAL, Residual
from kerasep.signal import masks
from kerasep.signal.audio import BLOCK, resampled
from kerasep.signal.stft import Synthesis, stft_blocks
from kerasep.threads import workers

MOST = 1e37  # of estimates and samples: the sum of several must be a number of float32, too

Stems = dict[str, np.ndarray]
Make = Callable[[], np.ndarray]  # gives a stem's next samples
Chunk = dict[str, Make]


class Separator(ABC):
    """Gives the stems of songs, whatever kind of graph it runs; `kerasep.load` opens one.

    Attributes:
        artifact: the file.
        manifest: of the artifact.
        chosen: the targets that it makes stems of.
        residual: whether it gives what these leave of the mixture as well.
        targets: the stems it gives: the chosen ones, and "residual".
        rate, channels: of the sound that the graph works on. Any other is converted, and stems are converted back.

    Example:
        >>> import kerasep
        >>> separator = kerasep.load("conv", targets=["vocals"])
        >>> stems = separator(np.zeros((44100, 2), np.float32), 44100)
        >>> {target: stem.shape for target, stem in stems.items()}
        {'vocals': (44100, 2)}
    """

    def __init__(self, artifact: Artifact, rate: int, channels: int, targets: Iterable[str] | None, residual: bool) -> None:
        """Raises UsageError for an unknown target, for none, or for a residual beside a target of that name."""
        self.artifact = artifact
        self.rate, self.channels = rate, channels
        self.chosen = artifact.manifest.chosen(targets)
        if not self.chosen:
            raise UsageError(f"no targets: choose from {', '.join(self.manifest.targets)}")
        if residual and RESIDUAL in self.chosen:
            raise UsageError(f"{artifact.path}: has a target {RESIDUAL!r} of its own: leave --residual out")
        self.residual = residual
        self.targets = (*self.chosen, RESIDUAL) if residual else self.chosen

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    def settings(self) -> dict[str, Any]:
        """What decides its stems besides the file, as JSON values."""
        return {"residual": True} if self.residual else {}

    def __call__(self, audio: np.ndarray, rate: int) -> Stems:
        """Separate a whole signal.

        Args:
            audio: (samples, channels) or, mono, (samples,): floats with full scale at 1, or PCM as int16 or int32.
            rate: its sample rate in Hz, 1000 to 768000.

        Returns:
            A float32 array of the same shape per target.

        Raises:
            UsageError: no samples, samples of another type or shape, more than two channels, or another rate.
            KerasepError: NaN or infinite samples, or so loud ones that the network overflows.
        """
        samples = sound.whole(audio)
        if wrong := sound.wrong_rate(rate):
            raise UsageError(wrong)
        stems = {target: np.empty_like(samples) for target in self.targets}
        done = 0
        parts = (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))  # at another rate they are longer
        for pieces in self.blocks(parts, rate, samples.shape[1]):
            for target, piece in pieces.items():
                stems[target][done : done + len(piece)] = piece
            done += len(piece)
        return {target: stem.reshape(np.shape(audio)) for target, stem in stems.items()}

    def blocks(self, pieces: Iterable[np.ndarray], rate: int, channels: int) -> Iterator[Stems]:
        """Separate a signal that arrives in pieces.

        Args:
            pieces: (samples, channels) of any lengths, of the types that a whole signal may have.
            rate: sample rate in Hz, 1000 to 768000.
            channels: 1 or 2. Mono is processed as two equal channels and comes back mono.

        Yields:
            The next samples of every target, as many in all as went in.

        Raises:
            UsageError: samples of another type or shape, or more than two channels.
            KerasepError: another rate, which a file may have, NaN or infinite samples, or such stems.
        """
        if wrong := sound.wrong_rate(rate):
            raise KerasepError(wrong)
        if channels not in (1, 2):
            raise UsageError(f"a signal has 1 or 2 channels, not {channels}")
        left, pieces = Residual(), (sound.piece(piece, channels) for piece in pieces)
        given = Counted(map(left.hear, pieces) if self.residual else pieces)
        fitted = (to_channels(piece, self.channels) for piece in given)
        taken = Counted(resampled(fitted, rate, self.rate, self.channels))
        outputs = {target: Output(self.rate, self.channels, rate, channels) for target in self.chosen}

        def push(target: str, make: Make) -> np.ndarray:
            return self._finite(outputs[target].push(make, taken.samples))

        # NumPy and SciPy release the interpreter's lock in long loops.
        with ThreadPoolExecutor(workers(self.artifact.threads)) as pool:
            for chunk in self._chunks(taken):
                ready = {target: pool.submit(push, target, make) for target, make in chunk.items()}
                chunk.clear()  # else its arrays would be there until the next ones are, and with them twice the memory
                yield self._complete({target: ready.pop(target).result() for target in self.chosen}, left)
        rest = {target: self._finite(output.finish(taken.samples, given.samples)) for target, output in outputs.items()}
        yield self._complete(rest, left)

    def separate_file(
        self, path: str | Path, folder: str | Path, *, format: str = Format.WAV, float32: bool = False, overwrite: bool = False
    ) -> dict[str, Path]:
        """Separate an audio file into FOLDER/<target>.<format>; see `kerasep.inference.files.separate_file`."""
        return separate_file(self, path, folder, format=format, float32=float32, overwrite=overwrite)

    def _complete(self, stems: Stems, left: Residual) -> Stems:
        """The chosen stems' next samples, with the residual's where it is asked for."""
        return stems | {RESIDUAL: left.of(stems.values())} if self.residual else stems

    def _finite(self, made: np.ndarray) -> np.ndarray:
        """What a graph made, unless it overflowed: a mask may turn NaN into silence, and 16 bits into a click."""
        if not -MOST < made.min(initial=0) <= made.max(initial=0) < MOST:  # nor with NaN
            raise KerasepError(
                f"{self.artifact.path} ({self.manifest.precision}): overflows, and makes NaN or infinite samples: "
                f"lower the level of the sound, or use the float32 file"
            )
        return made

    @abstractmethod
    def _chunks(self, pieces: Iterable[np.ndarray]) -> Iterator[Chunk]:
        """What gives the next samples of each chosen stem of a signal at the graph's own rate and channels."""


class SpectrogramSeparator(Separator):
    """A spectrogram graph between a transform and its inverse, with a choice of mask and filter."""

    def __init__(
        self,
        artifact: Artifact,
        targets: Iterable[str] | None = None,
        mask: str | None = None,
        exponent: float | None = None,
        wiener: int | None = None,
        residual: bool = False,
    ) -> None:
        """
        Args:
            artifact: of a spectrogram graph.
            targets, mask, exponent, wiener, residual: see `kerasep.load`.

        Raises:
            UsageError: another kind of graph, an unknown target or mask, or a number out of range.
        """
        graph = artifact.manifest.graph
        if not isinstance(graph, SpectrogramGraph):
            raise UsageError(f"{artifact.path}: no spectrogram graph: open it with kerasep.load")
        super().__init__(artifact, graph.spectrogram.rate, graph.spectrogram.channels, targets, residual)
        self.graph = graph
        self.masker = Masker(artifact.manifest, graph.masking, self.chosen, mask, exponent, wiener, residual)

    def settings(self) -> dict[str, Any]:
        return self.masker.settings() | super().settings()

    def _chunks(self, pieces: Iterable[np.ndarray]) -> Iterator[Chunk]:
        spectrogram, blocks, grid = self.graph.spectrogram, self.graph.blocks, self.graph.masking.filter_frames
        inverses = {target: Synthesis(spectrogram, spectrogram.channels) for target in self.chosen}
        for before, block, after in with_context(stft_blocks(pieces, spectrogram, blocks.frames), blocks.context):
            estimates = self._estimates(before, block, after)
            for start in range(0, len(block), grid):
                part = slice(start, start + grid)
                stems = self.masker.parts({target: values[part] for target, values in estimates.items()}, block[part])
                yield {target: partial(inverses[target].push, *stems[target]) for target in self.chosen}
        yield {target: inverse.finish for target, inverse in inverses.items()}

    def _estimates(self, before: np.ndarray, block: np.ndarray, after: np.ndarray) -> masks.Gains:
        """Estimated magnitudes of a block of frames, given the frames before and after it; all (frames, bins, channels).

        What follows goes by stretches of the filter's grid, whose arrays are small enough for their memory to be used again.
        """
        estimates = self.artifact.estimate(np.concatenate([np.abs(part) for part in (before, block, after)]))
        return {target: self._finite(values[len(before) :][: len(block)]) for target, values in estimates.items()}
