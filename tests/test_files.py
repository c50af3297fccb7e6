"""Files are written whole or not at all; the cache folder is where XDG says."""

import json
from pathlib import Path

import pytest

from kerasep import files
from kerasep.errors import KerasepError


def test_replacing_writes_whole_files_or_none(tmp_path):
    path = tmp_path / "new" / "numbers.json"
    files.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(ZeroDivisionError), files.replacing(path) as partial:
        partial.write_text("half")
        assert json.loads(path.read_text()) == {"a": 1}
        raise ZeroDivisionError
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for write in (lambda: files.write_json(tmp_path / "file" / "a.json", {}), lambda: files.check_writable(tmp_path / "file")):
        with pytest.raises(KerasepError, match=r"cannot be written \((Not a directory|File exists)\): choose another folder"):
            write()


def test_check_writable_leaves_an_empty_folder(tmp_path):
    files.check_writable(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_cache_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache() == tmp_path / "kerasep"
    for unset in (lambda: monkeypatch.setenv("XDG_CACHE_HOME", ""), lambda: monkeypatch.delenv("XDG_CACHE_HOME")):
        unset()
        assert files.cache() == Path.home() / ".cache" / "kerasep"
