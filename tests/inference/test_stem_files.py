"""Stems as files, written by a separator that runs no network; `tests/cli/test_cli.py` does the same with one."""

import numpy as np
import pytest
import soundfile

from kerasep.errors import KerasepError, UsageError
from kerasep.inference.files import separate_file


class Halves:
    """Two stems, each half of the mixture."""

    targets = ("left", "right")

    def blocks(self, pieces, rate, channels):
        for piece in pieces:
            yield dict.fromkeys(self.targets, piece / 2)


class Breaking(Halves):
    def blocks(self, pieces, rate, channels):
        yield from super().blocks(pieces, rate, channels)
        raise KerasepError("broken at the end")


@pytest.fixture
def song_file(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, size=(3000, 2)), 8000, "FLOAT")
    return path


@pytest.mark.parametrize(
    ("choices", "names", "subtype"),
    [
        ({}, ["left.wav", "right.wav"], "PCM_16"),
        ({"float32": True}, ["left.wav", "right.wav"], "FLOAT"),
        ({"format": "flac"}, ["left.flac", "right.flac"], "PCM_16"),
    ],
)
def test_files_of_stems(song_file, tmp_path, choices, names, subtype):
    folder = tmp_path / "a" / "b"
    files = separate_file(Halves(), str(song_file), str(folder), **choices)
    assert files == {"left": folder / names[0], "right": folder / names[1]}
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in folder.parent.iterdir()] == ["b"]  # nothing temporary is left
    mixture, _ = soundfile.read(song_file)
    for path in files.values():
        assert soundfile.info(path).subtype == subtype
        samples, rate = soundfile.read(path)
        assert rate == 8000
        assert np.allclose(samples, mixture / 2, atol=1e-4)


def test_a_failure_leaves_earlier_stems_alone(song_file, tmp_path):
    files = separate_file(Halves(), song_file, tmp_path / "stems")
    before = {path: path.read_bytes() for path in files.values()}
    with pytest.raises(KerasepError, match="is there already: add --overwrite"):
        separate_file(Halves(), song_file, tmp_path / "stems")
    with pytest.raises(KerasepError, match="broken at the end"):
        separate_file(Breaking(), song_file, tmp_path / "stems", overwrite=True, float32=True)
    assert {path: path.read_bytes() for path in (tmp_path / "stems").iterdir()} == before
    separate_file(Halves(), song_file, tmp_path / "stems", overwrite=True, float32=True)
    assert soundfile.info(files["left"]).subtype == "FLOAT"


@pytest.mark.parametrize(
    ("choices", "match"),
    [({"format": "mp3"}, "unknown format 'mp3'"), ({"format": "flac", "float32": True}, "FLAC holds no floating point")],
)
def test_formats_that_cannot_be(song_file, tmp_path, choices, match):
    with pytest.raises(UsageError, match=match):
        separate_file(Halves(), song_file, tmp_path / "stems", **choices)
    assert not (tmp_path / "stems").exists()
