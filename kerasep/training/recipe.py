"""Recipes: everything that determines the result of a training run, as plain numbers.

`conv`, `openunmix` and `deepconvsep` are the thesis' three systems with its settings (tables 5-1 to 5-7, annex A), `spleeter`
is Spleeter's with its published ones. `conv-norm` is our variant of the thesis' own network, `bands` one of our own.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from kerasep.checks import flags, lines, number, numbers, parse, short, whole_numbers
from kerasep.datasets.musdb import SOURCES
from kerasep.errors import KerasepError, UsageError
from kerasep.signal.spectrogram import RATES, Spectrogram
from kerasep.training.choices import Loss, Optimizer, Precision, Schedule

LARGEST = 8192  # number among the options of a network: layers of more fit nowhere
CHOICES: dict[str, type[StrEnum]] = {"optimizer": Optimizer, "schedule": Schedule, "loss": Loss, "precision": Precision}


@dataclass(frozen=True)
class Augment:
    """How songs become training examples, source by source (see `kerasep.training.data.Mixer`).

    Attributes:
        gain: smallest and largest gain factor.
        swap: share of excerpts whose channels are swapped.
        speed: largest relative change of speed, the pitch changing with it as on tape. Independent changes of pitch and
            tempo need a phase vocoder, whose smearing the network would learn.
        tilt: largest spectral tilt, about 1 kHz, in dB per octave.
        double: share of excerpts to which a second one of the same source is added.
        drop: share of excerpts that are silenced.
        coherent: probability that a source comes from the example's main song, in time with the other sources that do.
    """

    gain: tuple[float, float] = (0.25, 1.25)
    swap: float = 0.5
    speed: float = 0.0
    tilt: float = 0.0
    double: float = 0.0
    drop: float = 0.0
    coherent: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.gain, list | tuple) or len(self.gain) != 2:
            raise ValueError(f"augment.gain must be two numbers, not {short(self.gain)}")
        object.__setattr__(self, "gain", tuple(self.gain))  # a list, where it comes from JSON
        for value in self.gain:
            number("augment.gain", value, 0, 100)
        if self.gain[0] > self.gain[1]:
            raise ValueError(f"augment.gain must be two numbers, the smaller first, not {short(self.gain)}")
        share = (0, 1)
        numbers(self, "augment.", swap=share, double=share, drop=share, coherent=share, speed=(0, 0.9), tilt=(0, 100))


@dataclass(frozen=True)
class Recipe:
    """How to train one network.

    Attributes:
        name: of the recipe.
        network: key of `kerasep.models.NETWORKS`.
        options: keyword arguments of the network's builder.
        spectrogram: of the mixture.
        augment: how examples are made.
        batch: examples in a step.
        seconds: length of an example.
        steps: steps in an epoch. The thesis' console shows 172: 86 songs x 64 excerpts / 32.
        epochs: epochs for each target; targets trained together take the largest of theirs.
        loss: what the network minimises.
        loss_options: keyword arguments of the loss.
        optimizer: how it does.
        learning_rate: at the start.
        weight_decay: see `Optimizer`.
        schedule: of the learning rate. "plateau" multiplies it by `factor` after `patience` epochs without a better
            validation SNR, then waits `cooldown` epochs before it counts again.
        early_stop: epochs without a better validation SNR that end the run; 0 for never.
        validate_every: epochs from one validation to the next; the first and the last have one in any case.
        clip: largest norm of all gradients together; 0 for no limit.
        ema: momentum of the moving average of the weights that is validated and kept; 0 for the weights themselves.
        precision: of the network; the transform, the last product with the mixture and the loss are always float32.
        jit: compile the step with XLA.
    """

    name: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    spectrogram: Spectrogram = field(default_factory=Spectrogram)
    augment: Augment = field(default_factory=Augment)
    batch: int = 32
    seconds: float = 6.0
    steps: int = 172
    epochs: dict[str, int] = field(default_factory=dict)
    loss: Loss = Loss.MSE
    loss_options: dict[str, float] = field(default_factory=dict)
    optimizer: Optimizer = Optimizer.ADAM
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    schedule: Schedule = Schedule.CONSTANT
    factor: float = 0.3
    patience: int = 80
    cooldown: int = 10
    early_stop: int = 0
    validate_every: int = 1
    clip: float = 0.0
    ema: float = 0.0
    precision: Precision = Precision.FLOAT32
    jit: bool = True

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            chosen = getattr(self, name)  # a plain word, where it comes from JSON
            if chosen not in list(choices):
                raise ValueError(f"unknown {name} {short(chosen)}: choose from {', '.join(choices)}")
            object.__setattr__(self, name, choices(chosen))
        lines(self, "name", "network")
        for name in ("options", "epochs", "loss_options"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} must be an object, not {short(getattr(self, name))}")
        count = (1, 10**6)
        whole_numbers(self, batch=count, steps=count, validate_every=count)
        whole_numbers(SimpleNamespace(**self.epochs), "epochs.", **dict.fromkeys(self.epochs, count))
        waiting = (0, 10**6)
        whole_numbers(self, patience=waiting, cooldown=waiting, early_stop=waiting)
        numbers(self, seconds=(0.001, 3600), learning_rate=(1e-38, 1000), factor=(1e-6, 0.999), ema=(0, 0.99999))
        numbers(self, weight_decay=(0, 1000), clip=(0, 1e9))
        flags(self, "jit")
        for name in self.loss_options:
            number(f"loss_options.{name}", self.loss_options[name], 0, LARGEST)
        _check_options(self.options, "options")

    @property
    def samples(self) -> int:
        """Samples in an example."""
        return int(self.seconds * self.spectrogram.rate + 1e-6)  # n / rate seconds are n samples, whatever rounding does

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = asdict(self)
        values["augment"]["gain"] = list(self.augment.gain)
        return values | {name: str(values[name]) for name in CHOICES}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """From `to_json`'s values. Raises KerasepError on an unknown key or value, naming the known ones."""
        try:
            parts = {"spectrogram": Spectrogram, "augment": Augment}
            for place, kind in (("recipe", cls), *parts.items()):
                given = values if kind is cls else values.get(place, {})
                if not isinstance(given, dict):
                    raise KerasepError(f"{place} must be an object, not {short(given)}")
                known = [item.name for item in fields(kind)]
                for key in given:
                    if key not in known:
                        raise KerasepError(f"{place}: unknown key {key!r}: choose from {', '.join(known)}")
            return cls(**values | {place: kind(**values.get(place, {})) for place, kind in parts.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise KerasepError(f"recipe: {error}") from error

    def override(self, settings: list[str]) -> "Recipe":
        """A copy with values changed by "key=value" or, for parts, "part.key=value"; values are JSON or plain words.

        Raises:
            UsageError: an unknown key, or a value that does not fit.

        Example:
            >>> CONV.override(["batch=16", "options.padding=same"]).options
            {'padding': 'same'}
        """
        values = self.to_json()
        for setting in settings:
            key, equals, text = setting.partition("=")
            *parents, last = key.split(".")
            place = values[parents[0]] if len(parents) == 1 and isinstance(values.get(parents[0]), dict) else values
            free = place is not values and parents[0] in ("options", "loss_options")  # their builders check these
            if not equals or not (free or last in place) or bool(parents) != (place is not values):
                raise UsageError(f"--set {setting}: no such key: choose from {', '.join(place)}, as in --set batch=16")
            try:
                place[last] = parse(text)
            except ValueError:
                place[last] = text
        try:
            return self.from_json(values)
        except KerasepError as error:
            raise UsageError(f"--set: {error}") from error


def _check_options(values: Any, name: str) -> None:
    """Raise ValueError where there is a number, at whatever depth, that no network takes. The builder checks the rest."""
    if isinstance(values, dict | list | tuple):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            _check_options(value, f"{name}.{key}")
    elif isinstance(values, int | float) and not isinstance(values, bool):
        number(name, values, 0, RATES[1] if name == "options.bandwidth" else LARGEST)


# Most sources of an example are from one song, as in the music to be separated: a network this small learns what it is shown
# and little else. The other sources and the augmentation add variety to 15 minutes of music. Hops of half a window, because
# half as many frames leave time for a network twice as large.
BANDS = Recipe(
    name="bands",
    network="bands",
    options={"size": 64, "ahead": 4, "dropout": 0.1},
    spectrogram=Spectrogram(hop=2048),
    augment=Augment(speed=0.15, tilt=2.0, double=0.05, drop=0.05, coherent=0.8),
    batch=8,
    seconds=5.6,
    steps=100,
    epochs=dict.fromkeys(SOURCES, 70),
    loss=Loss.LEVEL,
    loss_options={"segment": 22},
    optimizer=Optimizer.MUON,
    learning_rate=2e-3,
    weight_decay=5e-2,
    schedule=Schedule.COSINE,
    clip=20.0,
    ema=0.995,
)

CONV = Recipe(
    name="conv",
    network="conv",
    epochs={"vocals": 160, "drums": 75, "bass": 100, "other": 160},  # table 5-6; "other" is not in it: as the vocals
)

# Excerpts of 3 s, because the receptive field is 0.7 s and a batch of more songs varies more. Changes of speed, dropout and
# more weight decay against overfitting: it was made for 15 minutes of music. See docs/training.md.
CONV_NORM = Recipe(
    name="conv-norm",
    network="conv",
    options={"standardise": True, "batch_norm": True, "padding": "same", "dropout": 0.2},
    augment=Augment(speed=0.12),
    batch=16,
    seconds=3.0,
    steps=100,
    epochs=dict.fromkeys(SOURCES, 30),
    schedule=Schedule.COSINE,
    weight_decay=1e-3,
)

# The same without look-ahead, to stream.
CONV_CAUSAL = replace(CONV_NORM, name="conv-causal", options=CONV_NORM.options | {"padding": "causal"})

# Tables 5-4 and 5-5, figure 5-3. The thesis' networks, trained like this, were best after 450, 210 and 475 epochs.
OPENUNMIX = Recipe(
    name="openunmix",
    network="openunmix",
    batch=16,
    steps=344,  # 86 songs x 64 excerpts / 16
    epochs=dict.fromkeys(SOURCES, 1000),
    schedule=Schedule.PLATEAU,
    early_stop=250,
)

# Table 5-2 (table 5-1, the first setting, has a stride of 0 between windows). Windows of 30 frames of real mixtures;
# figure 5-1's "iteration size" is the steps in an epoch.
DEEPCONVSEP = Recipe(
    name="deepconvsep",
    network="deepconvsep",
    spectrogram=Spectrogram(channels=1, fft=1024, hop=512, window="blackmanharris", padding="zeros"),
    augment=Augment(gain=(1.0, 1.0), swap=0.0, coherent=1.0),
    batch=32,
    seconds=(29 * 512 + 1024) / 44100,
    steps=2130,
    epochs=dict.fromkeys(SOURCES, 40),
    loss=Loss.DEEPCONVSEP,
    loss_options={"alpha": 0.001, "beta": 0.01, "beta_vocals": 0.03},
    optimizer=Optimizer.ADADELTA,
    learning_rate=1.0,
    weight_decay=0.0,
)

# The published settings for four stems: windows of 512 frames of real mixtures, absolute differences of magnitudes. The
# published weights took songs that are not public, and 1.5 million steps.
SPLEETER = Recipe(
    name="spleeter",
    network="spleeter",
    options={"elu": True},
    spectrogram=Spectrogram(padding="window"),
    augment=Augment(gain=(1.0, 1.0), swap=0.0, coherent=1.0),
    batch=4,
    seconds=(511 * 1024 + 4096) / 44100,
    steps=1000,
    epochs=dict.fromkeys(SOURCES, 1500),
    loss=Loss.L1,
    learning_rate=1e-4,
    weight_decay=0.0,
)

RECIPES = {recipe.name: recipe for recipe in (BANDS, CONV, CONV_NORM, CONV_CAUSAL, OPENUNMIX, DEEPCONVSEP, SPLEETER)}
