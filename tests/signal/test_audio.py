"""Reading: the formats, and every way a file can be bad, each with one clear line."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kerasep.errors import KerasepError
from kerasep.signal.audio import open_audio, read, resampled

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture
def tone() -> np.ndarray:
    time = np.arange(30000) / 44100
    return (0.5 * np.sin(2 * np.pi * np.stack([440 * time, 660 * time], axis=1))).astype(np.float32)


def is_the_tone(samples: np.ndarray) -> bool:
    """440 Hz left, 660 Hz right, at half of full scale; lossy coders shift it by a frame."""
    middle = samples[8000:20000]
    loudest = np.abs(np.fft.rfft(middle, axis=0)).argmax(axis=0) * 44100 / len(middle)
    return samples.shape[1] == 2 and np.abs(loudest - [440, 660]).max() < 4 and abs(np.abs(middle).max() - 0.5) < 0.02


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats_of_soundfile(tmp_path, tone, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone, 44100)
    samples, rate = read(path)
    assert rate == 44100
    assert samples.dtype == np.float32
    assert samples.shape == tone.shape
    assert is_the_tone(samples)
    if suffix in ("wav", "flac"):
        assert np.abs(samples - tone).max() < 1e-4


@needs_ffmpeg
@pytest.mark.parametrize("name", ["tone.m4a", "tone.stem.mp4", "tone.mkv"])
def test_other_formats_through_ffmpeg(tmp_path, tone, name):
    soundfile.write(tmp_path / "tone.wav", tone, 44100)
    command = ["ffmpeg", "-v", "error", "-i", "tone.wav", "-f", "lavfi", "-i", "anoisesrc=d=0.6:r=44100"]
    streams = ["-map", "0:a", "-map", "1:a"] if name.endswith(".stem.mp4") else ["-map", "0:a"]
    subprocess.run([*command, *streams, "-c:a", "aac", "-b:a", "256k", name], cwd=tmp_path, check=True)
    samples, rate = read(tmp_path / name)
    assert rate == 44100
    assert is_the_tone(samples)  # the first stream, not the noise


def test_without_ffmpeg_the_line_says_so(tmp_path, monkeypatch):
    path = tmp_path / "song.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    monkeypatch.setenv("PATH", str(tmp_path))
    fails(path, "install ffmpeg")


def fails(path, match: str) -> None:
    with pytest.raises(KerasepError, match=match) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))


def test_empty_file(tmp_path):
    (tmp_path / "song.wav").touch()
    fails(tmp_path / "song.wav", "is empty")


@pytest.mark.parametrize("ffmpeg", [True, False])
def test_text_named_wav(tmp_path, monkeypatch, ffmpeg):
    path = tmp_path / "song.wav"
    path.write_text("This is not a song.\n" * 50)
    if not ffmpeg:
        monkeypatch.setenv("PATH", str(tmp_path))
    fails(path, "not audio|cannot read it")


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_truncated_wav(tmp_path, tone, kept):
    path = tmp_path / "song.wav"
    soundfile.write(path, tone, 44100)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    fails(path, "cut short")


def test_truncated_flac(tmp_path, tone):
    path = tmp_path / "song.flac"
    soundfile.write(path, np.tile(tone, (5, 1)), 44100)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    fails(path, "cut short|cannot be decoded")


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path, tone):
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone, 44100)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)  # as written by a program to a pipe
    path.write_bytes(data)
    assert read(path)[0].shape == tone.shape


def test_folder_and_missing_path(tmp_path):
    fails(tmp_path, "is a folder")
    fails(tmp_path / "nothing.wav", "no such file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_path(tmp_path, tone):
    path = tmp_path / "song.wav"
    soundfile.write(path, tone, 44100)
    path.chmod(0)
    fails(path, "cannot be read")


def test_unreadable_path_as_anyone(tmp_path, tone, monkeypatch):
    path = tmp_path / "song.wav"
    soundfile.write(path, tone, 44100)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    fails(path, "cannot be read")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, tone, value):
    tone[12345, 1] = value
    soundfile.write(tmp_path / "song.wav", tone, 44100, "FLOAT")
    fails(tmp_path / "song.wav", "NaN or infinite sample at 12345")


def test_more_than_two_channels(tmp_path):
    soundfile.write(tmp_path / "song.wav", np.zeros((100, 6)), 96000)
    fails(tmp_path / "song.wav", "6 channels.*-ac 2")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "song.wav", np.zeros((0, 2)), 44100)
    fails(tmp_path / "song.wav", "holds no samples")


def test_blocks_are_the_file(tmp_path, tone):
    long = np.tile(tone, (20, 1))
    soundfile.write(tmp_path / "song.wav", long, 44100, "FLOAT")
    with open_audio(tmp_path / "song.wav") as audio:
        blocks = list(audio.blocks())
    assert len(blocks) == 3
    assert np.array_equal(np.concatenate(blocks), long)


def test_resampling_in_blocks_is_resampling(tone):
    blocks = np.split(tone, [1, 1000, 1001, 25000])
    there = np.concatenate(list(resampled(blocks, 44100, 16000, 2)))
    assert abs(len(there) - len(tone) * 16000 / 44100) <= 1
    time = np.arange(len(there)) / 16000
    expected = 0.5 * np.sin(2 * np.pi * np.stack([440 * time, 660 * time], axis=1))
    assert np.abs(there - expected)[500:-500].max() < 1e-4
    assert all(a is b for a, b in zip(resampled(blocks, 44100, 44100, 2), blocks, strict=True))
