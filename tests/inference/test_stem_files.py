"""Stems as files, written by a separator that runs no network; `tests/cli/test_cli.py` does the same with one."""

import subprocess
import tempfile

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


def test_stems_that_a_wav_header_cannot_count_are_rf64(song_file, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasep.inference.files.LARGE", 3000 * 2 * 2 - 1)
    files = separate_file(Halves(), song_file, tmp_path / "stems")
    assert soundfile.info(files["left"]).format == "RF64"
    assert soundfile.info(separate_file(Halves(), song_file, tmp_path / "flac", format="flac")["left"]).format == "FLAC"
    mixture, _ = soundfile.read(song_file)
    assert np.allclose(soundfile.read(files["left"])[0], mixture / 2, atol=1e-4)


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 100 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("choices", [{}, {"float32": True}, {"format": "flac"}], ids=str)
@pytest.mark.parametrize("samples", [12_000, 100_000, 2_000_000], ids=["at the end", "soon", "at once"])
def test_a_full_disk(tmp_path, small_disk, choices, samples):
    sound = np.random.default_rng(0).uniform(-1, 1, size=(samples, 2))
    soundfile.write(tmp_path / "song.wav", sound, 8000, "FLOAT")
    (small_disk / "other").write_bytes(bytes(60_000))
    with pytest.raises(KerasepError, match=r"small/song: cannot be written \(the disk is full\): choose another"):
        separate_file(Halves(), tmp_path / "song.wav", small_disk / "song", **choices)
    assert [path.name for path in small_disk.iterdir()] == ["other"]


def test_a_full_temporary_folder(tmp_path, small_disk, monkeypatch):
    """What ffmpeg decodes goes there."""
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).uniform(-1, 1, size=(300_000, 2)), 8000)
    made = ["ffmpeg", "-v", "error", "-i", "song.wav", "-c:a", "pcm_s16le", "song.mkv"]
    try:
        subprocess.run(made, cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("ffmpeg is not installed")
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(KerasepError, match=r"small.*: is full: make room, or set TMPDIR"):
        separate_file(Halves(), tmp_path / "song.mkv", tmp_path / "stems")
    with pytest.raises(KerasepError, match="is full"), (tmp_path / "song.wav").open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("", (), {"buffer": file}))
        separate_file(Halves(), "-", tmp_path / "stems")


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_rates_that_no_sound_has(tmp_path, rate):
    soundfile.write(tmp_path / "song.wav", np.zeros((100, 2)), rate)
    with pytest.raises(KerasepError, match=f"song.wav: .*{rate}"):
        separate_file(Halves(), tmp_path / "song.wav", tmp_path / "stems")
