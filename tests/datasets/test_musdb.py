"""MUSDB18 in both of its forms, and folders that are not MUSDB18."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import agreement, write_song

from kerasep.datasets.musdb import SOURCES, STEMS, VALIDATION, songs
from kerasep.errors import KerasepError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def fails(match: str, root: Path, subset: str = "train") -> None:
    with pytest.raises(KerasepError, match=match) as caught:
        songs(root, subset)
    assert "\n" not in str(caught.value)


def test_subsets(hq_root):
    assert [song.name for song in songs(hq_root, "train")] == ["One", "Two"]
    assert [song.name for song in songs(hq_root, "validation")] == ["ANiMAL - Rockshow"]
    assert [song.name for song in songs(hq_root, "test")] == ["Three"]


def test_validation_songs_are_the_musdb_packages():
    spec = find_spec("musdb")  # importing it needs ffmpeg; its list does not
    if spec is None:
        pytest.skip("musdb is not installed")
    text = (Path(spec.origin).parent / "configs" / "mus.yaml").read_text()
    listed = text.split("validation_tracks:")[1].split(":")[0]
    names = {line.strip("- '\"\n") for line in listed.splitlines() if line.strip().startswith("-")}
    assert names == VALIDATION


def test_slices(hq_root, song):
    one = songs(hq_root, "train")[0]
    assert one.frames == 88200
    assert np.array_equal(one.read("drums", 1000, 500), song["drums"][1000:1500])


@needs_ffmpeg
def test_stem_mp4_is_decoded_once(tmp_path, song, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_song(tmp_path / "hq" / "train" / "One", song)
    (tmp_path / "stems" / "train").mkdir(parents=True)
    command = ["ffmpeg", "-v", "error"]
    for stem in STEMS:
        command += ["-i", str(tmp_path / "hq" / "train" / "One" / f"{stem}.wav")]
    for number in range(5):
        command += ["-map", f"{number}:a"]
    path = tmp_path / "stems" / "train" / "One.stem.mp4"
    subprocess.run([*command, "-c:a", "aac", "-b:a", "256k", str(path)], check=True)

    (decoded,) = songs(tmp_path / "stems", "train")
    (original,) = songs(tmp_path / "hq", "train")
    assert decoded.name == "One"
    for stem in (*SOURCES, "mixture"):
        expected = original.read(stem, 0, 200_000)
        assert agreement(expected, decoded.read(stem, 0, 200_000)) > 15, stem
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.wav")}
    songs(tmp_path / "stems", "train")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.wav")} == written


@needs_ffmpeg
def test_damaged_stem_mp4_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "Bad.stem.mp4").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    fails("Bad.stem.mp4: not audio", tmp_path)
    assert not list((tmp_path / "cache").rglob("*.wav"))
    assert not list((tmp_path / "cache").rglob("partial-*"))


def test_folders_that_are_not_musdb(tmp_path):
    fails("no folder train/", tmp_path)
    (tmp_path / "train").mkdir()
    fails("neither song folders", tmp_path)


def test_a_song_without_a_stem(tmp_path, song):
    write_song(tmp_path / "train" / "One", song)
    (tmp_path / "train" / "One" / "bass.wav").unlink()
    fails("bass.wav: missing", tmp_path)


def test_a_song_with_a_stem_of_another_rate(tmp_path, song):
    write_song(tmp_path / "train" / "One", song)
    soundfile.write(tmp_path / "train" / "One" / "bass.wav", song["bass"], 48000)
    fails("differ in rate", tmp_path)


def test_a_song_with_a_shorter_stem(tmp_path, song):
    write_song(tmp_path / "train" / "One", song)
    soundfile.write(tmp_path / "train" / "One" / "bass.wav", song["bass"][:44100], 44100)
    fails(r"One: stems differ in length \(.*bass 1.0 s.*\): fetch the song again", tmp_path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_samples_as_16_bits(tmp_path, song, subtype):
    write_song(tmp_path / "train" / "One", song)
    path = tmp_path / "train" / "One" / "bass.wav"
    soundfile.write(path, song["bass"], 44100, subtype)
    (one,) = songs(tmp_path, "train")
    samples = one.pcm("bass", 1000, 500)
    assert samples.dtype == np.int16
    assert np.abs(samples / 32768 - song["bass"][1000:1500]).max() <= 1.5 / 32768
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises((EOFError, ValueError, OSError)):
        one.pcm("bass", 1000, 60000)
    path.write_bytes(b"no sound")
    with pytest.raises((EOFError, ValueError, OSError)):
        one.pcm("bass", 1000, 500)


def test_a_stem_in_pieces(hq_root):
    song = songs(hq_root, "train")[0]
    assert np.array_equal(np.concatenate(list(song.blocks("bass", 2))), song.read("bass"))
    mono = np.concatenate(list(song.blocks("bass", 1)))
    assert np.allclose(mono[:, 0], song.read("bass").mean(axis=1), atol=1e-7)


def test_real_clips(clips):
    found = {subset: songs(clips, subset) for subset in ("train", "validation", "test")}
    assert {song.name for song in found["validation"]} == VALIDATION
    assert len(found["test"]) >= 25
    song = found["test"][0]
    mixture, stems = song.read("mixture"), [song.read(source)[: song.frames] for source in SOURCES]
    assert agreement(mixture[: song.frames], np.sum(stems, axis=0)) > 10


def test_accompaniment_is_all_but_the_vocals(hq_root):
    song = songs(hq_root, "test")[0]
    expected = sum(song.read(stem, 100, 500) for stem in ("drums", "bass", "other"))
    assert np.array_equal(song.read("accompaniment", 100, 500), expected)
