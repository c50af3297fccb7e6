"""Files of others, into the cache: resumed where they broke off, checked, and once however many processes ask."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock
from tqdm import tqdm

from kerasep.errors import KerasepError

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20  # bytes, the most that is read at once
LIMIT = 2 << 30  # bytes, more than any file that is asked for
RETRIES = 5  # in a row, each of which must bring the file further
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DIGEST = re.compile(r"sha256:[0-9a-f]{8,64}|sha512:[0-9a-f]{128}")
CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})")


def fetch(url: str, path: Path, digest: str) -> Path:
    """Download `url` to `path`, unless it is there already: it was checked when it was written, and is taken as it is.

    What has come stays in `path` + ".part" if the connection breaks or the user interrupts; the next call goes on from there.

    Args:
        url: https, or http from this machine itself.
        path: the file, whose folder is made.
        digest: "sha256:" or "sha512:" and hexadecimal digits; of a sha256, the first eight are enough.

    Returns:
        `path`.

    Raises:
        KerasepError: the file cannot be had, is not the published one, or cannot be written.
    """
    if not _is_safe(url):
        raise KerasepError(f"{url}: not downloaded, as it is not https: nobody could tell who sends it")
    if not DIGEST.fullmatch(digest.lower()):
        raise KerasepError(f"{digest}: no digest: give sha256: and 8 to 64 hexadecimal digits, or sha512: and 128")
    if path.exists():
        return path
    part, lock = (path.with_name(path.name + suffix) for suffix in (".part", ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not path.exists():  # it may have come while we waited
                _fill(url, part, digest.lower(), path)
        # With `path` in place the lock guards nothing: whoever still waits for it, or makes it anew, finds `path` and is done.
        # After a failure it stays: of two that want it, one could hold the removed file, one its successor, and both write.
        with suppress(OSError):  # Windows: another has it open, and removes it in turn
            lock.unlink()
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder of your own with room"
        raise KerasepError(f"{path.parent}: cannot be written ({_reason(error)}): {remedy}") from error
    return path


def _fill(url: str, part: Path, digest: str, path: Path) -> None:
    """Load, check and rename `part`."""
    try:
        for _ in range(2):
            resumed = _download(url, part)
            if _matches(part, digest):
                part.replace(path)
                return
            part.unlink()
            if not resumed:  # else the beginning may have been of another version of the file: all of it once more
                break
    except OSError:  # the disk's, as the network's are `_Broken`: a full one gets its room back
        with suppress(OSError):
            part.unlink()
        raise
    name = digest.partition(":")[0]
    raise KerasepError(f"{url}: its {name} is not the published one: try again, and if it stays so, do not use it")


def _download(url: str, part: Path) -> bool:
    """Load what `part` lacks, in as many tries as bring it further. Tells whether it began with what was there before."""
    retries = 0
    while True:
        before = _size(part)
        try:
            return _append(url, part)
        except _Broken as error:
            size = _size(part)
            if size <= before or retries == RETRIES:
                far = f"broke off after {size:,} bytes ({error}): the same call goes on from there"
                raise KerasepError(f"{url}: {far if size else f'cannot be downloaded ({error})'}") from error
            retries += 1


def _append(url: str, part: Path) -> bool:
    """One try of `_download`."""
    response, start, total = _ask(url, _size(part))
    size, end = start, LIMIT + 1 if total is None else total  # bytes; what comes after an announced end is not read
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, disable=None, leave=False)
    with response, bar, part.open("ab" if start else "wb") as file:
        while size < end and (block := _read(response, min(CHUNK, end - size))):
            size += file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())  # a name in place stands for checked bytes, even after a power cut
    if size > LIMIT:
        part.unlink()
        raise KerasepError(f"{url}: not downloaded, as it does not end after {LIMIT:,} bytes")
    if total is not None and size < total:
        raise _Broken(f"{total:,} were announced")
    return start > 0


def _ask(url: str, start: int) -> tuple[Any, int, int | None]:
    """The answer, the byte that it begins with (`start`, or 0 where it cannot), and the announced size of the file."""
    headers = {"User-Agent": "kerasep"} | ({"Range": f"bytes={start}-"} if start else {})
    request = Request(url, headers=headers)  # noqa: S310 - `fetch` has checked the scheme, `_Redirects` those of redirects
    try:
        with _network():
            response = build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is no such byte
            return _ask(url, 0)
        reason = f"HTTP {error.code}" + (", a redirect that is not followed" if error.code // 100 == 3 else "")
        raise KerasepError(f"{url}: cannot be downloaded ({reason})") from error
    span = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")) if response.status == 206 else None
    if response.status != 200 and not (span and start and int(span[1]) == start):
        response.close()
        if start:
            return _ask(url, 0)
        raise KerasepError(f"{url}: cannot be downloaded (HTTP {response.status}, unasked)")
    total = int(span[2]) if span else response.length
    if total is not None and total > LIMIT:
        response.close()
        raise KerasepError(f"{url}: not downloaded: {total:,} bytes are announced, and {LIMIT:,} the most that is taken")
    return response, start if span else 0, total


def _read(response: Any, size: int) -> bytes:
    """What has come, at most `size` bytes; nothing at the end."""
    with _network():
        return response.read1(size)


class _Broken(Exception):
    """The connection failed: what has come is good."""


@contextmanager
def _network() -> Iterator[None]:
    """Tells the network's errors from the disk's, as both are OSError."""
    try:
        yield
    except HTTPError:  # an answer
        raise
    except (OSError, HTTPException, ValueError) as error:  # ValueError: redirected to what is no URL
        raise _Broken(_reason(error)) from error


class _Redirects(HTTPRedirectHandler):
    """Follows to where `fetch` would go itself; elsewhere, the redirect is an HTTPError."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        return super().redirect_request(req, fp, code, msg, headers, newurl) if _is_safe(newurl) else None

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # urllib would read its body into memory, however long it is, or leave it open where there is no URL
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _is_safe(url: str) -> bool:
    with suppress(ValueError):  # no URL
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return False


def _matches(part: Path, digest: str) -> bool:
    name, _, digits = digest.partition(":")
    with part.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest().startswith(digits)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    """In one line, and without what a server wrote: only errors of the system have a text that is shown."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    text = (cause.strerror or str(cause)) if isinstance(cause, OSError) else f"no proper answer: {type(cause).__name__}"
    return " ".join(text.split())
