"""Separation while the sound arrives: a hop of it at a time, in constant memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from kerasep.errors import UsageError
from kerasep.inference import sound
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import StepGraph
from kerasep.inference.masker import Masker
from kerasep.inference.residual import Residual
from kerasep.inference.separator import Chunk, Separator, Stems
from kerasep.inference.stepping import Stepper
from kerasep.signal.stft import Analysis, Synthesis


class StreamSeparator(Separator):
    """A step graph between a transform and its inverse, on its way through one song at a time.

    Feed it `hop` samples at a time: the work is then the same each time. What it returns belongs to samples that went in
    before, in order, without a gap: the first calls return nothing, and each later one as many samples as went in.

    Attributes:
        hop: samples from one frame to the next.
        latency: samples, at most, from one that goes in to the call that returns it: the transform's window, and the frames
            that the network looks ahead.
    """

    def __init__(
        self,
        artifact: Artifact,
        targets: Iterable[str] | None = None,
        mask: str | None = None,
        exponent: float | None = None,
        residual: bool = False,
    ) -> None:
        """
        Args:
            artifact: of a step graph.
            targets, mask, exponent, residual: see `kerasep.load`. There is no Wiener filter: it needs seconds of sound to
                learn from.

        Raises:
            UsageError: the artifact is no step graph, or the choice does not fit.
        """
        graph = artifact.manifest.graph
        if not isinstance(graph, StepGraph):
            remedy = "export one with python -m export RUN... --graph step"
            raise UsageError(f"{artifact.path}: takes whole spectrograms, and a stream needs a step graph: {remedy}")
        super().__init__(artifact, graph.spectrogram.rate, graph.spectrogram.channels, targets, residual)
        self.graph = graph
        self.masker = Masker(artifact.manifest, graph.masking, self.chosen, mask, exponent, 0, residual)
        self.hop = graph.spectrogram.hop
        self.latency = graph.spectrogram.fft + graph.look_ahead * graph.spectrogram.hop
        self.restart()

    def settings(self) -> dict[str, Any]:
        return self.masker.settings() | super().settings()

    def restart(self) -> None:
        """Forget the song so far, and begin another."""
        spectrogram = self.graph.spectrogram
        self.stepper = Stepper(self.artifact.runtime.run, self.graph, self.manifest.targets)
        self.analysis = Analysis(spectrogram, frames=1)
        self.inverses = {target: Synthesis(spectrogram, self.channels) for target in self.chosen}
        self.left = Residual()
        self.waiting: deque[np.ndarray] = deque()  # frames whose estimates are still to come
        self.given = self.taken = 0  # samples in and out

    def push(self, samples: np.ndarray) -> Stems:
        """Add samples, (samples, channels) at the graph's rate, for each stem's next ones.

        Raises:
            UsageError, KerasepError: samples of another type or shape, NaN or infinite ones.
        """
        samples = sound.piece(samples, self.channels).copy()  # a program may fill its buffer again before they are done with
        return self._complete(self._push(self.left.hear(samples) if self.residual else samples), self.left)

    def finish(self) -> Stems:
        """What is still to come after the last sample: as many samples as went in have then come out."""
        return self._complete(self._finish(), self.left)

    def _push(self, samples: np.ndarray) -> Stems:
        """The chosen stems' next samples."""
        self.given += len(samples)
        return self._joined([self._frame(block[0]) for block in self.analysis.push(samples)])

    def _finish(self) -> Stems:
        pieces = [self._frame(block[0]) for block in self.analysis.finish()]
        pieces += [self._stems(estimates) for estimates in self.stepper.finish()]
        pieces.append({target: inverse.finish() for target, inverse in self.inverses.items()})
        return self._joined(pieces)

    def _chunks(self, pieces: Iterable[np.ndarray]) -> Iterator[Chunk]:
        self.restart()
        for piece in pieces:
            hops = [self._push(piece[start : start + self.hop]) for start in range(0, len(piece), self.hop)]
            if hops:  # a resampler may hold a short piece back
                yield {target: partial(np.concatenate, [hop[target] for hop in hops]) for target in self.chosen}
        stems = self._finish()
        yield {target: partial(np.asarray, stems[target]) for target in self.chosen}

    def _frame(self, spectrum: np.ndarray) -> Stems:
        """The next frame, complex64 (bins, channels), for the samples it completes."""
        self.waiting.append(spectrum)
        estimates = self.stepper.push(np.abs(spectrum))
        return {} if estimates is None else self._stems(estimates)

    def _stems(self, estimates: Stems) -> Stems:
        """Estimates of the frame that has waited the longest, for the samples it completes."""
        mixture = self.waiting.popleft()[None]
        parts = self.masker.parts({target: self._finite(values)[None] for target, values in estimates.items()}, mixture)
        return {target: inverse.push(*parts[target]) for target, inverse in self.inverses.items()}

    def _joined(self, pieces: list[Stems]) -> Stems:
        """Pieces of the stems as one, no more of them than there were samples."""
        nothing = np.zeros((0, self.channels), np.float32)
        joined = {target: np.concatenate([nothing, *(piece[target] for piece in pieces if piece)]) for target in self.chosen}
        joined = {target: samples[: self.given - self.taken] for target, samples in joined.items()}
        self.taken += len(joined[self.chosen[0]])
        return joined
