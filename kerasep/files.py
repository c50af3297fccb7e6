"""Files and folders written whole or not at all, whenever a process is stopped, and the cache folder."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerasep.errors import KerasepError

REMEDY = "choose another folder"
PREFIX, LOCK, OLD = ".kerasep-", ".lock", "old"  # of folders for what is not finished, and what is in and beside them


class CacheError(KerasepError):
    """The cache cannot be used: no song's fault."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path on the disk of `path`; it becomes `path` if the block succeeds, and is removed if not.

    Raises:
        KerasepError: the folder cannot be written to.

    Example:
        with replacing(Path("notes.txt")) as partial:
            partial.write_text("whole", encoding="utf-8")
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as folder:
            partial = folder / path.name
            yield partial
            sync(partial)
            partial.replace(path)
    except OSError as error:
        raise KerasepError(f"{path}: cannot be written ({error.strerror or error}): {REMEDY}") from error


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder in `parent` for what is not finished, removed in the end. What killed processes left there is removed first.

    Raises:
        OSError: nothing can be written there.
    """
    sweep(parent)
    folder = parent / f"{PREFIX}{secrets.token_hex(8)}"
    with _locked(Path(f"{folder}{LOCK}")):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _put_back(folder)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads out. The file is there only as long as somebody holds it or waits for it."""
    from filelock import FileLock  # imports asyncio, which takes longer than anything else here

    lock = FileLock(path)
    while True:
        try:
            lock.acquire()
        except NotImplementedError:  # a file system without locks: who writes there writes alone, most of the time
            yield
            return
        try:
            if path.exists():  # else whoever had it took it away meanwhile
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            lock.release()


def sweep(parent: Path) -> None:
    """Remove folders of `scratch` whose processes are gone, and put back what one of them was about to replace."""
    from filelock import FileLock, Timeout

    for lock in parent.glob(f"{PREFIX}*{LOCK}"):
        folder = lock.with_name(lock.name.removesuffix(LOCK))
        try:
            state = lock.lstat()
            if not lock.is_file() or lock.is_symlink() or (hasattr(os, "getuid") and state.st_uid != os.getuid()):
                continue  # another's
            with FileLock(lock, timeout=0):
                _put_back(folder)
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)
        except (OSError, Timeout, NotImplementedError):  # in use, or no telling
            continue


def _put_back(folder: Path) -> None:
    """Give a folder that was about to be replaced its place again, if nothing has taken it."""
    for old in (folder / OLD).glob("*"):
        if not (place := folder.with_name(old.name)).exists():
            old.rename(place)


@contextmanager
def making(folder: Path, add: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder; it becomes `folder` in one step if the block succeeds, and is removed if not.

    Args:
        folder: what is to be made.
        add: it may be there already, with files of other names, which stay.
        overwrite: likewise, and files of equal names are replaced.

    Raises:
        KerasepError: it is there already, or nothing can be written there.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(folder.parent) as partial:
            made = partial / "new"
            made.mkdir()
            yield made
            for path in made.iterdir():
                sync(path)
            key = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]
            with _locked(folder.parent / f"{PREFIX}{key}{LOCK}"):
                _put(made, folder, add, overwrite)
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): {REMEDY}") from error


def _put(made: Path, folder: Path, add: bool, overwrite: bool) -> None:
    """Let `made` take the place of `folder`. There is no moment at which a kill leaves half of one and half of the other."""
    if not folder.exists():
        made.rename(folder)
        return
    there = sorted(path.name for path in made.iterdir() if (folder / path.name).exists())
    if not (add or overwrite):
        raise KerasepError(f"{folder}: is there already: {REMEDY}")
    if there and not overwrite:
        raise KerasepError(f"{folder.name}/{there[0]}: is there already: add --overwrite to replace it")
    if Path.cwd().is_relative_to(folder):  # who stands in it would stand in nothing afterwards
        for path in made.iterdir():
            path.replace(folder / path.name)
        return
    for path in folder.iterdir():
        if not (made / path.name).exists():
            _link(path, made / path.name)
    old = made.parent / OLD / folder.name
    old.parent.mkdir()
    folder.rename(old)
    made.rename(folder)


def _link(source: Path, target: Path) -> None:
    """Give a file a second place, or everything in a folder."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=lambda a, b: _link(Path(a), Path(b)))
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without
        shutil.copy2(source, target, follow_symlinks=False)


def sync(path: Path) -> None:
    """Wait until a file is on its disk: a name that is there after a power failure is of a whole file."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented. Raises KerasepError if the folder cannot be written to."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Make a folder if needed and check that it takes files, before minutes of work rather than after.

    Raises:
        KerasepError: it does not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KerasepError(f"{folder}: cannot be written ({error.strerror or error}): {REMEDY}") from error


def cache() -> Path:
    """The folder for what can be downloaded or computed again, in XDG_CACHE_HOME or ~/.cache. It may not exist yet.

    Raises:
        CacheError: there is neither.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "kerasep"
    try:
        return Path.home() / ".cache" / "kerasep"
    except RuntimeError as error:
        raise CacheError("there is no home folder to keep what is fetched or decoded: set XDG_CACHE_HOME to one") from error
