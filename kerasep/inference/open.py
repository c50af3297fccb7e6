"""Which separator a file needs: it depends on its kind of graph."""

from collections.abc import Iterable

from kerasep.errors import UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.graphs import StepGraph, WaveformGraph
from kerasep.inference.separator import Separator, SpectrogramSeparator
from kerasep.inference.stream import StreamSeparator
from kerasep.inference.waveform import WaveformSeparator


def open_separator(
    artifact: Artifact,
    targets: Iterable[str] | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    residual: bool = False,
) -> Separator:
    """What separates with an artifact, whichever kind of graph it has; the arguments are those of `kerasep.load`.

    Raises:
        UsageError: an unknown target, or a choice that does not fit the graph.
    """
    graph = artifact.manifest.graph
    if isinstance(graph, WaveformGraph):
        choices = {"mask": mask, "exponent": exponent, "wiener": wiener}
        if made := [name for name, choice in choices.items() if choice is not None]:
            raise UsageError(f"{artifact.path}: makes its stems inside the graph: leave --{' and --'.join(made)} out")
        return WaveformSeparator(artifact, targets, residual)
    if isinstance(graph, StepGraph):
        if wiener:
            raise UsageError(
                f"{artifact.path}: a step graph has no Wiener filter, which needs seconds of sound: leave --wiener out"
            )
        return StreamSeparator(artifact, targets, mask, exponent, residual)
    return SpectrogramSeparator(artifact, targets, mask, exponent, wiener, residual)
