"""What a separator says of itself: how its graph is fed, what comes out, and where it comes from.

It stands as JSON in a file's metadata; `kerasep.inference.format1` reads the manifests of version 1 of the format.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kerasep.checks import lines, numbers, short, whole_numbers
from kerasep.errors import UsageError
from kerasep.inference.graphs import GRAPHS, Blocks, Graph, Segments, Shapes, Windows
from kerasep.inference.masking import Masking
from kerasep.signal.spectrogram import Spectrogram

FORMAT = 2
TARGETS = 32  # at most
SIZE = 1 << 27  # numbers that go into a graph and come out of it at a time, at most: half a gigabyte
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # Windows takes these for devices, not for files
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
        if not 0 < len(self.targets) <= TARGETS or not all(map(_plain, self.targets)):
            raise ValueError(f"targets must be 1 to {TARGETS} plain names, not {short(self.targets)}")
        if len({target.casefold() for target in self.targets}) < len(self.targets):  # their files may be the same one
            raise ValueError(f"targets must differ in more than capitals, not {short(self.targets)}")
        lines(self, "name", "licence", "precision", "origin")
        whole_numbers(self, parameters=(0, 10**12))
        numbers(self, multiply_adds=(0, 1e15))
        if (size := self.graph.size * (1 + len(self.targets))) > SIZE:
            raise ValueError(f"its graph takes and gives {size:,} numbers at a time, more than {SIZE:,}: give it less")

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
        graph = {name: _part(name, part) for name, part in graph.items()}
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


def _plain(target: Any) -> bool:
    """Whether it names a target, its file and an output of a graph everywhere."""
    return isinstance(target, str) and target.isidentifier() and len(target) <= 64 and not RESERVED.fullmatch(target)


def _part(name: str, values: Any) -> Any:
    """A part of a graph from its values; a value that is none as it is."""
    if name not in PARTS or (name == "windows" and values is None):
        return values
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be an object, not {short(values)}")
    return PARTS[name](**values)
