"""Separators by name: those that come with kerasep, and published ones, downloaded and converted on first use."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from kerasep.errors import KerasepError, UsageError, say
from kerasep.files import cache
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest
from kerasep.inference.providers import CPU

if TYPE_CHECKING:
    from kerasep.importers.imported import Imported, ImportedWaveform

FOLDER = Path(__file__).parent
DEFAULT = "bands"
REMEDY = "pip install 'kerasep[convert,torch]'"
FREE = ("MIT",)  # licences that allow every use
ACCEPT = "KERASEP_ACCEPT_LICENCE"  # in the environment, 1: other licences are accepted
BUNDLED = {name: FOLDER / "weights" / f"{name}.onnx" for name in ("bands", "conv")}


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights: its name, and its digest as `kerasep.download.fetch` takes it."""

    name: str
    digest: str


@dataclass(frozen=True)
class Published:
    """A model that others publish: an entry of published.json.

    The digests of umxhq come from others who downloaded its files, those of umx and umxse from their packages for Arch Linux.
    For umxl only the eight digits in its file names are known, which torch.hub checks as well. Those of htdemucs come from the
    package demucs-infer 4.4.0, and begin with the digits in its file names.

    Attributes:
        importer: what reads its files, a module of `kerasep.importers`.
        record: URL of a page about it.
        address: URL of the folder that its files are in.
        origin: who trained it on what, in one line.
        licence: in one line.
        targets: what it separates.
        parameters: of all targets together.
        multiply_adds: per second of audio.
        megabytes: size of the converted artifact.
        files: checkpoints, of a target or of all.
        settings: what the importer has to be told.
    """

    importer: str
    record: str
    address: str
    origin: str
    licence: str
    targets: tuple[str, ...]
    parameters: int
    multiply_adds: float
    megabytes: int
    files: dict[str, Checkpoint]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if self.importer not in IMPORTERS:
            raise ValueError(f"unknown importer {self.importer!r}: choose from {', '.join(IMPORTERS)}")

    @property
    def free(self) -> bool:
        """Whether its licence allows every use."""
        return self.licence in FREE

    @property
    def notice(self) -> str:
        """What is said on first use: what it is, its licence, and how far its files can be checked."""
        short = any(len(file.digest) == len("sha256:") + 8 for file in self.files.values())
        doubt = "; of its files' sha256 only 8 digits are known, which tell damage, but not a forgery" if short else ""
        return f"{self.origin}: {self.licence} ({self.record}){doubt}"

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Published":
        """Build it from an entry of published.json. Raises TypeError or ValueError if the entry is not one."""
        files = {name: Checkpoint(**file) for name, file in entry["files"].items()}
        return cls(**entry | {"targets": tuple(entry["targets"]), "files": files})


def _openunmix(published: Published, folder: Path) -> "Imported":
    from kerasep.importers import openunmix

    rate, hop = published.settings["rate"], published.settings["hop"]
    return openunmix.load(folder, published.targets, rate, hop, published.licence, published.origin)


def _demucs(published: Published, folder: Path) -> "ImportedWaveform":
    from kerasep.importers import demucs

    source = folder if len(published.files) > 1 else folder / next(iter(published.files.values())).name
    return demucs.imported(source, licence=published.licence, origin=published.origin)


IMPORTERS: dict[str, Callable[[Published, Path], "Imported | ImportedWaveform"]] = {"openunmix": _openunmix, "demucs": _demucs}
PUBLISHED = {
    name: Published.from_json(entry) for name, entry in json.loads((FOLDER / "published.json").read_text("utf-8")).items()
}


def load(
    model: str | Path = DEFAULT, threads: int | None = None, provider: str = CPU, accept_licence: bool = False
) -> Artifact:
    """Open a separator by name or file.

    A published model is downloaded and converted on first use, which needs PyTorch and TensorFlow, and cached.

    Args:
        model: a name that `kerasep models` lists, or the path of an artifact.
        threads: of the runtime; None leaves the choice to it.
        provider: of ONNX Runtime (`kerasep.inference.providers`).
        accept_licence: accept that of published weights that are not free for every use. Else a person at a terminal is asked
            on first use, and where there is none, `ACCEPT` must be set.

    Raises:
        UsageError: no such name, file or provider, or a licence that was not accepted.
        KerasepError: the file is not a valid artifact, or the download or conversion fails.

    Example:
        >>> load("conv").manifest.targets
        ('vocals', 'drums', 'bass', 'other')
    """
    if model in BUNDLED:
        return Artifact(BUNDLED[str(model)], threads, provider)
    if model in PUBLISHED:
        return Artifact(_converted(str(model), accept_licence), threads, provider)
    if not Path(model).exists():
        raise UsageError(f"unknown model {str(model)!r}: name a file or one of {', '.join([*BUNDLED, *PUBLISHED])}")
    return Artifact(model, threads, provider)


def summaries() -> list[tuple[str, ...]]:
    """A row per model: name, targets, parameters, multiply-adds per second of audio, size, origin, licence."""
    rows = []
    for name, path in BUNDLED.items():
        manifest = Artifact(path).manifest
        numbers = (manifest.parameters, manifest.multiply_adds, path.stat().st_size / 1e6)
        rows.append(_row(f"{name} (default)" if name == DEFAULT else name, manifest.targets, numbers, manifest))
    for name, published in PUBLISHED.items():
        numbers = (published.parameters, published.multiply_adds, published.megabytes)
        rows.append(_row(name, published.targets, numbers, published))
    return rows


def _row(name: str, targets: tuple[str, ...], numbers: tuple[float, ...], source: Manifest | Published) -> tuple[str, ...]:
    parameters, operations, megabytes = numbers
    figures = (f"{parameters / 1e6:.1f} M", f"{operations / 1e6:,.0f} M", f"{megabytes:.0f} MB")
    return (name, " ".join(targets), *figures, source.origin, source.licence)


def _converted(name: str, accept_licence: bool) -> Path:
    """The artifact of a published model, converted unless it is in the cache."""
    published = PUBLISHED[name]
    artifact = cache() / "models" / name / f"{name}.onnx"
    if artifact.exists():
        return artifact
    # Checked before a download of hundreds of megabytes.
    if missing := [package for package in ("torch", "keras", "tensorflow", "tf2onnx") if find_spec(package) is None]:
        raise KerasepError(f"{name}: is converted on first use, which needs {missing[0]}: {REMEDY}")
    from kerasep.download import fetch  # pooch and requests take a quarter of a second

    say(f"{name} is {published.notice}")
    if not (published.free or accept_licence or os.environ.get(ACCEPT) == "1" or _asked()):
        remedy = f"add --accept-licence, accept_licence=True in Python, or {ACCEPT}=1 in the environment"
        raise UsageError(
            f"{name}: nothing fetched, as nobody accepted its licence, {published.licence}: to accept it, {remedy}"
        )
    for file in published.files.values():
        fetch(f"{published.address}/{file.name}", artifact.parent / file.name, file.digest)
    with FileLock(artifact.with_suffix(".lock")):
        if not artifact.exists():  # another process may have converted it meanwhile
            IMPORTERS[published.importer](published, artifact.parent).write_artifact(artifact)
    return artifact


def _asked() -> bool:
    """Whether a person at the terminal accepts the licence that was just named. No, where nobody is there to ask."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        return False
    print("kerasep: accept this licence? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
