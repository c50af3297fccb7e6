"""Calls with something damaged in them: each kind makes a command line, and knows what may come of it."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import networks
import numpy as np
import soundfile
import torch

from kerasep.datasets import demo

from .damage import bytes_damaged, text_damaged

RATE = 44100
FORMATS = {
    **dict.fromkeys(("wav", "aiff", "au", "caf", "w64", "rf64", "voc", "nist", "avr", "flac"), "PCM_16"),
    "ogg": "VORBIS",
    "mp3": "MPEG_LAYER_III",
    "float.wav": "FLOAT",
    "ulaw.wav": "ULAW",
    "adpcm.wav": "MS_ADPCM",
}
ENCODED = ("m4a", "mkv", "mp4", "wma", "wv", "ac3", "avi")  # by ffmpeg, where it is installed


@cache
def songs(folder: Path) -> list[Path]:
    """The same quarter of a second in every format."""
    folder.mkdir(exist_ok=True)
    stems = dict(demo.render())
    mixture = np.sum([stem[: RATE // 4] for stem in stems.values()], axis=0) / 2
    for name, subtype in FORMATS.items():
        soundfile.write(folder / f"song.{name}", mixture, RATE, subtype, format=name.split(".")[-1].upper())
    if shutil.which("ffmpeg"):
        for name in ENCODED:
            command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", "song.wav", f"song.{name}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return sorted(folder.iterdir())


def audio(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A damaged song, and a good one that must not suffer from it."""
    song = chance.choice(songs(shared / "songs"))
    name = song.name if chance.random() < 0.8 else f"song.{chance.choice(('wav', 'mp3', 'flac', 'xyz', 'raw'))}"
    (folder / name).write_bytes(bytes_damaged(song.read_bytes(), chance))
    shutil.copy(shared / "songs" / "song.wav", folder / "good.wav")
    model = networks.artifact("thesis").path
    return ["separate", name, "good.wav", "-o", "out", "--model", str(model)]


def artifact(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A good song and a damaged model: its graph, or its manifest."""
    form = chance.choice(("onnx", "onnx", "tflite"))
    graph = chance.choice(("spectrogram", "waveform")) if form == "onnx" else "spectrogram"
    model = networks.artifact("thesis", form, graph=graph).path
    copy = folder / f"model.{form}"
    manifest = model.with_suffix(".json")
    copy.write_bytes(model.read_bytes())
    copy.with_suffix(".json").write_bytes(manifest.read_bytes())
    if chance.random() < 0.5:
        copy.write_bytes(bytes_damaged(copy.read_bytes(), chance))
    else:
        copy.with_suffix(".json").write_bytes(text_damaged(manifest.read_text(), chance))
    if chance.random() < 0.3:
        return ["info", copy.name]
    shutil.copy(songs(shared / "songs")[0].with_name("song.wav"), folder / "good.wav")
    return ["separate", "good.wav", "-o", "out", "--model", copy.name]


def scores(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A damaged folder of scores, reported or gone on with."""
    good = shared / "scores"
    shutil.copytree(good, folder / "scores")
    path = chance.choice(sorted(path for path in (folder / "scores").rglob("*.json")))
    path.write_bytes(text_damaged(path.read_text(encoding="utf-8"), chance))
    if chance.random() < 0.5:
        return ["report", "scores", "-o", "out"]
    return [*evaluating(shared / "data"), "-o", "scores", "--resume"]


def dataset(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A data set with one damaged, missing or foreign file."""
    shutil.copytree(shared / "data", folder / "data")
    path = chance.choice(sorted((folder / "data").rglob("*.wav")))
    match chance.randrange(4):
        case 0:
            path.unlink()
        case 1:
            path.unlink()
            path.symlink_to("nowhere")
        case 2:
            (path.parent.parent / f"._{path.parent.name}.stem.mp4").write_bytes(chance.randbytes(100))
        case _:
            path.write_bytes(bytes_damaged(path.read_bytes(), chance))
    return [*evaluating(folder / "data"), "-o", "out"]


def evaluating(root: Path) -> list[str]:
    return ["evaluate", "--mixture", "--metrics", "sdr", "--root", str(root)]


def run(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A damaged run, packed."""
    shutil.copytree(networks.run("thesis"), folder / "run")
    path = chance.choice(sorted(path for path in (folder / "run").iterdir() if path.is_file()))
    data = path.read_bytes()
    path.write_bytes(text_damaged(data.decode(), chance) if path.suffix == ".json" else bytes_damaged(data, chance))
    return ["pack", "run", "-o", "out/model.onnx"]


def checkpoint(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """Open-Unmix' weights, damaged."""
    path = folder / "vocals.pth"
    state = {f"fc{number}.weight": torch.rand(8, 4) for number in range(4)}
    torch.save(state, path, _use_new_zipfile_serialization=chance.random() < 0.7)
    path.write_bytes(bytes_damaged(path.read_bytes(), chance))
    return ["import", "openunmix", ".", "-o", "out/model.onnx"]


def recipe(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A recipe with a number that is none, too large, or of another kind."""
    key = chance.choice(
        ("batch", "seconds", "steps", "epochs", "rate", "hop", "spectrogram.hop", "spectrogram.fft", "seed", "x")
    )
    value = chance.choice(("NaN", "inf", "-1", "0", "1e999", "9" * 400, "null", "[]", '"x"', "", "true", "\x1b[31m", "1e-300"))
    root = str(shared / "data")
    return ["train", "--target", "vocals", "--root", root, "-o", "out", "--dry-run", "--set", "steps=1", f"{key}={value}"]


KINDS: dict[str, Callable[[random.Random, Path, Path], list[str]]] = {
    kind.__name__: kind for kind in (audio, artifact, scores, dataset, run, checkpoint, recipe)
}
QUICK = ("audio", "audio", "artifact", "scores", "dataset")  # those that need no TensorFlow


def prepare(shared: Path) -> None:
    """What all cases copy: a data set of two songs with something to test on, and its scores."""
    from kerasep.cli import main

    stems = dict(demo.render())
    for number, subset in enumerate(("test", "test", "train")):
        song = shared / "data" / subset / f"Song {number}"
        song.mkdir(parents=True)
        pieces = {name: stem[number * RATE :][: RATE + 4] for name, stem in stems.items()}
        for name, samples in {"mixture": np.sum(list(pieces.values()), axis=0), **pieces}.items():
            soundfile.write(song / f"{name}.wav", samples, RATE, "PCM_16")
    songs(shared / "songs")
    for made in ("onnx", "tflite"):
        networks.artifact("thesis", made)
    networks.artifact("thesis", graph="waveform")
    if main([*evaluating(shared / "data"), "-o", str(shared / "scores")]):
        raise RuntimeError("the campaign's own scores failed")
    assert json.loads((shared / "scores" / "summary.json").read_text())
