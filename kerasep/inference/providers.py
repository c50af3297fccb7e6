"""Which processor runs an ONNX file: ONNX Runtime's execution providers.

A provider's short name is ONNX Runtime's without "ExecutionProvider", in small letters: `cuda` for CUDAExecutionProvider.
`auto` stands for the first of `AUTO` that opens the file. What a provider cannot run of a graph runs on the CPU:
`kerasep.inference.placement` says what that is.
"""

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from kerasep.errors import KerasepError, UsageError, first_line
from kerasep.files import cache
from kerasep.inference.ort import onnxruntime

CPU = "cpu"
# Fastest first. TensorRT takes minutes to build an engine, and CoreML may compute in half precision: only where asked for.
AUTO = ("cuda", "dml", "openvino", CPU)
_SUFFIX = "ExecutionProvider"
# Packages that bring a provider: each has all of ONNX Runtime, in the same folder, so that one of them must be alone.
_PACKAGES = {CPU: "onnxruntime", "cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu"}
_PACKAGES |= {"openvino": "onnxruntime-openvino", "dml": "onnxruntime-directml"}
_INSTALL = {"onnxruntime": "'kerasep[cpu]'", "onnxruntime-gpu": "'kerasep[gpu]'", "onnxruntime-openvino": "'kerasep[openvino]'"}


@dataclass(frozen=True)
class Provider:
    """A provider that was asked for.

    Attributes:
        name: "auto" or a short name.
        options: of the provider, as ONNX Runtime's documentation has them; they replace kerasep's own.
    """

    name: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Provider":
        """Read NAME[:key=value,...].

        Raises:
            UsageError: it is not of that form.

        Example:
            >>> Provider.parse("cuda:device_id=1,use_tf32=1")
            Provider(name='cuda', options={'device_id': '1', 'use_tf32': '1'})
        """
        name, _, rest = text.partition(":")
        pairs = [part.partition("=") for part in rest.split(",") if part]
        if not name or any(not key or not equals for key, equals, _ in pairs):
            raise UsageError(f"provider {text!r}: write NAME or NAME:key=value,key=value")
        if name == "auto" and pairs:
            raise UsageError(f"provider {text!r}: options are one provider's: name it")
        return cls(name, {key: value for key, _, value in pairs})


class Opened(NamedTuple):
    """A session, the short name of the provider that opened it, and why those before it did not."""

    session: Any
    name: str
    skipped: tuple[str, ...]


def open_session(path: Path, options: Any, provider: Provider) -> Opened:
    """Open an ONNX file.

    Args:
        path: the file.
        options: an `onnxruntime.SessionOptions`.
        provider: to open it with.

    Raises:
        UsageError: there is no such provider in the installed ONNX Runtime.
        KerasepError: the provider asked for does not open the file; for "auto": none does.
    """
    if provider.name == "auto":
        here = available()
        *better, last = (Provider(name) for name in AUTO if name in here)
    else:
        check(provider.name)
        better, last = [], provider
    skipped: list[str] = []
    for candidate in better:
        try:
            return Opened(_open(path, options, candidate), candidate.name, tuple(skipped))
        except KerasepError as error:
            skipped.append(str(error))
    return Opened(_open(path, options, last), last.name, tuple(skipped))


def available() -> list[str]:
    """Short names of providers in the installed ONNX Runtime. Whether they run on this machine, only opening a file tells."""
    return [_short(name) for name in onnxruntime().get_available_providers()]


def runtimes() -> list[str]:
    """Packages with an ONNX Runtime that are installed. More than one overwrite each other's files."""
    found = []
    for package in sorted(set(_PACKAGES.values())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(package)
            found.append(package)
    return found


def check(name: str) -> None:
    """Raise UsageError, with the remedy, unless the installed ONNX Runtime has a provider of this short name."""
    here = available()
    if name in here:
        return
    known = ["auto", *sorted(map(_short, onnxruntime().get_all_providers()))]
    if name not in known:
        raise UsageError(f"unknown provider {name}: choose from {', '.join(known)}")
    text = f"provider {name}: the installed ONNX Runtime has only {', '.join(here)}"
    if name not in _PACKAGES:
        raise UsageError(f"{text}: install one with {name}")
    package = _PACKAGES[name]
    raise UsageError(f"{text}: pip uninstall {' '.join(runtimes())}, then pip install {_INSTALL.get(package, package)}")


def _open(path: Path, options: Any, provider: Provider) -> Any:
    chain = {provider.name: {**_defaults(provider.name), **provider.options}}
    if provider.name == "tensorrt":
        chain["cuda"] = _defaults("cuda")
    chain.setdefault(CPU, {})  # for what the others leave
    chosen = [(_full(name), given) for name, given in chain.items()]
    with _quiet(chain):
        try:
            session = onnxruntime().InferenceSession(path, options, providers=chosen, enable_fallback=False)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            if provider.name == CPU:
                raise KerasepError(f"{path}: not an ONNX file that this ONNX Runtime can run: export it again") from error
            raise KerasepError(f"{path}: {provider.name} does not open it: {_said(error)}") from error
    if session.get_providers()[0] != chosen[0][0]:  # what cannot be loaded, ONNX Runtime leaves out
        raise KerasepError(f"{path}: {provider.name} does not open it: {_missing(provider.name)}")
    return session


def _said(error: Exception) -> str:
    """ONNX Runtime's words, without the place in its source that may come before them."""
    return re.sub(r"^/\S+:\d+ .*\) (?=[A-Z])", "", first_line(error))


def _missing(name: str) -> str:
    """Why a provider may be left out."""
    if name == "cuda":
        return "no NVIDIA driver here, or no CUDA and cuDNN libraries: pip install 'kerasep[gpu]'"
    if name == "tensorrt":
        return "no NVIDIA driver here, or no TensorRT libraries: pip install 'kerasep[gpu]' tensorrt"
    return "its libraries or its device are not here"


def _defaults(name: str) -> dict[str, str]:
    """Options that ONNX Runtime sets otherwise."""
    if name == "cuda":
        # Products with 10 bits of mantissa would cost the transforms of waveform graphs half of their digits (docs/gpu.md).
        return {"use_tf32": "0"}
    if name == "tensorrt":
        folder = cache() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder), "trt_timing_cache_enable": "1"}
    return {}


@contextlib.contextmanager
def _quiet(chain: Iterable[str]) -> Iterator[None]:
    """CUDA's libraries are loaded in advance, from where pip puts them; what is missing is said by the caller, in one line."""
    if list(chain) == [CPU]:
        yield
        return
    onnxruntime().set_default_logger_severity(4)
    try:
        if "cuda" in chain:
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime().preload_dlls()
        yield
    finally:
        onnxruntime().set_default_logger_severity(2)  # as it begins


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX).lower()


def _full(name: str) -> str:
    names: list[str] = onnxruntime().get_all_providers()
    return next(full for full in names if _short(full) == name)
