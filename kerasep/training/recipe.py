"""Recipes: everything that decides what a training run gives, as plain numbers.

`conv` is the thesis' own network with its settings (tables 5-6 and 5-7, annex A). `conv-norm` is the same network as we would
have it: standardised input, batch normalisation, padding that gives every frame its full context, and a schedule
that ends.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError, UsageError
from kerasep.spectral import Spectrogram

RECORD = "run.json"


@dataclass(frozen=True)
class Recipe:
    """How to train one network for one target.

    Attributes:
        name: of the recipe.
        network: key of `kerasep.models.NETWORKS`.
        options: keyword arguments of the network's builder.
        spectrogram: what the network sees.
        batch: examples in a step.
        seconds: length of an example.
        steps: steps in an epoch. The thesis' console shows 172: 86 songs x 64 excerpts / 32.
        epochs: epochs of each target.
        learning_rate: at the start.
        speed: largest relative change of speed and pitch of the sources, see `kerasep.training.data.Mixer`.
        schedule: "constant", or "cosine" down to zero over all steps.
        weight_decay: L2, added to the gradients as PyTorch's Adam does.
    """

    name: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    spectrogram: Spectrogram = field(default_factory=Spectrogram)
    batch: int = 32
    seconds: float = 6.0
    steps: int = 172
    epochs: dict[str, int] = field(default_factory=dict)
    learning_rate: float = 1e-3
    speed: float = 0.0
    schedule: str = "constant"
    weight_decay: float = 1e-5

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """From `to_json`'s values. Raises KerasepError on an unknown key or value, naming the known ones."""
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise KerasepError(f"recipe: unknown key {unknown[0]!r}: choose from {', '.join(known)}")
        try:
            return cls(**values | {"spectrogram": Spectrogram(**values["spectrogram"])})
        except (KeyError, TypeError, ValueError) as error:
            raise KerasepError(f"recipe: {error}: {json.dumps(values)[:200]}") from error

    def override(self, settings: list[str]) -> "Recipe":
        """With values changed by "key=value" or, for parts, "part.key=value"; values are JSON or plain words.

        Raises:
            UsageError: an unknown key or an unfit value.
        """
        values = self.to_json()
        for setting in settings:
            key, equals, text = setting.partition("=")
            *parents, last = key.split(".")
            place = values
            for parent in parents:
                place = place.get(parent, {}) if isinstance(place, dict) else {}
            if not equals or (last not in place and key.split(".")[0] != "options"):
                raise UsageError(f"--set {setting}: no such key: choose from {', '.join(values)}, as in --set batch=16")
            try:
                place[last] = json.loads(text)
            except ValueError:
                place[last] = text
        return self.from_json(values)


def load_record(run: Path) -> dict[str, Any]:
    """The record of a run folder, its recipe checked.

    Raises:
        KerasepError: the folder holds no run, or its record is damaged.
    """
    try:
        record = json.loads((run / RECORD).read_text())
        Recipe.from_json(record["recipe"])
    except FileNotFoundError as error:
        raise KerasepError(f"{run}: holds no finished run ({RECORD} is missing): train one first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KerasepError(f"{run / RECORD}: damaged ({error}): train it again") from error
    return record


CONV = Recipe(
    name="conv",
    network="conv",
    epochs={"vocals": 160, "drums": 75, "bass": 100, "other": 160},  # table 5-6; "other" is not in it: as the vocals
)

# Excerpts of 3 s, because the network sees 0.7 s and twice as many songs in a batch say more. Changes of speed, dropout and
# more decay, because it was made for 15 minutes of music and would learn them by heart. See docs/training.md.
CONV_NORM = Recipe(
    name="conv-norm",
    network="conv",
    options={"standardise": True, "batch_norm": True, "padding": "same", "dropout": 0.2},
    batch=16,
    seconds=3.0,
    steps=100,
    epochs={"vocals": 30, "drums": 30, "bass": 30, "other": 30},
    speed=0.12,
    schedule="cosine",
    weight_decay=1e-3,
)

RECIPES = {recipe.name: recipe for recipe in (CONV, CONV_NORM)}
