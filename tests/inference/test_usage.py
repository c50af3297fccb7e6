"""A manifest's `usage`: enough for a reader who has the file, NumPy and ONNX Runtime, and never heard of kerasep."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import agreement

from kerasep import hub
from kerasep.cli import main
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.inference.runtime import KEY
from kerasep.inference.usage import usage

# What such a reader would write. All numbers are from `usage`, its sentences and shapes, none from the rest of the manifest.
READER = r'''
import json, re, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kerasep", "export", "scipy", "soxr", "tensorflow", "keras", "onnx"):
            raise AssertionError(f"a reader does not have {name}")

sys.meta_path.insert(0, Refuse())
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("separator.onnx", providers=["CPUExecutionProvider"])
usage = json.loads(session.get_modelmeta().custom_metadata_map["kerasep"])["usage"]
text = usage.get("text", usage)  # files of version 1 of the format have the sentences alone
signal = np.load("audio.npy")
((given, tensor),) = usage["inputs"].items()
batch, window, bins, channels = tensor["shape"]

# feed
feed = text["feed"]
if "the mean of all channels" in feed:
    signal = signal.mean(axis=1, keepdims=True)
start, end, edges = re.search(r"Put (\d+) samples before the signal and (\d+) after it: (.*?)\. Frame", feed).groups()
hop, last = map(int, re.search(r"Frame t is samples (\d+) t to \1 t \+ (\d+) of that", feed).groups())
fft = int(re.search(r"its (\d+)-point transform", feed)[1])
assert last == fft - 1 and bins == fft // 2 + 1 and f"bins 0 to {fft // 2}" in feed
n, shape = np.arange(fft), 0
formula = re.search(r"w\(n\) = (.*?);", feed)[1]
for sign, factor, turns, length in re.findall(r"([+-]?) ?([\d.]+)(?: cos\((\d+) pi n / (\d+)\))?", formula):
    term = float(factor) * (np.cos(int(turns) * np.pi * n / int(length)) if turns else 1)
    shape = shape - term if sign == "-" else shape + term
ends = ((int(start), int(end)), (0, 0))
if edges == "its reflection, without repeating the first and the last sample":
    padded = np.pad(signal.astype(np.float64), ends, mode="reflect")
else:
    assert edges == "zeros"
    padded = np.pad(signal.astype(np.float64), ends)
frames = 1 + (len(padded) - fft) // hop
spectrum = np.stack([np.fft.rfft(shape[:, None] * padded[t * hop : t * hop + fft], axis=0) for t in range(frames)])
magnitudes = np.abs(spectrum).astype(np.float32)
names = list(usage["outputs"])

def estimates(windows):
    """Of as many windows as there are: (windows, frames, bins, channels) each."""
    if batch == "batch":
        return dict(zip(names, session.run(names, {given: windows})))
    parts = []
    for first in range(0, len(windows), batch):
        part = windows[first : first + batch]
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.float32)])
        parts.append([output[: len(part)] for output in session.run(names, {given: filled})])
    return {name: np.concatenate(outputs) for name, *outputs in zip(names, *parts)}

# frames
if window == "frames":
    least = re.search(r"At least (\d+): fill up with zeros after the last", text["frames"])
    context = int(re.search(r"(\d+) frames to either side", text["frames"])[1])
    least, block, whole = int(least[1]) if least else 1, 170, {name: [] for name in names}
    for first in range(0, frames, block):
        begin, stop = max(0, first - context), min(frames, first + block + context)
        part = magnitudes[begin:stop]
        part = np.concatenate([part, np.zeros((max(0, least - len(part)), bins, channels), np.float32)])
        for name, output in estimates(part[None]).items():
            whole[name].append(output[0, first - begin : min(frames, first + block) - begin])
    whole = {name: np.concatenate(parts) for name, parts in whole.items()}
else:
    size, step = map(int, re.search(r"Exactly (\d+) frames: cut .* windows (\d+) frames apart", text["frames"]).groups())
    assert size == window
    firsts = [0]
    while firsts[-1] + size < frames:
        firsts.append(firsts[-1] + step)
    filled = np.concatenate([magnitudes, np.zeros((firsts[-1] + size - frames, bins, channels), np.float32)])
    margin = re.search(r"drop the first and last (\d+) estimates, but keep those of the song's own ends", text["frames"])
    overlap = re.search(r"over the (\d+) frames that a window shares with what is there", text["frames"])
    whole = {}
    for name, outputs in estimates(np.stack([filled[first : first + size] for first in firsts])).items():
        result = whole[name] = np.zeros_like(filled)
        for first, output in zip(firsts, outputs):
            if margin:
                low = int(margin[1]) if first else 0
                high = size - int(margin[1]) if first != firsts[-1] else size
                result[first + low : first + high] = output[low:high]
            elif overlap and first:
                shared = int(overlap[1])
                share = (np.arange(shared) / (shared - 1))[:, None, None]
                there = result[first : first + shared]
                result[first : first + shared] = share * output[:shared] + (1 - share) * there
                result[first + shared : first + size] = output[shared:]
            else:
                result[first : first + size] = output
        whole[name] = result[:frames]

# take
take = text["take"]
ratio = re.search(r"its estimate(?: \*\* ([\d.]+))? over the sum of all targets'(?: \*\* \1)? \((\S+) where that is 0\)", take)
if ratio:
    power = float(ratio[1] or 1)
    nothing = {"0": 0, f"1/{len(names)}": 1 / len(names)}[ratio[2]]
    powers = {name: whole[name].astype(np.float64) ** power for name in names}
    total = sum(powers.values())
    there = total > 0
    gains = {name: np.where(there, powers[name] / np.where(there, total, 1), nothing) for name in names}
elif "1 where its estimate is the largest, of equals the first output's alone, else 0" in take:
    largest = np.argmax([whole[name] for name in names], axis=0)
    gains = {name: (largest == number) * 1.0 for number, name in enumerate(names)}
else:
    assert "its estimate over the mixture's magnitude (0 where that is 0)" in take
    there = magnitudes > 0
    gains = {name: np.where(there, whole[name] / np.where(there, magnitudes, 1), 0) for name in names}
assert f"add frames up {hop} samples apart" in take and f"drop the first {start} samples" in take
for name in names:
    sums, weights = np.zeros_like(padded), np.zeros_like(padded)
    for t, frame in enumerate(np.fft.irfft(spectrum * gains[name], n=fft, axis=1)):
        sums[t * hop : t * hop + fft] += shape[:, None] * frame
        weights[t * hop : t * hop + fft] += shape[:, None] ** 2
    np.save(f"{name}.npy", (sums / np.maximum(weights, 1e-30))[int(start) : int(start) + len(signal)])
assert not {"kerasep", "scipy", "tensorflow", "keras", "onnx"} & {name.split(".")[0] for name in sys.modules}
'''

# Masks, windows and transforms of every kind; and what is read by whoever takes what the project ships.
NAMES = ("thesis", "alone", "binary", "windows", "half-overlap", "unet", "narrow", "forward-biased", "same")


ALIKE = {"narrow", "forward-biased"}  # a bundled network is of their kind


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in (*NAMES, "fixed", *hub.BUNDLED)]
)
def artifact(request) -> Artifact:
    if request.param in hub.BUNDLED:
        return hub.load(request.param)
    if request.param == "fixed":
        return networks.artifact("thesis", frames=100, batch=3)
    return networks.artifact(request.param)


def as_a_reader(path: Path, audio: np.ndarray, targets: tuple[str, ...], folder: Path) -> dict[str, np.ndarray]:
    """Stems, from a process in a folder that holds the file and the sound, and nothing else."""
    (folder / "separator.onnx").write_bytes(path.read_bytes())
    np.save(folder / "audio.npy", audio)
    (folder / "reader.py").write_text(READER)
    subprocess.run([sys.executable, "-I", "reader.py"], check=True, cwd=folder)
    return {target: np.load(folder / f"{target}.npy") for target in targets}


@pytest.mark.parametrize("length", ["a second or more", "a few frames"])
def test_a_reader_gets_the_same_stems(artifact, mixture, tmp_path, length):
    manifest = artifact.manifest
    spectrogram = manifest.graph.spectrogram
    margin = manifest.graph.windows.margin if manifest.graph.windows else 0
    samples = spectrogram.fft + 300 if length == "a few frames" else 3 * 44100 if spectrogram.fft == 4096 else 40_000
    audio = mixture[30_000:][:samples, : spectrogram.channels]
    if length != "a few frames":  # silence too, where gains are nothing over nothing
        audio = np.concatenate([np.zeros((3000, audio.shape[1]), np.float32), audio])
    stems = as_a_reader(artifact.path, audio, manifest.targets, tmp_path)
    # Frames that so many filled-up ones follow as the network reaches depend on their number, which is another in blocks.
    end = margin * spectrogram.hop + spectrogram.fft if margin else 0
    least = 100 if manifest.graph.blocks.exact else 60  # an LSTM remembers more than the context that it is given
    for target, stem in open_separator(artifact, wiener=0)(audio, spectrogram.rate).items():
        assert stem.shape == stems[target].shape and np.abs(stem).max() > 1e-4
        kept = slice(0, max(len(stem) - end, 0))
        assert agreement(stem[kept], stems[target][kept]) >= least


def test_names_and_shapes_are_the_graphs(artifact, capsys):
    session, manifest = artifact.runtime.session, artifact.manifest
    said = usage(manifest)
    for tensors, known in ((session.get_inputs(), said["inputs"]), (session.get_outputs(), said["outputs"])):
        assert {tensor.name: (tensor.type, tensor.shape) for tensor in tensors} == {
            name: (f"tensor({tensor['type'].removesuffix('32')})", tensor["shape"]) for name, tensor in known.items()
        }
    embedded = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    assert embedded["format"] == 1 or embedded["usage"] == said  # the bundled files are of version 1
    assert main(["info", str(artifact.path)]) == 0
    assert json.loads(capsys.readouterr().out)["usage"] == said
    beside = artifact.path.with_suffix(".json")
    assert embedded["format"] == 1 or not beside.exists() or json.loads(beside.read_text())["usage"] == said


def test_what_it_cannot_say_it_names():
    """A Wiener filter takes more than a sentence, so a reader is told that there is one, or nothing at all."""
    manifest = hub.load("conv").manifest

    def take(wiener: int) -> str:
        masking = replace(manifest.graph.masking, wiener=wiener)
        return usage(replace(manifest, graph=replace(manifest.graph, masking=masking)))["text"]["take"]

    assert "2 iteration(s) of a Wiener filter" in take(2)
    assert "Wiener" not in take(0)


def test_the_words_are_made_of_the_values(artifact):
    """Every number that a program reads stands in the explanation, too."""
    said = usage(artifact.manifest)
    words = " ".join(said["text"].values())
    numbers = [said["transform"][name] for name in ("rate", "fft", "hop", "before", "after")]
    numbers += [value for name, value in said["frames"].items() if name in ("window", "stride", "context", "margin") and value]
    for number in numbers:
        assert str(number) in words
