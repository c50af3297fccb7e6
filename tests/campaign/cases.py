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
from golden_files import openunmix_states

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
    """Open-Unmix' weights, with one damaged file among them."""
    import torch

    shutil.copytree(shared / "umx", folder / "umx")
    path = chance.choice(sorted((folder / "umx").iterdir()))
    if path.suffix == ".json":
        path.write_bytes(text_damaged(path.read_text(), chance))
    else:
        if chance.random() < 0.3:  # PyTorch's format of 2019
            torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
        path.write_bytes(bytes_damaged(path.read_bytes(), chance))
    return ["import", "openunmix", "umx", "-o", "out/model.onnx", "--keras"]


def recipe(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A recipe with a number that is none, too large, or of another kind."""
    key = chance.choice(
        ("batch", "seconds", "steps", "epochs", "rate", "hop", "spectrogram.hop", "spectrogram.fft", "seed", "x")
    )
    value = chance.choice(("NaN", "inf", "-1", "0", "1e999", "9" * 400, "null", "[]", '"x"', "", "true", "\x1b[31m", "1e-300"))
    root = str(shared / "data")
    return ["train", "--target", "vocals", "--root", root, "-o", "out", "--dry-run", "--set", f"{key}={value}"]


def disk(chance: random.Random, folder: Path, shared: Path) -> list[str]:
    """A disk that is full before all is written. Only root may mount one; the worker takes it away."""
    (folder / "out").mkdir()
    size = f"size={chance.choice((4, 20, 60, 100, 150, 400))}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", "out"], cwd=folder, check=True)
    model, song = str(networks.artifact("thesis").path), str(shared / "songs" / "song.wav")
    return chance.choice(
        (
            ["separate", song, "-o", "out", "--model", model, "--format", chance.choice(("wav", "flac"))],
            ["separate", song, "-o", "out", "--model", model, "--float32"],
            [*evaluating(shared / "data"), "-o", "out"],
            ["report", str(shared / "scores"), "-o", "out"],
            ["demo", "--model", model, "-o", "out"],
            ["pack", str(networks.run("thesis")), "-o", "out/model.onnx"],
        )
    )


KINDS: dict[str, Callable[[random.Random, Path, Path], list[str]]] = {
    kind.__name__: kind for kind in (audio, artifact, scores, dataset, run, checkpoint, recipe, disk)
}


def prepare(shared: Path) -> None:
    """What all cases share: songs, a data set of two songs to test on, its scores, one to train on, and models."""
    import torch

    from kerasep.cli import main

    stems = dict(demo.render())
    names = ("data/test/One", "data/test/Two", "data/train/Three")
    training = ("training/train/One", "training/train/Two", "training/train/ANiMAL - Rockshow")
    for number, name in enumerate((*names, *training)):
        folder = shared / name
        folder.mkdir(parents=True)
        pieces = {source: stem[number * RATE :][: RATE + 4] for source, stem in stems.items()}
        for source, samples in {"mixture": np.sum(list(pieces.values()), axis=0), **pieces}.items():
            soundfile.write(folder / f"{source}.wav", samples, RATE, "PCM_16")
    songs(shared / "songs")
    (shared / "long").mkdir()
    for number in range(4):
        soundfile.write(shared / "long" / f"{number}.wav", np.tile(stems["drums"], (6, 1))[number:], RATE)
    for made in ("onnx", "tflite"):
        networks.artifact("thesis", made)
    networks.artifact("thesis", graph="waveform")
    networks.run("thesis")
    (shared / "umx").mkdir()
    for target, state in openunmix_states().items():
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in state.items()}
        torch.save(tensors, shared / "umx" / f"{target}.pth")
    sizes = {"nfft": 256, "nhop": 64, "sample_rate": 8000, "nb_channels": 2}
    (shared / "umx" / "separator.json").write_text(json.dumps(sizes))
    model = str(networks.artifact("thesis").path)
    earlier = [str(shared / "earlier.wav"), "-o", str(shared / "earlier"), "--model", model]
    shutil.copy(shared / "songs" / "song.wav", shared / "earlier.wav")
    if main([*evaluating(shared / "data"), "-o", str(shared / "scores")]) or main(["separate", *earlier]):
        raise RuntimeError("the campaign's own scores or stems failed")
    for number in range(4):
        shutil.copytree(shared / "earlier" / "earlier", shared / "earlier" / str(number))
    shutil.rmtree(shared / "earlier" / "earlier")
