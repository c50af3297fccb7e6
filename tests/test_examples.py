"""The examples in docstrings say what is so."""

import doctest
import importlib
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("kerasep", "export", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name, hq_root, mixture, tmp_path, monkeypatch):
    """In a folder with a song, a data set and what this repository holds."""
    soundfile.write(tmp_path / "song.wav", mixture[:44100], 44100)
    (tmp_path / "musdb18hq").symlink_to(hq_root)
    (tmp_path / "kerasep").symlink_to(ROOT / "kerasep")
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed
