"""Every sample of a file is read, or a line says that some are missing: lengths that are wrong, unknown or promised in vain."""

import shutil
import struct
import subprocess
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasep.errors import KerasepError, KerasepWarning
from kerasep.signal.audio import read
from kerasep.signal.links import frames

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
RATE, LENGTH = 44100, 60000
STATING = ["wav", "wavex", "rf64", "w64", "aiff", "au", "caf", "nist", "avr", "voc", "svx", "flac"]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, size=(LENGTH, 2)).astype(np.float32).clip(-1, 1)


def ffmpeg(folder: Path, *arguments: str) -> bytes:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout


def wav(folder: Path, sound: np.ndarray) -> Path:
    soundfile.write(folder / "in.wav", sound, RATE)
    return folder / "in.wav"


def told(path: Path) -> tuple[np.ndarray, list[str]]:
    """What is read of a file, and the warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        samples, _ = read(path)
    assert all(issubclass(warning.category, KerasepWarning) for warning in found)
    return samples, [str(warning.message) for warning in found]


@pytest.mark.parametrize("form", STATING)
def test_half_of_a_file_that_states_its_length(tmp_path, sound, form):
    path = tmp_path / f"song.{form}"
    soundfile.write(path, sound[:, : 1 if form == "svx" else 2], RATE, "PCM_16", format=form.upper())
    assert len(read(path)[0]) == LENGTH
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(KerasepError, match=r"song\.\w+: (cut short: .* fetch it again|cannot be decoded after)"):
        read(path)


@pytest.mark.parametrize("form", sorted({*STATING} - {"flac"}))  # whose last frame is lost with its last byte
def test_a_few_bytes_are_warned_of(tmp_path, sound, form):
    path = tmp_path / f"song.{form}"
    soundfile.write(path, sound[:, : 1 if form == "svx" else 2], RATE, "PCM_16", format=form.upper())
    path.write_bytes(path.read_bytes()[:-3])
    samples, lines = told(path)
    assert LENGTH - 2 <= len(samples) < LENGTH
    assert len(lines) == 1 and lines[0].startswith(f"{path}: its very end is missing")


@needs_ffmpeg
@pytest.mark.parametrize("name", ["song.mkv", "song.caf", "song.m4a", "song.wv", "song.tta", "song.avi", "song.flac"])
def test_half_of_what_ffmpeg_reads(tmp_path, sound, name):
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", *(["-movflags", "+faststart"] if name.endswith("m4a") else []), name)
    path = tmp_path / name
    assert LENGTH <= len(read(path)[0]) <= LENGTH + 2304
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(KerasepError):
        read(path)


@pytest.mark.parametrize("riff", [True, False], ids=["both", "data"])
@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000 - 44, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_wavs_of_unknown_length(tmp_path, sound, length, riff):
    """SoX and LAME write numbers like these to a pipe; recorders leave 0 when their battery is empty."""
    path = wav(tmp_path, sound)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", length)
    if riff:
        data[4:8] = struct.pack("<I", min(length + 36, 0xFFFFFFFF))
    path.write_bytes(data)
    assert told(path)[1] == []
    assert len(read(path)[0]) == LENGTH


@pytest.mark.parametrize("off", [1, 2, 44])
def test_headers_that_are_off_by_a_little(tmp_path, sound, off):
    path = wav(tmp_path, sound)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", len(data) - place - 4 + off)
    path.write_bytes(data)
    samples, lines = told(path)
    assert len(samples) == LENGTH and len(lines) == 1


def test_an_empty_wav_with_tags_has_no_samples(tmp_path, sound):
    path = wav(tmp_path, sound)
    data = path.read_bytes()
    place = data.index(b"data") + 4
    path.write_bytes(data[:place] + bytes(4) + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(KerasepError, match="holds no samples"):
        read(path)


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [
        ["-q:a", "5"],
        ["-b:a", "128k"],
        ["-q:a", "0", "-ac", "1"],
        ["-b:a", "64k", "-ar", "22050"],
        ["-q:a", "9", "-ar", "11025"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("header", ["whole", "piped", "none", "joined", "joined without", "behind a picture", "before a tag"])
def test_mp3s_are_read_to_their_ends(tmp_path, sound, options, header):
    wav(tmp_path, sound)
    rate = int(options[options.index("-ar") + 1]) if "-ar" in options else RATE
    without = ["-write_xing", "0"] if header in ("none", "joined without") else []
    if header == "piped":
        data = ffmpeg(tmp_path, "-i", "in.wav", *options, "-f", "mp3", "-")
    else:
        ffmpeg(tmp_path, "-i", "in.wav", *options, *without, "in.mp3")
        data = (tmp_path / "in.mp3").read_bytes()
    times = 2 if header.startswith("joined") else 1
    data *= times
    if header == "behind a picture":
        data = b"ID3\x03\0\0" + bytes([0, 6, 0, 0]) + bytes(6 << 14) + data
    if header == "before a tag":
        data += b"TAG" + bytes(125)
    path = tmp_path / "song.mp3"
    path.write_bytes(data)
    samples, lines = told(path)
    assert lines == []
    # A header may say what an encoder added in front and behind; the rest keeps up to three frames of it.
    assert 0 <= len(samples) - times * LENGTH * rate // RATE <= times * 3 * 1152


@needs_ffmpeg
def test_another_encoders_header(tmp_path, sound):
    """Fraunhofer's, which is no sound either."""
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0", "in.mp3")
    data = (tmp_path / "in.mp3").read_bytes()
    header = (data[:4] + bytes(32) + b"VBRI" + bytes(22)).ljust(next(frames(data)).size, b"\0")
    (tmp_path / "with.mp3").write_bytes(header + data)
    one, other = (read(tmp_path / name)[0] for name in ("in.mp3", "with.mp3"))
    assert one.shape == other.shape and np.abs(one - other).max() < 1e-3


@needs_ffmpeg
def test_an_mp3_that_lacks_frames(tmp_path, sound):
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "-b:a", "128k", "in.mp3")
    data = (tmp_path / "in.mp3").read_bytes()
    path = tmp_path / "song.mp3"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(KerasepError, match=r"cut short: .* frames are there"):
        read(path)
    path.write_bytes(data[:-3])
    assert len(told(path)[1]) == 1


@needs_ffmpeg
@pytest.mark.parametrize("kept", [4, 100, 417, 418, 500, 836])
def test_next_to_nothing_of_an_mp3(tmp_path, sound, kept):
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "-b:a", "128k", "-write_xing", "0", "in.mp3")
    path = tmp_path / "song.mp3"
    path.write_bytes((tmp_path / "in.mp3").read_bytes()[45:][:kept])
    try:
        assert len(told(path)[0]) <= 2 * 1152
    except KerasepError as error:
        assert str(error).startswith(f"{path}: ")


@needs_ffmpeg
def test_every_frame_of_an_mp3_is_found(tmp_path, sound):
    """ffprobe counts them, too."""
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "-q:a", "4", "-write_xing", "0", "in.mp3")
    command = [
        "ffprobe",
        "-v",
        "error",
        "-count_packets",
        "-show_entries",
        "stream=nb_read_packets",
        "-of",
        "csv=p=0",
        "in.mp3",
    ]
    counted = int(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)
    assert len(list(frames((tmp_path / "in.mp3").read_bytes()))) == counted


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
def test_frames_of_anything_end(data):
    found = list(frames(b"\xff\xfb\x90\x64" + data))
    assert all(one.at < other.at for one, other in pairwise(found))


