"""Step graphs and the stream around them: hop by hop the same as the whole song at once, no later than they say."""

import re
import subprocess
import sys

import networks
import numpy as np
import pytest
import soundfile
from conftest import agreement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import noise

from export.options import ExportOptions
from export.pipeline import export
from kerasep.cli import main
from kerasep.conversion.freeze import freeze_step
from kerasep.errors import KerasepError, UsageError
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.inference.stream import StreamSeparator
from kerasep.inference.usage import usage
from kerasep.models import build, receptive_field_of
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import Analysis, stft
from kerasep.training.recipe import Recipe

AHEAD = {"valid": 14, "same": 14, "causal": 0, "power": 14, "forward": 0, "bands-ahead": 3, "bands-causal": 0}


ALIKE = {"same", "power", "forward", "bands-causal"}  # what they have, another has


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in AHEAD])
def name(request) -> str:
    return request.param


@pytest.fixture
def pair(name) -> tuple[Artifact, Artifact]:
    """The same network for whole songs and step by step."""
    return networks.artifact(name), networks.artifact(name, graph="step")


@pytest.fixture
def causal() -> Artifact:
    return networks.artifact("causal", graph="step")


def streamed(stream: StreamSeparator, audio: np.ndarray, hop: int) -> dict[str, np.ndarray]:
    pieces = [stream.push(audio[start : start + hop]) for start in range(0, len(audio), hop)] + [stream.finish()]
    return {target: np.concatenate([piece[target] for piece in pieces]) for target in stream.targets}


@pytest.mark.parametrize("samples", [1, 500, 2000, 20_000])
def test_a_stream_is_the_whole_song(pair, samples):
    whole, step = pair
    audio = noise(samples)
    expected = open_separator(whole)(audio, 44100)
    for target, stem in streamed(StreamSeparator(step), audio, 64).items():
        assert stem.shape == audio.shape
        assert agreement(expected[target], stem) > 100


def test_the_manifest_says_how_far_it_looks_ahead(name, pair):
    _, step = pair
    small = networks.NETWORKS[name]
    assert step.manifest.graph.look_ahead == receptive_field_of(small.network, small.options).look_ahead == AHEAD[name]
    assert ("present" in step.runtime.inputs) == bool(AHEAD[name])


def test_a_step_graph_is_equal_to_keras(name, pair):
    magnitudes = np.random.default_rng(0).exponential(size=(40, networks.STEREO.bins, 2)).astype(np.float32)
    expected = networks.frozen(name).estimate(magnitudes)
    for target, estimate in pair[1].estimate(magnitudes).items():
        assert np.abs(estimate - expected[target]).max() <= 1e-5 * expected[target].max()


def test_no_stem_comes_later_than_the_stream_says_and_hardly_one_sooner(pair):
    stream, hop = StreamSeparator(pair[1]), 64
    late = []
    for start in range(0, 8000, hop):
        stream.push(noise(8000)[start : start + hop])
        late.append(stream.given - stream.taken)
    assert stream.latency - 2 * hop <= max(late) <= stream.latency - hop  # it hears a hop at its end


def test_each_hop_brings_a_hop_once_the_first_are_there(pair):
    stream = StreamSeparator(pair[1])
    lengths = [len(stream.push(piece)["vocals"]) for piece in np.split(noise(64 * 60), 60)]
    first = lengths.index(64)
    assert not any(lengths[:first]) and set(lengths[first:]) == {64}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_pieces_of_any_length(causal, cuts):
    audio = noise(3000)
    expected = streamed(StreamSeparator(causal), audio, 64)
    stream = StreamSeparator(causal)
    pieces = [stream.push(piece) for piece in np.split(audio, sorted(cuts))] + [stream.finish()]
    for target, stem in expected.items():
        assert np.array_equal(np.concatenate([piece[target] for piece in pieces]), stem)


def test_a_reader_of_the_usage_gets_the_same_estimates(pair):
    """What it says in words is enough: states by their names, how many outputs to drop, and what ends a song."""
    whole, step = pair
    said = usage(step.manifest)
    text = said["text"]
    magnitudes = np.random.default_rng(0).exponential(size=(40, networks.STEREO.bins, 2)).astype(np.float32)
    assert (
        "Start with zeros in every state; what comes out as STATE_next goes in as STATE with the next frame." in text["frames"]
    )
    given = {name: np.zeros(tensor["shape"], np.float32) for name, tensor in said["inputs"].items()}
    assert set(said["outputs"]) == {
        "vocals",
        "drums",
        *(f"{name}_next" for name in given if name not in ("mixture", "present")),
    }
    ahead = re.search(r"belongs to the frame (\d+) frames before: drop the first \1 outputs", text["frames"])
    late = int(ahead[1]) if ahead else 0
    if not ahead:
        assert "What comes out belongs to the frame that went in." in text["frames"]
    estimates = []
    for number in range(40 + late):
        given["mixture"] = magnitudes[number][None, None] if number < 40 else np.zeros_like(magnitudes[0])[None, None]
        if "present" in given:
            given["present"][:] = number < 40
        made = step.runtime.run(given)
        given |= {name.removesuffix("_next"): state for name, state in made.items() if name.endswith("_next")}
        estimates.append(made["vocals"][0, 0])
    assert "Each output is a target's magnitudes" in text["take"]
    expected = whole.estimate(magnitudes)["vocals"]
    assert np.abs(np.stack(estimates[late:]) - expected).max() <= 1e-5 * expected.max()


