"""MUSDB18 in both of its forms, and folders that are not MUSDB18."""

import errno
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import agreement, write_song

from kerasep.cli import main
from kerasep.datasets import musdb
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


def test_a_song_without_its_mixture_is_not_left_out(tmp_path, song):
    for name in ("One", "Two"):
        write_song(tmp_path / "train" / name, song)
    (tmp_path / "train" / "Two" / "mixture.wav").unlink()
    fails("Two/mixture.wav: missing or no WAV file: fetch the song again", tmp_path)


@pytest.mark.parametrize(
    ("link", "match"),
    [("Two", "Two: cannot be read"), ("Two.stem.mp4", "Two.stem.mp4: cannot be read"), ("One/bass.wav", "bass.wav: missing")],
)
def test_links_that_lead_nowhere(tmp_path, song, link, match):
    write_song(tmp_path / "train" / "One", song)
    (tmp_path / "train" / link).unlink(missing_ok=True)
    (tmp_path / "train" / link).symlink_to("gone")
    fails(match, tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "train").write_text("no folder")
    fails("train: cannot be read", tmp_path)


def test_hidden_files_and_what_is_no_song(hq_root, tmp_path):
    """macOS leaves ._ files and .DS_Store wherever it has been, and archives a folder __MACOSX."""
    shutil.copytree(hq_root / "train" / "One", tmp_path / "train" / "One")
    shutil.copytree(hq_root / "train" / "One", tmp_path / "train" / ".hidden")
    for name in (".DS_Store", "._One", "._One.stem.mp4", ".stem.mp4", "One/._bass.wav", "One/.DS_Store", "readme.txt"):
        (tmp_path / "train" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "train" / "__MACOSX" / "._One").mkdir(parents=True)
    (tmp_path / "train" / "._link.stem.mp4").symlink_to("gone")
    assert [song.name for song in songs(tmp_path, "train")] == ["One"]


def test_a_song_in_both_forms_is_neither_replaced_nor_counted_twice(hq_root, tmp_path):
    shutil.copytree(hq_root / "train" / "One", tmp_path / "train" / "One")
    (tmp_path / "train" / "One.stem.mp4").write_bytes(b"")
    fails("One: is there as a folder and as .stem.mp4: keep one of them, or .* --is-wav", tmp_path)
    assert [song.name for song in songs(tmp_path, "train", is_wav=True)] == ["One"]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda s: np.where(np.arange(len(s))[:, None] == 7000, np.nan, s), "bass.wav: NaN or infinite sample at 7000"),
        (lambda s: s[:-4000], "bass.wav: ends 4000 samples early"),
        (None, "bass.wav: cannot be read"),
    ],
)
def test_reading_what_was_damaged_since(hq_root, tmp_path, spoil, match):
    shutil.copytree(hq_root / "train" / "One", tmp_path / "train" / "One")
    (one,) = songs(tmp_path, "train")
    path = tmp_path / "train" / "One" / "bass.wav"
    if spoil:
        soundfile.write(path, spoil(one.read("bass")), 44100, "FLOAT")
    else:
        path.write_bytes(b"no sound")
    with pytest.raises(KerasepError, match=match):
        one.read("accompaniment", 6000, one.frames - 6000)
    with pytest.raises((ValueError, EOFError)):  # as training has it
        one.pcm("bass", 6000, one.frames - 6000)


@pytest.fixture
def mp4(tmp_path, monkeypatch) -> list[Path]:
    """A song that decodes without ffmpeg, into a cache of the test's own; gives what was decoded so far."""
    done = []

    def decode(source, outputs, codec):
        done.append(source)
        for output in outputs:
            soundfile.write(output, np.full((100, 2), 0.1), 44100)

    monkeypatch.setattr(musdb, "decode", decode)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "One.stem.mp4").write_bytes(b"five streams")
    return done


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes()[:4] + b"\xff" * 4 + path.read_bytes()[8:]),  # as ffmpeg begins
        lambda path: shutil.rmtree(path.parent) or path.parent.mkdir(),
    ],
)
def test_stems_in_the_cache_that_are_not_whole_are_made_again(tmp_path, mp4, spoil):
    (one,) = songs(tmp_path, "test")
    songs(tmp_path, "test")
    assert len(mp4) == 1
    spoil(one.folder / "bass.wav")
    (again,) = songs(tmp_path, "test")
    assert again == one and len(mp4) == 2 and len(one.read("bass")) == 100
    assert [path.name for path in one.folder.parent.iterdir()] == [one.folder.name]


def test_a_cache_that_takes_no_files_is_one_line(tmp_path, mp4, capsys):
    (tmp_path / "cache").write_text("in the way")
    assert main(["evaluate", "--mixture", "--root", str(tmp_path), "-o", str(tmp_path / "scores")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kerasep: {tmp_path / 'cache' / 'kerasep' / 'stems'}: cannot be written")
    assert "XDG_CACHE_HOME" in line and not (tmp_path / "scores").exists()


def test_no_home_and_no_cache_is_one_line(tmp_path, mp4, monkeypatch):
    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    fails("there is no home folder.*XDG_CACHE_HOME", tmp_path, "test")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, mp4, monkeypatch):
    def fills(source, outputs, codec):
        outputs[0].write_bytes(b"half")
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(musdb, "decode", fills)
    fails(r"stems: cannot be written \(the disk is full\).*XDG_CACHE_HOME", tmp_path, "test")
    assert not list((tmp_path / "cache" / "kerasep" / "stems").iterdir())
