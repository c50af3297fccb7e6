"""What can be scored: a model, a folder of any program's estimates, an oracle, or the mixture itself.

A system is a small value that can be sent to another process, and separates songs there.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerasep.datasets.musdb import SOURCES, Song
from kerasep.errors import KerasepError, printable
from kerasep.hub import load
from kerasep.inference.artifact import sha256
from kerasep.inference.open import open_separator
from kerasep.inference.providers import CPU
from kerasep.inference.separator import Separator
from kerasep.names import portable
from kerasep.signal.audio import read
from kerasep.signal.masks import binary_gains, magnitude_gains, ratio_gains
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener


class System(Protocol):
    """Attributes: name, for tables; targets, what it separates."""

    @property
    def name(self) -> str: ...

    @property
    def targets(self) -> tuple[str, ...]: ...

    def settings(self) -> dict[str, Any]:
        """All that decides its scores, as JSON values."""
        ...

    def manifest(self) -> dict[str, Any]:
        """A model's manifest, empty for any other system."""
        ...

    def stems(self, song: Song) -> dict[str, np.ndarray]:
        """Estimated stems of a song, each float32 (samples, channels)."""
        ...


@dataclass(frozen=True)
class Model:
    """A separator with its mask and filter; None stands for the manifest's own choice."""

    model: str
    chosen: tuple[str, ...] | None = None
    mask: str | None = None
    exponent: float | None = None
    wiener: int | None = None
    residual: bool = False
    provider: str = CPU

    @property
    def name(self) -> str:
        return self.separator().manifest.name

    @property
    def targets(self) -> tuple[str, ...]:
        return self.separator().targets

    def settings(self) -> dict[str, Any]:
        separator = self.separator()
        provider = separator.artifact.runtime.provider
        settings = {"model_sha256": sha256(separator.artifact.path)} | separator.settings()
        return settings if provider == CPU else settings | {"provider": provider}

    def manifest(self) -> dict[str, Any]:
        return self.separator().manifest.to_json()

    def stems(self, song: Song) -> dict[str, np.ndarray]:
        return self.separator()(song.read("mixture", frames=song.frames), song.rate)

    def separator(self) -> Separator:
        """It, opened."""
        return _opened(self)


@lru_cache(maxsize=1)
def _opened(model: Model) -> Separator:
    """The separator, opened once in each process."""
    artifact = load(model.model, provider=model.provider)
    return open_separator(artifact, model.chosen, model.mask, model.exponent, model.wiener, model.residual)


class _WithoutManifest:
    def manifest(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Estimates(_WithoutManifest):
    """Stems that any program wrote: FOLDER/<song>/<target>.wav, or FOLDER/<subset>/<song>/<target>.wav as museval has it.

    A song's folder may have its name as `kerasep separate` makes it, too, where not every system takes it.
    """

    folder: Path
    targets: tuple[str, ...] = SOURCES

    @property
    def name(self) -> str:
        return printable(self.folder.name)

    def settings(self) -> dict[str, Any]:
        return {"folder": self.name}

    def stems(self, song: Song) -> dict[str, np.ndarray]:
        folders = (self.folder, *self.folder.glob("*/"))
        names = dict.fromkeys((song.name, portable(song.name)))
        places = [folder / name for folder in folders for name in names if (folder / name).is_dir()]
        if not places:
            raise KerasepError(f"{self.folder / song.name}: no such folder: estimates of this song are missing")
        stems = {}
        for target in self.targets:
            samples, rate = read(places[0] / f"{target}.wav")
            if rate != song.rate:
                raise KerasepError(f"{places[0] / target}.wav: has {rate} Hz, the reference {song.rate}")
            stems[target] = samples
        return stems


class Ideal(StrEnum):
    """What an oracle makes of the true stems."""

    IRM = "irm"  # ratio mask
    IBM = "ibm"  # binary mask
    MWF = "mwf"  # multichannel Wiener filter, one iteration


@dataclass(frozen=True)
class Oracle(_WithoutManifest):
    """The best that masks or the Wiener filter could do: they are made of the true stems' magnitudes.

    Attributes:
        kind: of mask or filter.
        exponent: of the ratio mask.
        spectrogram: transform of the masks or the filter.
    """

    kind: Ideal
    exponent: float = 1.0
    targets: tuple[str, ...] = SOURCES
    spectrogram: Spectrogram = field(default_factory=Spectrogram)

    @property
    def name(self) -> str:
        return f"oracle {self.kind}"

    def settings(self) -> dict[str, Any]:
        return {"exponent": self.exponent, "spectrogram": asdict(self.spectrogram)}

    def stems(self, song: Song) -> dict[str, np.ndarray]:
        mixture = stft(song.read("mixture", frames=song.frames), self.spectrogram)
        true = {t: np.abs(stft(song.read(t, frames=song.frames), self.spectrogram)) for t in self.targets}
        match self.kind:
            case Ideal.IRM:
                gains = ratio_gains(true, self.exponent)
            case Ideal.IBM:
                gains = binary_gains(true)
            case Ideal.MWF:
                gains = magnitude_gains(true, np.abs(mixture))
        spectra = wiener(gains, mixture, iterations=1 if self.kind == Ideal.MWF else 0)
        return {t: istft(s, self.spectrogram, song.frames) for t, s in spectra.items()}


@dataclass(frozen=True)
class Mixture(_WithoutManifest):
    """The floor: the mixture divided evenly among the targets."""

    targets: tuple[str, ...] = SOURCES

    @property
    def name(self) -> str:
        return f"mixture / {len(self.targets)}"

    def settings(self) -> dict[str, Any]:
        return {}

    def stems(self, song: Song) -> dict[str, np.ndarray]:
        return dict.fromkeys(self.targets, song.read("mixture", frames=song.frames) / len(self.targets))