@pytest.mark.parametrize(("form", "subtype"), [("ogg", "VORBIS"), ("opus", "OPUS")])
def test_chains_of_ogg(tmp_path, sound, form, subtype):
    path = tmp_path / f"song.{form}"
    rate = 48000 if form == "opus" else RATE
    soundfile.write(path, np.tile(sound, (4, 1)), rate, subtype, format="OGG")
    one = read(path)[0]
    link = path.read_bytes()
    path.write_bytes(link * 3)
    samples, lines = told(path)
    assert lines == [] and len(samples) == 3 * len(one)
    assert np.abs(samples - np.tile(one, (3, 1))).max() < 1e-6
    path.write_bytes(link[: len(link) // 2])
    assert "its very end is missing" in told(path)[1][0]


def test_links_of_other_rates_are_refused(tmp_path, sound):
    for rate in (RATE, 48000):
        soundfile.write(tmp_path / f"{rate}.ogg", sound, rate)
    path = tmp_path / "song.ogg"
    path.write_bytes(b"".join((tmp_path / f"{rate}.ogg").read_bytes() for rate in (RATE, 48000)))
    with pytest.raises(KerasepError, match=r"song\.ogg: its parts differ in rate"):
        read(path)


@needs_ffmpeg
def test_flac_from_a_pipe(tmp_path, sound, monkeypatch):
    wav(tmp_path, sound)
    path = tmp_path / "song.flac"
    path.write_bytes(ffmpeg(tmp_path, "-i", "in.wav", "-f", "flac", "-"))
    assert np.array_equal(read(path)[0], read(tmp_path / "in.wav")[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KerasepError, match=r"does not say how long it is\): install ffmpeg"):
        read(path)


@needs_ffmpeg
@pytest.mark.parametrize(
    "codec", ["mp3", "ac3", "flac", "adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "pcm_mulaw", "pcm_f64le", "wmav2", "mp2"]
)
def test_codings_inside_wav(tmp_path, sound, codec):
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "-c:a", codec, "song.wav")
    assert LENGTH <= len(read(tmp_path / "song.wav")[0]) <= LENGTH + 4096


@needs_ffmpeg
@pytest.mark.parametrize("name", ["song.mkv", "song.mp4"])
def test_sound_keeps_its_place_in_a_video(tmp_path, sound, name):
    """Sound that starts late, and a gap in it."""
    wav(tmp_path, sound)
    video = ["-f", "lavfi", "-i", "color=s=32x32:d=3", "-itsoffset", "0.5", "-i", "in.wav", "-map", "0:v", "-map", "1:a"]
    gap = ["-af", "aselect='lt(t,0.9)+gt(t,1.2)'"]
    ffmpeg(tmp_path, *video, *gap, "-c:v", "mpeg4", "-c:a", "flac" if name.endswith("mkv") else "aac", "-b:a", "256k", name)
    samples, _ = read(tmp_path / name)
    heard = np.abs(samples).max(axis=1).reshape(-1)
    assert heard[: int(0.45 * RATE)].max() < 1e-3
    expected = np.pad(sound, ((RATE // 2, 0), (0, 0)))[: len(samples)]
    for start in (0.55, 1.3):  # before and after the gap
        piece = slice(int(start * RATE), int(start * RATE) + 4000)
        error = np.abs(samples[piece.start - 2048 : piece.stop + 2048])
        assert error.max() > 0.01
        lags = [np.vdot(np.roll(samples, lag, axis=0)[piece], expected[piece]) for lag in range(-60, 61)]
        assert abs(int(np.argmax(lags)) - 60) <= 45  # a millisecond, to which Matroska rounds times


@needs_ffmpeg
@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\nother.wav\n", "ffconcat version 1.0\nfile other.wav\n"])
def test_playlists_are_not_followed(tmp_path, sound, text):
    soundfile.write(tmp_path / "other.wav", sound, RATE)
    path = tmp_path / "song.mp3"
    path.write_text(text)
    with pytest.raises(KerasepError, match=r"song\.mp3: not audio"):
        read(path)


@needs_ffmpeg
def test_decoding_has_an_end(tmp_path, sound, monkeypatch):
    wav(tmp_path, sound)
    ffmpeg(tmp_path, "-i", "in.wav", "song.m4a")
    with monkeypatch.context() as patch:
        patch.setattr("kerasep.signal.ffmpeg.ROOM", 5000)
        patch.setattr("kerasep.signal.ffmpeg.EXPANSION", 0)
        with pytest.raises(KerasepError, match="hold more than"):
            read(tmp_path / "song.m4a")
    slow = tmp_path / "bin"
    slow.mkdir()
    for program in ("ffmpeg", "ffprobe"):
        (slow / program).write_text("#!/bin/sh\nwhile :; do :; done\n")
        (slow / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(slow))
    monkeypatch.setattr("kerasep.signal.ffmpeg.SECONDS", 0.05)
    with pytest.raises(KerasepError, match="took more than"):
        read(tmp_path / "song.m4a")


def test_raw_samples_have_no_header(tmp_path, sound):
    path = tmp_path / "song.raw"
    path.write_bytes(np.int16(32767 * sound).tobytes())
    with pytest.raises(KerasepError, match=r"song\.raw: "):
        read(path)
    wav(tmp_path, sound).rename(path)  # a name is but a name
    if shutil.which("ffmpeg"):
        assert len(read(path)[0]) == LENGTH
