"""Separators by name: bundled ones, and published ones, which are fetched and converted on first use."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from kerasep.download import fetch
from kerasep.errors import KerasepError, UsageError
from kerasep.files import cache
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest
from kerasep.signal.stft import Spectrogram

DEFAULT = "bands"
REMEDY = "pip install 'kerasep[convert,torch]'"
BUNDLED = {name: Path(__file__).parent / "weights" / f"{name}.onnx" for name in ("bands", "conv")}


@dataclass(frozen=True)
class Published:
    """Weights that somebody else publishes.

    Attributes:
        record: the page they are on; files are below it.
        files: target -> file name and digest, see `kerasep.download.fetch`.
        spectrogram: what they were trained on.
        parameters, multiply_adds, megabytes: of the artifact that comes of them, for `kerasep models`.
        licence, origin: in a line each.
    """

    record: str
    files: dict[str, tuple[str, str]]
    spectrogram: Spectrogram
    parameters: int
    multiply_adds: float
    megabytes: int
    licence: str
    origin: str


# Digests: umxhq's as others who fetched the files publish them, umx's and umxse's those of the files' packages for Arch Linux.
# Of umxl's only the eight digits in the file names are known, which is what torch.hub checks too.
PUBLISHED = {
    "umx": Published(
        "https://zenodo.org/records/3370486",
        {
            "vocals": (
                "vocals-c8df74a5.pth",
                "sha512:9c6db1a2ad96e9d94bf51c0178e1ae83101b5d4e150e7fc3bbb827c57747c109"
                "7f892043feaf8fba8f679cceca6e30407d28c7f0abc86e868dc51aa19d6e136c",
            ),
            "drums": (
                "drums-5a48008b.pth",
                "sha512:316fadd245217df8f5031ac0d5c5b9686abd262bf62cd686891672157a88805c"
                "57aa11d43eb85d985b757ec801911f6426e92fc4c9282553f1b8506c0ef55e93",
            ),
            "bass": (
                "bass-646024d3.pth",
                "sha512:159f541e0e21fcd9505d2cf4e6ec2623fb6850bdde2bcd84537f1060ba26e372"
                "a9e43c1d1bbd3d4da6cb75f7d40993fde69e3e7bc48fb83775634948889cce37",
            ),
            "other": (
                "other-f8e132cc.pth",
                "sha512:19e77e74e5cf2311dcd74733e0d8dd63c3a8b9fab9282017661c90a41f1091ca"
                "5fd1b628f3be371d6b4ab3f0d501d85fc13b8c5af3a426479ccf9f53769a0253",
            ),
        },
        Spectrogram(),
        35_589_792,
        1_526_918_400,
        142,
        "MIT",
        "Open-Unmix, trained on MUSDB18",
    ),
    "umxhq": Published(
        "https://zenodo.org/records/3370489",
        {
            "vocals": ("vocals-b62c91ce.pth", "sha256:b62c91cedbc7a066f1778ead5b5cecb377aa3a46a31af1cce7c5c8769339d083"),
            "drums": ("drums-9619578f.pth", "sha256:9619578f885c54737cb0234f9f9a4a679ee4f31438fd77fd1dbe02bb16c2da0a"),
            "bass": ("bass-8d85a5bd.pth", "sha256:8d85a5bd3f996a8867fca0e8442e077e5a3f5ec747a6112742452a8f347b39c8"),
            "other": ("other-b52fbbf7.pth", "sha256:b52fbbf76479e752bd72e02304c602ac7802aa5bfbfb9cd12054b2695d5093ab"),
        },
        Spectrogram(),
        35_589_792,
        1_526_918_400,
        142,
        "MIT",
        "Open-Unmix, trained on MUSDB18-HQ",
    ),
    "umxl": Published(
        "https://zenodo.org/records/5069601",
        {
            "vocals": ("vocals-bccbd9aa.pth", "sha256:bccbd9aa"),
            "drums": ("drums-69e0ebd4.pth", "sha256:69e0ebd4"),
            "bass": ("bass-2ca1ce51.pth", "sha256:2ca1ce51"),
            "other": ("other-c8c5b3e6.pth", "sha256:c8c5b3e6"),
        },
        Spectrogram(),
        113_028_768,
        4_860_172_800,
        452,
        "CC BY-NC-SA 4.0: not for commercial use",
        "Open-Unmix, trained on 400 hours that are not public",
    ),
    "umxse": Published(
        "https://zenodo.org/records/3786908",
        {
            "speech": (
                "speech_f5e0d9f9.pth",
                "sha512:32832e498f250281d8cc76f097d56d51204f171b77ee886d00cfadcdaa306a68"
                "5fddc1b33aa1114cbd6eeee8708ec419599f6bc67353a8b22efdbd1e98fbfd0b",
            ),
            "noise": (
                "noise_04a6fc2d.pth",
                "sha512:5dc71948bc55c3f89b4e2d26fcf32a9835537750eadf61d9e5d96468c7d7b480"
                "200ae772b9db88d645d17a8a12b7226d80cc055e953d9ab5cba1c508f3b87d9e",
            ),
        },
        Spectrogram(rate=16000, channels=1, fft=1024, hop=512),
        3_165_200,
        98_336_000,
        13,
        "MIT",
        "Open-Unmix for speech in noise (S. Uhlich, Y. Mitsufuji), trained on Voicebank+DEMAND",
    ),
}


def load(model: str | Path = DEFAULT, threads: int | None = None) -> Artifact:
    """Open a separator by its name (`kerasep models` lists them) or its file.

    A published one is fetched on first use, and converted, which takes PyTorch and TensorFlow; from then on it is in the cache.

    Raises:
        UsageError: no such name or file.
        KerasepError: the file cannot be used, see `Artifact`; or it cannot be fetched, checked or converted.
    """
    if model in BUNDLED:
        return Artifact(BUNDLED[str(model)], threads)
    if model in PUBLISHED:
        return Artifact(_converted(str(model)), threads)
    if not Path(model).exists():
        raise UsageError(f"unknown model {str(model)!r}: name a file or one of {', '.join([*BUNDLED, *PUBLISHED])}")
    return Artifact(model, threads)


def summaries() -> list[tuple[str, ...]]:
    """A row for each name: name, targets, parameters, multiply-adds per second of audio, size, origin, licence."""
    rows = []
    for name, path in BUNDLED.items():
        manifest = Artifact(path).manifest
        numbers = (manifest.parameters, manifest.multiply_adds, path.stat().st_size / 1e6)
        rows.append(_row(f"{name} (default)" if name == DEFAULT else name, manifest.targets, numbers, manifest))
    for name, published in PUBLISHED.items():
        numbers = (published.parameters, published.multiply_adds, published.megabytes)
        rows.append(_row(name, tuple(published.files), numbers, published))
    return rows


def _row(name: str, targets: tuple[str, ...], numbers: tuple[float, ...], source: Manifest | Published) -> tuple[str, ...]:
    parameters, operations, megabytes = numbers
    figures = (f"{parameters / 1e6:.1f} M", f"{operations / 1e6:,.0f} M", f"{megabytes:.0f} MB")
    return (name, " ".join(targets), *figures, source.origin, source.licence)


def _place(name: str) -> Path:
    """Where a published separator is once it has been used."""
    return cache() / "models" / name / f"{name}.onnx"


def _converted(name: str) -> Path:
    """The artifact of published weights, made if it is not there yet."""
    artifact, published = _place(name), PUBLISHED[name]
    if artifact.exists():
        return artifact
    # Before the download, not after it.
    if missing := [package for package in ("torch", "keras", "tensorflow", "tf2onnx") if find_spec(package) is None]:
        raise KerasepError(f"{name}: is converted on first use, and {missing[0]} is missing: {REMEDY}")
    from kerasep.importers import openunmix

    print(f"kerasep: {name} is {published.origin}: {published.licence} ({published.record})", file=sys.stderr)
    for file, digest in published.files.values():
        fetch(f"{published.record}/files/{file}", artifact.parent / file, digest)
    with FileLock(artifact.with_suffix(".lock")):
        if not artifact.exists():  # another process may have made it while we waited
            seen = published.spectrogram
            imported = openunmix.load(
                artifact.parent, tuple(published.files), seen.rate, seen.hop, published.licence, published.origin
            )
            imported.write_artifact(artifact)
    return artifact
