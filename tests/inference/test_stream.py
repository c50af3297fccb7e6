"""Step graphs and the stream around them: hop by hop the same as the whole song at once, no later than they say."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from conftest import agreement, disturb
from hypothesis import given
from hypothesis import strategies as st

from export.options import ExportOptions
from export.pipeline import export
from kerasep.cli import main
from kerasep.conversion.freeze import freeze
from kerasep.conversion.pack import pack
from kerasep.errors import KerasepError, UsageError
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.inference.stream import StreamSeparator
from kerasep.inference.usage import usage
from kerasep.models import build, receptive_field_of
from kerasep.signal.stft import Analysis, Spectrogram, stft
from kerasep.training.recipe import Recipe

STEREO = Spectrogram(fft=256, hop=64)
CONV = {"vertical": 6, "horizontal": 5, "hidden": 8}
BANDS = {"layout": [[1, 1], [1, 2], [1, 4]], "size": 12, "blocks": 2}
NETWORKS = {
    "valid": ("conv", CONV | {"padding": "valid"}, 14),
    "same": ("conv", CONV | {"padding": "same", "standardise": True, "batch_norm": True}, 14),
    "causal": ("conv", CONV | {"padding": "causal", "batch_norm": True}, 0),
    "power": ("conv", CONV | {"padding": "same", "standardise": True, "power": 0.5}, 14),
    "openunmix": ("openunmix", {"hidden": 12, "bidirectional": False}, 0),
    "bands": ("bands", BANDS | {"ahead": 3}, 3),
    "bands-causal": ("bands", BANDS | {"ahead": 0}, 0),
}


def a_run(folder: Path, network: str, options: dict, spectrogram: Spectrogram = STEREO) -> Path:
    """Two targets with weights that matter everywhere."""
    keras.utils.set_random_seed(1)
    targets = ("vocals", "drums")
    model = disturb(build(network, spectrogram, options, targets))
    recipe = Recipe(network, network, options, spectrogram)
    Imported(model, recipe, targets, {"mask": "ratio", "licence": "tests"}).write_run(folder)
    return folder


@pytest.fixture(scope="module", params=list(NETWORKS))
def pair(request, tmp_path_factory) -> tuple[Artifact, Artifact]:
    """The same network for whole songs and step by step."""
    network, options, _ = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    run = a_run(folder / "run", network, options)
    pack([run], folder / "whole.onnx")
    (step,) = export([run], folder, ExportOptions(name=request.param, graph="step"))
    return Artifact(folder / "whole.onnx"), Artifact(step)


def sound(samples: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def streamed(stream: StreamSeparator, audio: np.ndarray, hop: int) -> dict[str, np.ndarray]:
    pieces = [stream.push(audio[start : start + hop]) for start in range(0, len(audio), hop)] + [stream.finish()]
    return {target: np.concatenate([piece[target] for piece in pieces]) for target in stream.targets}


@pytest.mark.parametrize("samples", [1, 500, 2000, 20_000])
def test_a_stream_is_the_whole_song(pair, samples):
    whole, step = pair
    audio = sound(samples)
    expected = open_separator(whole)(audio, 44100)
    for target, stem in streamed(StreamSeparator(step), audio, 64).items():
        assert stem.shape == audio.shape
        assert agreement(expected[target], stem) > 100


def test_the_manifest_says_how_far_it_looks_ahead(pair):
    _, step = pair
    network, options, ahead = NETWORKS[step.manifest.name]
    assert step.manifest.look_ahead_frames == receptive_field_of(network, options).look_ahead == ahead
    assert step.manifest.details["parity"]["max_relative_error"] <= 1e-5
    assert ("present" in step.runtime.inputs) == bool(ahead)


def test_no_stem_comes_later_than_the_stream_says_and_hardly_one_sooner(pair):
    stream, hop = StreamSeparator(pair[1]), 64
    late = []
    for start in range(0, 8000, hop):
        stream.push(sound(8000)[start : start + hop])
        late.append(stream.given - stream.taken)
    assert stream.latency - 2 * hop <= max(late) <= stream.latency - hop  # it hears a hop at its end


def test_each_hop_brings_a_hop_once_the_first_are_there(pair):
    stream = StreamSeparator(pair[1])
    lengths = [len(stream.push(piece)["vocals"]) for piece in np.split(sound(64 * 60), 60)]
    first = lengths.index(64)
    assert not any(lengths[:first]) and set(lengths[first:]) == {64}


@given(cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_pieces_of_any_length(causal, cuts):
    audio = sound(3000)
    expected = streamed(StreamSeparator(causal), audio, 64)
    stream = StreamSeparator(causal)
    pieces = [stream.push(piece) for piece in np.split(audio, sorted(cuts))] + [stream.finish()]
    for target, stem in expected.items():
        assert np.array_equal(np.concatenate([piece[target] for piece in pieces]), stem)


@pytest.fixture(scope="module")
def causal(tmp_path_factory) -> Artifact:
    network, options, _ = NETWORKS["causal"]
    folder = tmp_path_factory.mktemp("causal")
    return Artifact(next(export([a_run(folder / "run", network, options)], folder, ExportOptions(graph="step"))))


def test_a_reader_of_the_usage_gets_the_same_estimates(pair):
    """What it says in words is enough: states by their names, how many outputs to drop, and what ends a song."""
    whole, step = pair
    said = usage(step.manifest)
    magnitudes = np.random.default_rng(0).exponential(size=(40, STEREO.bins, 2)).astype(np.float32)
    assert (
        "Start with zeros in every state; what comes out as STATE_next goes in as STATE with the next frame." in said["frames"]
    )
    given = {name: np.zeros(tensor["shape"], np.float32) for name, tensor in said["inputs"].items()}
    assert set(said["outputs"]) == {
        "vocals",
        "drums",
        *(f"{name}_next" for name in given if name not in ("mixture", "present")),
    }
    ahead = re.search(r"belongs to the frame (\d+) frames before: drop the first \1 outputs", said["frames"])
    late = int(ahead[1]) if ahead else 0
    if not ahead:
        assert "What comes out belongs to the frame that went in." in said["frames"]
    masks = []
    for number in range(40 + late):
        given["mixture"] = magnitudes[number][None, None] if number < 40 else np.zeros_like(magnitudes[0])[None, None]
        if "present" in given:
            given["present"][:] = number < 40
        made = step.runtime.run(given)
        given |= {name.removesuffix("_next"): state for name, state in made.items() if name.endswith("_next")}
        masks.append(made["vocals"][0, 0])
    assert "Each target's output times mixture of the frame it belongs to is its estimate" in said["take"]
    expected = whole.estimate(magnitudes)["vocals"]
    assert np.abs(np.stack(masks[late:]) * magnitudes - expected).max() <= 1e-5 * expected.max()


def test_the_name_says_step(causal):
    assert causal.path.name == "conv-step.onnx"


def test_a_causal_network_hears_nothing_of_what_comes(causal):
    audio = sound(6000)
    other = audio.copy()
    other[3000:] = sound(3000)[::-1]
    first, second = (streamed(StreamSeparator(causal), heard, 64)["vocals"] for heard in (audio, other))
    assert np.array_equal(first[: 3000 - 256], second[: 3000 - 256])
    assert not np.array_equal(first[3000:], second[3000:])


def test_as_onnx_so_as_tflite(tmp_path):
    run = a_run(tmp_path / "run", *NETWORKS["same"][:2])
    one, other = (Artifact(path) for path in export([run], tmp_path, ExportOptions(formats=["onnx", "tflite"], graph="step")))
    assert other.path.name == "conv-step.tflite"
    audio = sound(5000)
    expected = streamed(StreamSeparator(one), audio, 64)
    for target, stem in streamed(StreamSeparator(other), audio, 64).items():
        assert agreement(expected[target], stem) > 100


def test_a_step_graph_separates_whole_songs_too(pair):
    """Block by block, which only a recurrent network hears: it starts each of them from nothing."""
    whole, step = pair
    audio = sound(64 * 900)
    expected = open_separator(whole)(audio, 44100)
    for target, stem in open_separator(step)(audio, 44100).items():
        assert agreement(expected[target], stem) > (60 if step.manifest.name == "openunmix" else 100)


def test_spectra_of_a_stream_are_those_of_the_whole():
    for padding in ("reflect", "zeros", "window"):
        spectrogram = Spectrogram(fft=64, hop=16, padding=padding)
        analysis = Analysis(spectrogram, frames=1)
        frames = [frame for piece in np.array_split(sound(1000), 37) for frame in analysis.push(piece)] + [*analysis.finish()]
        assert np.array_equal(np.concatenate(frames), stft(sound(1000), spectrogram))


def test_files_hop_by_hop_from_the_command_line(causal, tmp_path, capsys):
    """At a rate of its own and in mono: the stream adapts both, as separating does."""
    path = tmp_path / "song.wav"
    soundfile.write(path, sound(30_000, 1), 48000, "FLOAT")
    model = ["--model", str(causal.path), "--float32"]
    assert main(["separate", str(path), *model, "--stream", "-o", str(tmp_path / "stream")]) == 0
    assert "kerasep: latency 6 ms" in capsys.readouterr().err
    assert main(["separate", str(path), *model, "-o", str(tmp_path / "whole")]) == 0
    for target in ("vocals", "drums"):
        whole, stream = (soundfile.read(tmp_path / folder / "song" / f"{target}.wav")[0] for folder in ("whole", "stream"))
        assert stream.shape == (30_000,) and agreement(whole, stream) > 60


def test_two_files_are_two_streams(causal, tmp_path):
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", sound(9000), 44100, "FLOAT")
    files = [str(tmp_path / f"{name}.wav") for name in ("one", "two")]
    assert main(["separate", *files, "--model", str(causal.path), "--float32", "--stream", "-o", str(tmp_path / "out")]) == 0
    one, two = (soundfile.read(tmp_path / "out" / name / "vocals.wav")[0] for name in ("one", "two"))
    assert np.array_equal(one, two)


def test_refusals(packed, runs, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"small\.onnx: takes whole spectrograms, and a stream needs a step graph: export one"):
        StreamSeparator(Artifact(packed))
    soundfile.write(tmp_path / "song.wav", sound(9000), 44100)
    call = ["separate", str(tmp_path / "song.wav"), "--model", str(packed), "--stream", "-o", str(tmp_path / "out")]
    assert main(call) == 2 and main([*call, "--wiener", "1"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "needs a step graph" in said[0] and "has no Wiener filter" in said[1]
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="takes one frame of one song: leave --frames and --batch out"):
        next(export([*runs.values()], tmp_path / "files", ExportOptions(graph="step", frames=100)))
    with pytest.raises(UsageError, match="unknown graph 'stream': choose from spectrogram, step"):
        next(export([*runs.values()], tmp_path / "files", ExportOptions(graph="stream")))
    with pytest.raises(UsageError, match="int8: a step graph is exported in float32 or float16"):
        next(export([*runs.values()], tmp_path / "files", ExportOptions(graph="step", precisions=["int8"], root=tmp_path)))


@pytest.mark.parametrize(
    ("network", "options", "reason"),
    [
        ("openunmix", {"hidden": 12}, "its LSTM also runs backwards"),
        ("spleeter", {"filters": [2, 3], "bins": 64, "frames": 32}, "it takes windows of frames: it cannot be streamed"),
    ],
)
def test_what_cannot_be_streamed(network, options, reason, tmp_path):
    run = a_run(tmp_path / "run", network, options)
    with pytest.raises(KerasepError, match=f"run: {reason}") as caught:
        freeze([run], "x", step=True)
    assert "\n" not in str(caught.value)


def test_networks_that_look_ahead_differently_do_not_share_a_stream(tmp_path):
    runs = []
    for target, padding in (("vocals", "same"), ("drums", "causal")):
        model = build("conv", STEREO, CONV | {"padding": padding}, (target,))
        recipe = Recipe("conv", "conv", CONV | {"padding": padding}, STEREO)
        Imported(model, recipe, (target,), {}).write_run(tmp_path / target)
        runs.append(tmp_path / target)
    with pytest.raises(KerasepError, match=r"drums: looks 0 frames ahead and .*vocals 14: export it on its own"):
        freeze(runs, "x", step=True)


def test_the_wrong_channels(causal):
    with pytest.raises(KerasepError, match=r"the stream takes \(samples, 2\), not \(64, 1\)"):
        StreamSeparator(causal).push(sound(64, 1))


def test_memory_does_not_grow(causal):
    """In a process of its own: a minute of hops after the first seconds takes less than a megabyte more."""
    code = (
        "import resource, sys\nimport numpy as np\nfrom kerasep.inference.artifact import Artifact\n"
        "from kerasep.inference.stream import StreamSeparator\n"
        "stream = StreamSeparator(Artifact(sys.argv[1], threads=1))\nsound = np.ones((64, 2), np.float32)\n"
        "for _ in range(2000): stream.push(sound)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(12000): stream.push(sound)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(causal.path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1024
