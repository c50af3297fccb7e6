"""Published files, downloaded into the cache by pooch: checked, once for all processes, resumed where a connection broke."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from tqdm import tqdm

from kerasep.errors import KerasepError
from kerasep.files import scratch

TIMEOUT = 30.0  # seconds without a byte
WINDOW = 60.0  # seconds, in each of which must come
LEAST = 60_000  # bytes, or the server is given up
DEADLINE = 2 * 3600.0  # seconds for all of a file in one go
CHUNK = 1 << 14  # bytes read at once, and the most that a broken connection loses
LIMIT = 2 << 30  # bytes, more than any published file has
RETRIES = 5  # after broken connections, as long as each brings the file further
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DIGEST = re.compile(r"sha256:[0-9a-f]{8}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.IGNORECASE)


def fetch(url: str, path: Path, digest: str) -> Path:
    """Download `url` to `path`, unless the file is already there.

    An incomplete download stays in `path` + ".part", where the next call resumes it; `path` is always complete and checked.

    Args:
        url: https, or http from this machine; the same goes for redirects.
        path: the file; its folder is created.
        digest: "sha256:" or "sha512:" and all hexadecimal digits; or "sha256:" and the first eight, as torch.hub has them.

    Returns:
        `path`.

    Raises:
        KerasepError: the download fails, its digest is wrong, or the folder cannot be written to.

    Example:
        fetch("https://example.org/bass-2ca1ce51.pth", cache() / "bass-2ca1ce51.pth", "sha256:2ca1ce51")
    """
    _check_url(url)
    if not DIGEST.fullmatch(digest):
        raise KerasepError(f"{digest!r} is not a digest: give sha256: and 8 or 64 hexadecimal digits, or sha512: and 128")
    algorithm, _, digits = digest.partition(":")
    prefix = digits.lower() if len(digits) == 8 else ""  # pooch compares whole digests only
    part = path.with_name(f"{path.name}.part")
    downloader: Any = partial(_download, part=part, prefix=prefix)
    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(path.with_name(f"{path.name}.lock")),
            scratch(path.parent) as folder,
        ):  # pooch leaves files when it is killed
            place = folder / path.name
            if path.exists():  # it is checked
                place = _linked(path, place)
            pooch.retrieve(url, None if prefix else digest, place.name, place.parent, downloader=downloader)
            place.replace(path)
    except requests.RequestException as error:  # an OSError and at times a ValueError too, so it comes first
        size, reason = _size(part), _reason(error)
        if size:
            raise KerasepError(f"{url}: broke off after {size:,} bytes ({reason}): run it again to resume") from error
        raise KerasepError(f"{url}: cannot be downloaded ({reason}): check the connection and try again") from error
    except ValueError as error:  # pooch's, or that of `_download`
        raise KerasepError(f"{url}: its {algorithm} is not the published one: try again, or report it") from error
    except OSError as error:
        with suppress(OSError):
            part.unlink()  # a full disk needs the room
        remedy = "set XDG_CACHE_HOME to a writable folder with enough room"
        raise KerasepError(f"{path.parent}: cannot be written ({_reason(error)}): {remedy}") from error
    return path


def _linked(path: Path, place: Path) -> Path:
    """A file's second place; its own, on a file system without."""
    try:
        place.hardlink_to(path)
    except OSError:
        return path
    return place


def _download(url: str, output: str, _: Any, part: Path, prefix: str) -> None:
    """A downloader for pooch, which then checks the digest of `output` and renames it: resumes `part` until it is complete.

    Raises ValueError, as pooch does, where the sha256 does not start with `prefix`.
    """
    deadline = time.monotonic() + DEADLINE
    for retry in range(RETRIES + 1):
        before = _size(part)
        try:
            _watched(url, part, deadline)
            break
        except requests.RequestException:
            if retry == RETRIES or _size(part) <= before:
                raise
    part.replace(output)
    if not pooch.file_hash(output).startswith(prefix):
        raise ValueError(f"sha256 does not start with {prefix}")


class _GivenUp(Exception):
    """Nobody waits for a transfer any more."""


def _watched(url: str, part: Path, deadline: float) -> None:
    """`_append` in a thread of its own, given up where it is too slow: a server may drip bytes, also of headers, forever."""
    given_up, alone = threading.Event(), threading.Lock()
    raised: list[BaseException] = []

    def write(file: BinaryIO, block: bytes) -> int:
        with alone:  # what comes after the end is not written
            if given_up.is_set():
                raise _GivenUp
            written = file.write(block)
            file.flush()
            return written

    def transfer() -> None:
        try:
            _append(url, part, write)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            before = _size(part)
            thread.join(max(0.0, min(WINDOW, deadline - time.monotonic())))
            late = time.monotonic() >= deadline
            if thread.is_alive() and (late or _size(part) - before < LEAST):
                slow = f"fewer than {LEAST:,} bytes in {WINDOW:g} s"
                reason = f"it takes more than {DEADLINE / 3600:g} hours" if late else slow
                raise KerasepError(f"{url}: given up after {_size(part):,} bytes ({reason}): run it again to resume")
    finally:
        with alone:
            given_up.set()
    if raised:
        raise raised[0]


def _append(url: str, part: Path, write: Callable[[BinaryIO, bytes], int]) -> None:
    """Request what `part` lacks, once, and append what comes."""
    start = _size(part)
    headers = {"User-Agent": "kerasep", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.Session() as session:
        session.mount("http://", _LoopbackAdapter())
        try:
            response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except ValueError as error:  # requests lets it through where a redirect's address is malformed
            raise requests.exceptions.InvalidURL from error
        if response.status_code == 416 and start:  # nothing comes after `part`: it may be longer than the file
            part.unlink()
            return _append(url, part, write)
        if response.status_code not in (200, 206):
            raise KerasepError(f"{url}: cannot be downloaded (HTTP {response.status_code}): try later, or report the address")
        if response.status_code == 200:  # the server sends the whole file again
            start = 0
        total = start + int(response.headers.get("Content-Length", 0))
        if total <= LIMIT:
            bar = tqdm(desc=part.stem, initial=start, total=total or None, unit="B", unit_scale=True, disable=None, leave=False)
            with bar, part.open("ab" if start else "wb") as file:
                for block in response.iter_content(CHUNK):
                    bar.update(write(file, block))
                    if file.tell() > LIMIT:
                        break
        if max(total, _size(part)) > LIMIT:
            part.unlink(missing_ok=True)
            raise KerasepError(f"{url}: not downloaded, as it is larger than {LIMIT:,} bytes")


class _LoopbackAdapter(HTTPAdapter):
    """Sends http requests to this machine alone, those that follow a redirect included."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        _check_url(request.url or "")
        return super().send(request, *args, **kwargs)


def _check_url(url: str) -> None:
    with suppress(ValueError):  # not a URL
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return
    raise KerasepError(f"{url}: not downloaded, as it is not https: anyone could have sent it")


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _reason(error: BaseException) -> str:
    """The innermost cause in one line. Only the system's errors show their text: that of others may come from the server."""
    while error.__context__:
        error = error.__context__
    if not isinstance(error, OSError) or isinstance(error, requests.RequestException):
        return f"no valid answer: {type(error).__name__}"
    return " ".join((error.strerror or str(error)).split())
