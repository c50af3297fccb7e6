"""Separation while the sound arrives: a hop of it at a time, in constant memory."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.separator import Counted, Output, Separator, to_channels
from kerasep.inference.stepping import Steps
from kerasep.signal.audio import resampled
from kerasep.signal.stft import Analysis, Synthesis

Stems = dict[str, np.ndarray]


class StreamSeparator:
    """A step graph between a transform and its inverse, on its way through one song.

    Feed it `hop` samples at a time: the work is then the same each time. What it returns belongs to samples that went in
    before, in order, without a gap: the first calls return nothing, and each later one as many samples as went in.

    Attributes:
        targets: the stems it gives.
        rate, channels: of the sound that goes in and comes out.
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
            artifact: a step graph.
            targets, mask, exponent, residual: see `Separator`. There is no Wiener filter: it needs seconds of
                sound to learn from.

        Raises:
            UsageError: the artifact is no step graph, or the choice does not fit.
        """
        manifest = artifact.manifest
        if manifest.graph != "step":
            remedy = "export one with python -m export RUN... --graph step"
            raise UsageError(f"{artifact.path}: takes whole spectrograms, and a stream needs a step graph: {remedy}")
        self.separator = Separator(artifact, targets, mask, exponent, wiener=0, residual=residual)
        self.targets = self.separator.targets
        spectrogram = manifest.spectrogram
        self.rate, self.channels, self.hop = spectrogram.rate, spectrogram.channels, spectrogram.hop
        self.latency = spectrogram.fft + manifest.look_ahead_frames * spectrogram.hop
        self.steps = Steps(artifact.runtime.run, manifest)
        self.analysis = Analysis(spectrogram, frames=1)
        self.inverses = {target: Synthesis(spectrogram, self.channels) for target in self.targets}
        self.waiting: deque[np.ndarray] = deque()  # frames whose masks are still to come
        self.given = self.taken = 0  # samples in and out

    def push(self, samples: np.ndarray) -> Stems:
        """Add samples, float32 (samples, channels), for each stem's next ones.

        Raises:
            KerasepError: samples of another shape.
        """
        if samples.ndim != 2 or samples.shape[1] != self.channels:
            raise KerasepError(f"the stream takes (samples, {self.channels}), not {samples.shape}")
        self.given += len(samples)
        return self._leave([self._frame(block[0]) for block in self.analysis.push(samples)])

    def finish(self) -> Stems:
        """What is still to come after the last sample: as many samples as went in have then come out."""
        pieces = [self._frame(block[0]) for block in self.analysis.finish()]
        pieces += [self._stems(masks) for masks in self.steps.finish()]
        pieces.append({target: inverse.finish() for target, inverse in self.inverses.items()})
        return self._leave(pieces)

    def blocks(self, pieces: Iterable[np.ndarray], rate: int, channels: int) -> Iterator[Stems]:
        """A signal of any rate and 1 or 2 channels, as `Separator.blocks` has it, but hop by hop."""
        given = Counted(pieces)
        fitted = (to_channels(piece, self.channels) for piece in given)
        outputs = {target: Output(self.separator.manifest.spectrogram, rate, channels) for target in self.targets}
        for piece in resampled(fitted, rate, self.rate, self.channels):
            for start in range(0, len(piece), self.hop):
                stems = self.push(piece[start : start + self.hop])
                yield {target: output.push(stems[target], self.given) for target, output in outputs.items()}
        stems = self.finish()
        yield {target: output.finish(stems[target], self.given, given.samples) for target, output in outputs.items()}

    def _frame(self, spectrum: np.ndarray) -> Stems:
        """The next frame, complex64 (bins, channels), for the samples it completes."""
        self.waiting.append(spectrum)
        masks = self.steps.push(np.abs(spectrum))
        return {} if masks is None else self._stems(masks)

    def _stems(self, masks: dict[str, np.ndarray]) -> Stems:
        """Masks of the frame that has waited the longest, for the samples it completes."""
        mixture = self.waiting.popleft()[None]
        magnitudes = np.abs(mixture)
        estimates = {target: masks[target] * magnitudes for target in self.separator.manifest.targets}
        stems = self.separator.stems(estimates, mixture)
        return {target: inverse.push(stems[target]) for target, inverse in self.inverses.items()}

    def _leave(self, pieces: list[Stems]) -> Stems:
        """Pieces of the stems as one, no more of them than there were samples."""
        nothing = np.zeros((0, self.channels), np.float32)
        joined = {target: np.concatenate([nothing, *(piece[target] for piece in pieces if piece)]) for target in self.targets}
        joined = {target: samples[: self.given - self.taken] for target, samples in joined.items()}
        self.taken += len(joined[self.targets[0]])
        return joined
