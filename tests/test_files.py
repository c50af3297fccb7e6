"""Files and folders are written whole or not at all, whatever ends a process, and whatever other processes do."""

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from kerasep import files
from kerasep.errors import KerasepError
from kerasep.files import making, replacing, scratch


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, add=False, overwrite=False, **texts):
    with making(folder, add, overwrite) as made:
        write(made, **texts)


def test_a_folder_is_made(tmp_path):
    make(tmp_path / "a" / "b", one="1", two="2")
    assert contents(tmp_path / "a" / "b") == {"one": "1", "two": "2"}
    assert names(tmp_path / "a") == ["b"]


def test_what_is_there_stays(tmp_path):
    write(tmp_path / "song", cover="c", vocals="old")
    write(tmp_path / "song" / "inner", deep="d")
    with pytest.raises(KerasepError, match="is there already"):
        make(tmp_path / "song", vocals="new")
    with pytest.raises(KerasepError, match="song/vocals: is there already: add --overwrite"):
        make(tmp_path / "song", add=True, vocals="new", drums="new")
    assert names(tmp_path / "song") == ["cover", "inner", "vocals"]
    make(tmp_path / "song", add=True, drums="new")
    make(tmp_path / "song", add=True, overwrite=True, vocals="new")
    assert (tmp_path / "song" / "inner" / "deep").read_text() == "d"
    (tmp_path / "song" / "inner" / "deep").unlink()
    (tmp_path / "song" / "inner").rmdir()
    assert contents(tmp_path / "song") == {"cover": "c", "vocals": "new", "drums": "new"}
    assert names(tmp_path) == ["song"]


def test_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    write(tmp_path / "song", vocals="old")
    monkeypatch.chdir(tmp_path / "song")
    make(tmp_path / "song", add=True, overwrite=True, vocals="new")
    assert names(tmp_path / "song") == ["vocals"]


@pytest.mark.parametrize("step", ["rename", "link"])
def test_an_exception_between_two_steps(tmp_path, monkeypatch, step):
    write(tmp_path / "song", cover="c", vocals="old")
    if step == "link":
        monkeypatch.setattr(files, "_link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    else:
        rename = Path.rename

        def once(path, target):
            if path.name == "new":
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "song", overwrite=True, vocals="new")
    assert contents(tmp_path / "song") == {"cover": "c", "vocals": "old"}
    assert names(tmp_path) == ["song"]


def test_two_at_once(tmp_path):
    """One of many wins, whole; without leave to replace it the others say so. Who adds something else is not in their way."""
    lost = []
    write(tmp_path / "song", cover="c")

    def work(number):
        try:
            make(tmp_path / "song", add=True, one=str(number), two=str(number))
        except KerasepError:
            lost.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    threads += [threading.Thread(target=make, args=(tmp_path / "song", True), kwargs={f"other{k}": "o"}) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == 7
    (winner,) = set(range(8)) - set(lost)
    others = {f"other{number}": "o" for number in range(4)}
    assert contents(tmp_path / "song") == {"cover": "c", "one": str(winner), "two": str(winner), **others}
    assert names(tmp_path) == ["song"]


def killed(code: str, *arguments: object) -> None:
    """Run a program that kills itself."""
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], check=False)
    assert process.returncode == -signal.SIGKILL


KILLED_INSIDE = """
    import os, signal, sys
    from pathlib import Path
    from kerasep.files import making
    with making(Path(sys.argv[1]), overwrite=True) as made:
        (made / "vocals").write_text("new")
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_BETWEEN = """
    import os, signal, sys
    from pathlib import Path
    from kerasep import files
    rename = Path.rename
    Path.rename = lambda path, target: rename(path, target) if path.name != "new" else os.kill(os.getpid(), signal.SIGKILL)
    with files.making(Path(sys.argv[1]), overwrite=True) as made:
        (made / "vocals").write_text("new")
"""


@pytest.mark.parametrize("code", [KILLED_INSIDE, KILLED_BETWEEN], ids=["inside", "between"])
def test_what_a_kill_leaves_is_swept(tmp_path, code):
    write(tmp_path / "song", cover="c", vocals="old")
    killed(code, tmp_path / "song")
    with scratch(tmp_path):
        assert contents(tmp_path / "song") == {"cover": "c", "vocals": "old"}
    assert names(tmp_path) == ["song"]


def test_a_lock_without_a_folder_is_swept(tmp_path):
    """Of a process that was killed before it made one."""
    (tmp_path / ".kerasep-0.lock").touch()
    with scratch(tmp_path):
        pass
    assert names(tmp_path) == []


def test_what_is_in_use_is_not_swept(tmp_path):
    with scratch(tmp_path) as one:
        (one / "file").touch()
        with scratch(tmp_path) as other:
            assert one != other
        assert (one / "file").exists()
    assert names(tmp_path) == []


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    make(tmp_path / "song", one="1")
    make(tmp_path / "song", add=True, overwrite=True, one="2")
    assert contents(tmp_path / "song") == {"one": "2"}


def test_replacing_a_file(tmp_path):
    path = tmp_path / "a" / "notes.txt"
    with replacing(path) as partial:
        partial.write_text("whole")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert contents(path.parent) == {"notes.txt": "whole"}
