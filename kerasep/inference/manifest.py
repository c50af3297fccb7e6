"""What a separator says of itself: how its graph is fed, what comes out, and where it comes from.

It stands as JSON in a file's metadata; `kerasep.inference.format1` reads the manifests of version 1 of the format.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kerasep.errors import UsageError
from kerasep.inference.checks import whole_numbers
from kerasep.inference.graphs import GRAPHS, Blocks, Graph, Segments, Shapes, Windows
from kerasep.inference.masking import Masking
from kerasep.signal.spectrogram import Spectrogram

FORMAT = 2
PARTS = {"spectrogram": Spectrogram, "blocks": Blocks, "masking": Masking, "windows": Windows, "segments": Segments}


@dataclass(frozen=True)
class Manifest:
    """What a separator is and how to run it.

    Attributes:
        name: of the separator.
        targets: what it separates.
        graph: how it is fed and what comes out.
        licence: terms of use of the weights, in a line.
        precision: of the weights.
        origin: who made the weights, in a line.
        parameters: numbers that the networks learnt or measured.
        multiply_adds: of the graph, for a second of audio.
        details: recipe, training, parity, versions: for people and records, nothing at run time depends on it.

    Raises:
        ValueError: a value is out of range.
    """

    name: str
    targets: tuple[str, ...]
    graph: Graph
    licence: str
    precision: str = "float32"
    origin: str = "not stated"
    parameters: int = 0
    multiply_adds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.targets or not all(isinstance(target, str) and target.isidentifier() for target in self.targets):
            raise ValueError(f"targets must be plain names, not {self.targets!r}")
        whole_numbers(self, parameters=0)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = asdict(self) | {"targets": list(self.targets)}
        return {"format": FORMAT} | values | {"graph": {"kind": str(self.graph.kind)} | values["graph"]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """From `to_json`'s values, what else is there being left out.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: they are not a manifest of this format.
        """
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r} is not {FORMAT}")
        names = {item.name for item in fields(cls)}
        graph = dict(values["graph"])
        kind = graph.pop("kind")
        if kind not in GRAPHS:
            raise ValueError(f"unknown kind of graph {kind!r}: choose from {', '.join(GRAPHS)}")
        graph = {name: PARTS[name](**part) if name in PARTS and part is not None else part for name, part in graph.items()}
        found = {name: value for name, value in values.items() if name in names}
        return cls(**found | {"targets": tuple(values["targets"]), "graph": GRAPHS[kind](**graph)})

    def inputs(self) -> Shapes:
        """The graph's inputs with their shapes, 0 where it takes any size."""
        return self.graph.inputs()

    def outputs(self) -> Shapes:
        """The graph's outputs with their shapes."""
        return self.graph.outputs(self.targets)

    def chosen(self, targets: Iterable[str] | None) -> tuple[str, ...]:
        """These targets, each once; all if None. Raises UsageError for one that there is not."""
        chosen = self.targets if targets is None else tuple(dict.fromkeys(targets))
        for target in chosen:
            if target not in self.targets:
                raise UsageError(f"unknown target {target!r}: {self.name} has {', '.join(self.targets)}")
        return chosen