def test_a_causal_network_hears_nothing_of_what_comes(causal):
    audio = noise(6000)
    other = audio.copy()
    other[3000:] = noise(3000)[::-1]
    first, second = (streamed(StreamSeparator(causal), heard, 64)["vocals"] for heard in (audio, other))
    assert np.array_equal(first[: 3000 - 256], second[: 3000 - 256])
    assert not np.array_equal(first[3000:], second[3000:])


@pytest.mark.usefixtures("excerpt")
@pytest.mark.slow
def test_exported_as_onnx_and_as_tflite(tmp_path):
    options = ExportOptions(formats=("onnx", "tflite"), graph="step")
    one, other = (Artifact(path) for path in export([networks.run("same")], tmp_path, options))
    assert (one.path.name, other.path.name) == ("conv-step.onnx", "conv-step.tflite")
    assert all(file.manifest.details["parity"]["max_relative_error"] <= 1e-5 for file in (one, other))
    audio = noise(5000)
    expected = streamed(StreamSeparator(one), audio, 64)
    for target, stem in streamed(StreamSeparator(other), audio, 64).items():
        assert agreement(expected[target], stem) > 100


def test_a_step_graph_separates_whole_songs_too(pair):
    """The other graph takes blocks with their context, which a recurrent network remembers more than."""
    whole, step = pair
    audio = noise(64 * 900)
    expected = open_separator(whole)(audio, 44100)
    for target, stem in open_separator(step)(audio, 44100).items():
        assert agreement(expected[target], stem) > (100 if whole.manifest.graph.blocks.exact else 60)


def test_spectra_of_a_stream_are_those_of_the_whole():
    for padding in ("reflect", "zeros", "window"):
        spectrogram = Spectrogram(fft=64, hop=16, padding=padding)
        analysis = Analysis(spectrogram, frames=1)
        frames = [frame for piece in np.array_split(noise(1000), 37) for frame in analysis.push(piece)] + [*analysis.finish()]
        assert np.array_equal(np.concatenate(frames), stft(noise(1000), spectrogram))


def test_files_hop_by_hop_from_the_command_line(causal, tmp_path, capsys):
    """At a rate of its own and in mono: the stream adapts both, as separating does."""
    path = tmp_path / "song.wav"
    soundfile.write(path, noise(30_000, 1), 48000, "FLOAT")
    model = ["--model", str(causal.path), "--float32"]
    assert main(["separate", str(path), *model, "--stream", "-o", str(tmp_path / "stream")]) == 0
    assert "kerasep: latency 6 ms" in capsys.readouterr().err
    assert main(["separate", str(path), *model, "-o", str(tmp_path / "whole")]) == 0
    for target in ("vocals", "drums"):
        whole, stream = (soundfile.read(tmp_path / folder / "song" / f"{target}.wav")[0] for folder in ("whole", "stream"))
        assert stream.shape == (30_000,) and agreement(whole, stream) > 60


def test_two_files_are_two_streams(causal, tmp_path):
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", noise(9000), 44100, "FLOAT")
    files = [str(tmp_path / f"{name}.wav") for name in ("one", "two")]
    assert main(["separate", *files, "--model", str(causal.path), "--float32", "--stream", "-o", str(tmp_path / "out")]) == 0
    one, two = (soundfile.read(tmp_path / "out" / name / "vocals.wav")[0] for name in ("one", "two"))
    assert np.array_equal(one, two)


def test_refusals(packed, runs, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"small\.onnx: takes whole spectrograms, and a stream needs a step graph: export one"):
        StreamSeparator(Artifact(packed))
    soundfile.write(tmp_path / "song.wav", noise(9000), 44100)
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
        next(export([*runs.values()], tmp_path / "files", ExportOptions(graph="step", precisions=("int8",), root=tmp_path)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("openunmix", "its LSTM also runs backwards"), ("unet", "it takes windows of frames: it cannot be streamed")],
)
def test_what_cannot_be_streamed(name, reason):
    with pytest.raises(KerasepError, match=f"{name}: {reason}") as caught:
        freeze_step([networks.run(name)], "x")
    assert "\n" not in str(caught.value)


def test_networks_that_look_ahead_differently_do_not_share_a_stream(tmp_path):
    runs = []
    for target, padding in (("vocals", "same"), ("drums", "causal")):
        options = networks.LITTLE | {"padding": padding}
        model = build("conv", networks.STEREO, options, (target,))
        recipe = Recipe("conv", "conv", options, networks.STEREO)
        Imported(model, recipe, (target,), {}).write_run(tmp_path / target)
        runs.append(tmp_path / target)
    with pytest.raises(KerasepError, match=r"drums: looks 0 frames ahead and .*vocals 14: export it on its own"):
        freeze_step(runs, "x")


def test_the_wrong_channels(causal):
    with pytest.raises(KerasepError, match=r"the stream takes \(samples, 2\), not \(64, 1\)"):
        StreamSeparator(causal).push(noise(64, 1))


@pytest.mark.serial
@pytest.mark.slow
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
