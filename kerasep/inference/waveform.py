"""Waveform graphs on songs of any length: in segments that overlap, of whose stems the ends are dropped."""

from collections.abc import Iterable, Iterator

import numpy as np

from kerasep.errors import UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import INPUT
from kerasep.inference.segments import least, margin, stride
from kerasep.inference.separator import BlockSeparator, Counted, Output, Separator, to_channels
from kerasep.signal.audio import resampled


def separator_of(artifact: Artifact, targets: Iterable[str] | None = None, **choices) -> BlockSeparator:
    """What separates with an artifact, whichever graph it has; `choices` are those of `kerasep.inference.separator.Separator`.

    Raises:
        UsageError: an unknown target, a choice that does not fit, or one that a waveform graph has made already.
    """
    if artifact.manifest.graph != "waveform":
        return Separator(artifact, targets, **choices)
    if made := [name for name, choice in choices.items() if choice is not None and choice is not False]:
        raise UsageError(f"{artifact.path}: makes its stems inside the graph: leave --{' and --'.join(made)} out")
    return WaveformSeparator(artifact, targets)


class WaveformSeparator(BlockSeparator):
    """A waveform graph with its context: equal to the whole song at once wherever the network's context is finite.

    A song's last samples are filled up with zeros to a number that the graph takes.
    """

    def __init__(self, artifact: Artifact, targets: Iterable[str] | None = None) -> None:
        """
        Args:
            artifact: a waveform graph.
            targets: which stems to give, all if None.

        Raises:
            UsageError: an unknown target.
        """
        self.artifact = artifact
        self.manifest = manifest = artifact.manifest
        self.mask, self.exponent, self.wiener = manifest.mask, manifest.exponent, manifest.wiener
        self.targets = manifest.chosen(targets)

    def blocks(self, pieces: Iterable[np.ndarray], rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        spectrogram = self.manifest.spectrogram
        given = Counted(pieces)
        fitted = (to_channels(piece, spectrogram.channels) for piece in given)
        taken = Counted(resampled(fitted, rate, spectrogram.rate, spectrogram.channels))
        outputs = {target: Output(spectrogram, rate, channels) for target in self.targets}
        for segment, kept in self._segments(taken):
            stems = self._stems(segment)
            yield {target: output.push(stems[target][kept], taken.samples) for target, output in outputs.items()}
        nothing = np.zeros((0, spectrogram.channels), np.float32)
        yield {target: output.finish(nothing, taken.samples, given.samples) for target, output in outputs.items()}

    def _segments(self, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, slice]]:
        """Stretches of a song, and which samples of each are to be kept."""
        hop = self.manifest.spectrogram.hop
        ends, step = margin(self.manifest) * hop, stride(self.manifest) * hop
        length = self.manifest.samples or step + 2 * ends
        held = np.zeros((0, self.manifest.spectrogram.channels), np.float32)
        start = 0
        for piece in pieces:
            held = np.concatenate([held, piece])
            while len(held) > length:
                yield held[:length], slice(start, ends + step)
                held, start = held[step:], ends
        if len(held):
            yield held, slice(start, len(held))

    def _stems(self, segment: np.ndarray) -> dict[str, np.ndarray]:
        """All targets of a segment, (samples, channels) each."""
        manifest, hop = self.manifest, self.manifest.spectrogram.hop
        missing = (manifest.samples or max(least(manifest), -(-len(segment) // hop) * hop)) - len(segment)
        mixture = np.pad(segment, ((0, missing), (0, 0))).T
        outputs = self.artifact.runtime.run({INPUT: np.repeat(mixture[None], manifest.batch, axis=0)})
        return {target: outputs[target][0].T for target in self.targets}
