"""Waveform graphs on songs of any length: in segments that overlap, whose stems lose their ends or are blended."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from kerasep.errors import UsageError
from kerasep.inference.adapt import Level
from kerasep.inference.artifact import Artifact
from kerasep.inference.chunking import blend_segments, cut_segments, filled_length
from kerasep.inference.graphs import INPUT, WaveformGraph
from kerasep.inference.separator import Chunk, Separator, Stems


class WaveformSeparator(Separator):
    """A waveform graph: equal to the whole song at once where segments join without a trace, as they do at margins.

    A song's last samples are filled up with zeros to a number that the graph takes.
    """

    def __init__(self, artifact: Artifact, targets: Iterable[str] | None = None, residual: bool = False) -> None:
        """
        Args:
            artifact: of a waveform graph.
            targets, residual: see `kerasep.load`.

        Raises:
            UsageError: another kind of graph, or an unknown target.
        """
        graph = artifact.manifest.graph
        if not isinstance(graph, WaveformGraph):
            raise UsageError(f"{artifact.path}: no waveform graph: open it with kerasep.load")
        super().__init__(artifact, graph.rate, graph.channels, targets, residual)
        self.graph = graph

    def _chunks(self, pieces: Iterable[np.ndarray]) -> Iterator[Chunk]:
        level = Level(pieces, self.channels) if self.graph.normalised else None
        for stems in self._stems(pieces if level is None else level):
            yield {target: partial(level.back if level else np.asarray, stem) for target, stem in stems.items()}

    def _stems(self, pieces: Iterable[np.ndarray]) -> Iterator[Stems]:
        """The next samples of each chosen stem."""
        segments = self.graph.segments
        if self.graph.blended:
            yield from blend_segments(pieces, segments, self.channels, self.segment)
            return
        for segment, kept in cut_segments(pieces, segments, self.channels):
            stems = self.segment(segment)
            yield {target: stems[target][kept] for target in self.chosen}

    def segment(self, samples: np.ndarray) -> Stems:
        """Stems of a segment, float32 (samples, channels), no longer than the graph takes; filled up with zeros."""
        length = filled_length(len(samples), self.graph.segments, self.graph.fixed)
        mixture = np.pad(samples, ((0, length - len(samples)), (0, 0))).T
        outputs = self.artifact.runtime.run({INPUT: np.repeat(mixture[None], self.graph.batch, axis=0)})
        return {target: outputs[target][0].T for target in self.chosen}
