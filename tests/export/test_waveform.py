"""Waveform graphs: the transform in products, and stems equal to those of the transform in NumPy around a spectrogram graph."""

import json
from pathlib import Path

import keras
import networks
import numpy as np
import onnx
import pytest
import soundfile
from conftest import agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import noise

from export.measure.transforms import measure
from export.options import ExportOptions, Precision
from export.pipeline import export
from export.verify import OPERATORS, WAVEFORM, operators
from export.waveform.transforms import Analysis, Synthesis
from export.waveform.wiener import filtered
from export.waveform.wrap import Waveform
from kerasep.cli import main
from kerasep.datasets.musdb import songs
from kerasep.errors import UsageError
from kerasep.importers.imported import Imported
from kerasep.inference.artifact import Artifact, manifest_path
from kerasep.inference.graphs import WaveformGraph
from kerasep.inference.open import open_separator
from kerasep.inference.separator import SpectrogramSeparator
from kerasep.inference.waveform import WaveformSeparator
from kerasep.models import build
from kerasep.signal.factored import Plan
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener
from kerasep.training.recipe import Recipe

KINDS = ("bands", "conv", "deepconvsep", "openunmix", "spleeter")
FRAMES = {"bands": (300,), "conv": (0, 90), "deepconvsep": (90,), "openunmix": (300,), "spleeter": (60, 64)}  # 0: any number
LOOPS = ("bands", "openunmix")
QUICK = {
    ("conv", "onnx", 0, 1),
    ("conv", "tflite", 90, 2),
    ("deepconvsep", "onnx", 90, 2),
}
TARGETS = networks.PAIR


def cases():
    """Each network in each format, one song at a time and two; those are slow that have nothing which another has not."""
    for name in KINDS:
        for frames in FRAMES[name]:
            for form in ("onnx", "tflite"):
                for batch in (1, 2):
                    if form == "tflite" and batch == 2 and name in LOOPS:
                        continue  # a loop takes one song at a time
                    marks = [] if (name, form, frames, batch) in QUICK else [pytest.mark.slow]
                    yield pytest.param(name, form, frames, batch, marks=marks, id=f"{name}-{form}-{frames}-{batch}")


def host(name: str) -> SpectrogramSeparator:
    """The spectrogram graph with its transform in NumPy."""
    return open_separator(networks.artifact(name))


@st.composite
def spectrograms(draw) -> Spectrogram:
    hop = draw(st.sampled_from([16, 24, 64, 100]))
    return Spectrogram(
        channels=draw(st.sampled_from([1, 2])),
        fft=hop * draw(st.sampled_from([2, 4, 8])),
        hop=hop,
        window=draw(st.sampled_from(["hann", "blackmanharris"])),
        padding=draw(st.sampled_from(["reflect", "zeros", "window"])),
    )


@settings(deadline=None, max_examples=30)
@given(spectrogram=spectrograms(), hops=st.integers(8, 21), batch=st.integers(1, 2))
def test_the_transform_is_the_one_in_numpy(spectrogram, hops, batch):
    plan, channels = Plan(spectrogram), spectrogram.channels
    signals = noise(hops * spectrogram.hop, batch * channels)
    mixture = signals.T.reshape(batch, channels, -1)
    spectrum = np.asarray(Analysis(plan, batch * channels)(mixture))
    assert spectrum.shape == (2, plan.rows, batch * channels, plan.frames(len(signals)))
    expected = stft(signals, spectrogram).transpose(1, 2, 0)
    found = (spectrum[0] + 1j * spectrum[1])[: spectrogram.bins]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    changed = expected * np.random.default_rng(0).uniform(size=expected.shape)  # a spectrum that no signal has
    rows = np.zeros((2, *spectrum.shape[1:]), np.float32)
    rows[:, : spectrogram.bins] = changed.real, changed.imag
    back = np.asarray(Synthesis(plan, channels)(rows * plan.row_weights()[:, None, None])).reshape(batch * channels, -1).T
    whole = istft(changed.transpose(2, 0, 1).astype(np.complex64), spectrogram, len(signals))
    assert back.shape == whole.shape
    assert np.abs(back - whole).max() <= 2e-6 * max(1, np.abs(whole).max())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["noise", "loud", "quiet", "mono", "nearly mono", "panned", "silent", "one side"])
def test_the_filter_is_the_one_in_numpy(song, channels, kind):
    """Where channels are alike, the covariance is nearly singular, and what regularises it decides."""
    music = np.sum(list(song.values()), axis=0)[:30_000]
    left, hiss = music[:, :1], noise(len(music), 1)
    mixtures = {
        "noise": noise(len(music)),
        "loud": 40 * music,
        "quiet": np.float32(1e-6) * music,
        "mono": np.concatenate([left, left], axis=1),
        "nearly mono": np.concatenate([left, left + 1e-3 * hiss], axis=1),
        "panned": np.concatenate([left, 0.5 * left], axis=1),
        "silent": 0 * music,
        "one side": np.concatenate([left, 0 * left], axis=1),
    }
    mixture = stft(np.ascontiguousarray(mixtures[kind][:, :channels]), Spectrogram(channels=channels, fft=1024, hop=256))
    shares = np.random.default_rng(0).uniform(size=(3, *mixture.shape[:2], 1)).astype(np.float32) ** 2
    gains = list(np.repeat(shares / shares.sum(axis=0), channels, axis=3))
    expected = wiener(dict(enumerate(gains)), mixture, frames=40)
    planes = np.stack([mixture.real, mixture.imag]).transpose(0, 3, 2, 1)[..., None]
    found = filtered([gain.transpose(2, 1, 0)[..., None] for gain in gains], planes, 40)
    for target, parts in enumerate(np.asarray(found)[..., 0]):
        stem = (parts[0] + 1j * parts[1]).transpose(2, 1, 0)
        if kind == "silent":
            assert not stem.any() and np.isfinite(stem).all()
        else:
            parts = [np.stack([spectrum.real, spectrum.imag]) for spectrum in (expected[target], stem)]
            assert agreement(*parts) > 100


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param("openunmix-filter", "onnx", marks=pytest.mark.slow),
        pytest.param("unet-filter", "tflite", marks=pytest.mark.slow),
        pytest.param("openunmix-filter", "tflite", marks=pytest.mark.slow),
    ],
)
def test_a_filter_in_the_graph(name, form):
    """As Open-Unmix's weights ask for it."""
    artifact = networks.artifact(name, form, graph="waveform", frames=320)
    song = noise(artifact.manifest.graph.segments.samples)
    stems = artifact.runtime.run({"mixture": song.T[None]})
    for target, expected in host(name)(song, 44100).items():
        assert agreement(expected, stems[target][0].T) > 90
    assert "stem" in json.loads(manifest_path(artifact.path).read_text())["usage"]["text"]["take"]


def test_a_filter_needs_its_frames():
    with pytest.raises(UsageError, match="32 frames are less than a frame and its context"):
        Waveform(networks.frozen("openunmix-filter").manifest, frames=32, batch=1)
    with pytest.raises(UsageError, match="fix it with --frames"):
        Waveform(networks.frozen("openunmix-filter").manifest, frames=0, batch=1)


def test_frames_that_begin_between_hops():
    with pytest.raises(ValueError, match="half a window of 192 samples is not made of hops of 64"):
        Plan(Spectrogram(fft=192, hop=64))


@pytest.mark.parametrize(("name", "form", "frames", "batch"), list(cases()))
def test_equal_to_the_transform_in_numpy(name, form, frames, batch):
    artifact = networks.artifact(name, form, graph="waveform", frames=frames, batch=batch)
    graph, hop = artifact.manifest.graph, host(name).graph.spectrogram.hop
    for hops in (graph.segments.samples // hop,) if frames else (9, 31, 40):
        songs = np.split(noise(batch * hops * hop, graph.channels), batch)
        stems = artifact.runtime.run({"mixture": np.stack([song.T for song in songs])})
        for place, song in enumerate(songs):
            for target, expected in host(name)(song, 44100).items():
                assert agreement(expected, stems[target][place].T) > 90


@pytest.mark.parametrize("name", KINDS)
def test_equal_on_real_music(name, clips):
    frames = 0 if name in ("conv", *LOOPS) else FRAMES[name][-1]
    artifact = networks.artifact(name, graph="waveform", frames=frames, batch=1)
    graph, hop = artifact.manifest.graph, host(name).graph.spectrogram.hop
    # Where blocks do not join without a trace, one of the host's: in more, an LSTM's memory of the song before them differs.
    hops = 2000 if graph.exact else host(name).graph.blocks.frames
    for song in songs(clips, "test")[:3]:
        mixture = song.read("mixture", frames=graph.segments.samples if graph.fixed else hops * hop)
        mixture = mixture if graph.channels == 2 else mixture.mean(axis=1, keepdims=True)
        stems = artifact.runtime.run({"mixture": mixture.T[None]})
        for target, expected in host(name)(mixture, song.rate).items():
            assert agreement(expected, stems[target][0].T) > 80


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(
            name, form, marks=[] if {(name, form, FRAMES[name][0], batch) for batch in (1, 2)} & QUICK else [pytest.mark.slow]
        )
        for name in KINDS
        for form in ("onnx", "tflite")
    ],
)
def test_long_songs_in_segments(name, form):
    separator = open_separator(networks.artifact(name, form, graph="waveform", frames=FRAMES[name][0], batch=1))
    assert isinstance(separator, WaveformSeparator)
    graph, spectrogram_graph = separator.graph, host(name).graph
    segments, hop = graph.segments, spectrogram_graph.spectrogram.hop
    song = noise(2 * segments.stride + 3 * segments.margin, graph.channels)
    expected, found = host(name)(song, 44100), separator(song, 44100)
    # Behind a fixed graph's last segment there is silence, not the song's end.
    inner = slice(None, -segments.margin - 32 * hop)
    # Windows of their own, or a memory without end.
    least = 100 if graph.exact and spectrogram_graph.blocks.context else 5
    for target in separator.targets:
        assert found[target].shape == song.shape
        assert agreement(expected[target][inner], found[target][inner]) > least
    first = separator.targets[0]
    for length in (1, hop + 1, 5 * hop):
        assert found[first][:length].shape == separator(song[:length], 44100)[first].shape


@pytest.fixture(scope="module")
def claiming(tmp_path_factory) -> list[Path]:
    """Two networks `conv`, without training, each of which claims something of every bin.

    Of a bin that no target claims, a processor's rounding may give one target a trace, and so all of it: one such bin is a
    difference of 60 dB.
    """
    keras.utils.set_random_seed(0)
    folder, spectrogram = tmp_path_factory.mktemp("claiming"), networks.STEREO
    for target in TARGETS:
        model = build("conv", spectrogram, networks.CONV, (target,))
        networks.disturbed(model)
        (bias,) = (weight for weight in model.weights if weight.path.endswith("d2/bias"))
        bias.assign_add(np.ones(bias.shape))
        Imported(model, Recipe("conv", "conv", networks.CONV, spectrogram), (target,), {}).write_run(folder / target)
    return [folder / target for target in TARGETS]


@pytest.mark.slow
def test_every_precision_is_verified_and_keeps_its_transform(claiming, hq_root, tmp_path):
    """`conv` the whole way, in every precision and both formats."""
    options = ExportOptions(formats=("onnx", "tflite"), precisions=Precision.portable(), graph="waveform", root=hq_root)
    files = {path.name: path for path in export(claiming, tmp_path, options)}
    assert sorted(files) == sorted(
        f"conv-waveform{precision}.{form}"
        for form in ("onnx", "tflite")
        for precision in ("", "-float16", "-int8", "-int8-dynamic")
    )
    for path in files.values():
        check(path)


def check(path: Path) -> None:
    """A file of a waveform graph that takes any number of samples, once it is verified."""
    manifest = Artifact(path).manifest
    assert isinstance(manifest.graph, WaveformGraph) and manifest.graph.batch == 1 and not manifest.graph.fixed
    assert manifest.details["agreement_db"]["least"] > (100 if manifest.precision == "float32" else 20)
    form = path.suffix[1:]
    assert set(operators(path)) <= OPERATORS[form]["float32"] | OPERATORS[form][manifest.precision] | WAVEFORM[form]
    if form == "onnx":
        graph = onnx.load(path).graph
        around = [tensor for tensor in graph.initializer if tensor.name.startswith(("analysis/", "synthesis/"))]
        assert len(around) > 10
        assert {tensor.data_type for tensor in around} == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
        assert [output.name for output in graph.output] == list(manifest.targets)
        assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 2, "samples"]


def test_the_manifest_says_how_to_use_it():
    path = networks.artifact("conv", graph="waveform", frames=0, batch=1).path
    said = json.loads(manifest_path(path).read_text())["usage"]
    assert said["inputs"] == {"mixture": {"type": "float32", "shape": [1, 2, "samples"]}}
    assert set(said) == {"inputs", "outputs", "audio", "segment", "text"}
    assert "any number that 64 divides" in said["text"]["feed"]


def test_separate(tmp_path, capsys):
    model = networks.artifact("conv", "tflite", graph="waveform", frames=0, batch=1).path
    soundfile.write(tmp_path / "song.wav", noise(30_000)[:, :1], 22050, "FLOAT")
    call = ["separate", str(tmp_path / "song.wav"), "--model", str(model), "-o", str(tmp_path), "--targets"]
    assert main([*call, "vocals"]) == 0
    samples, rate = soundfile.read(tmp_path / "song" / "vocals.wav")
    assert (samples.shape, rate) == ((30_000,), 22050)
    assert main([*call, "vocals", "--overwrite", "--wiener", "1", "--mask", "none"]) == 2
    assert "makes its stems inside the graph: leave --mask and --wiener out" in capsys.readouterr().err
    assert main([*call, "vocals", "--overwrite", "--wiener", "0"]) == 2
    assert "leave --wiener out" in capsys.readouterr().err
    assert main([*call, "kazoo"]) == 2
    assert "unknown target 'kazoo'" in capsys.readouterr().err


def test_a_spectrogram_separator_refuses():
    with pytest.raises(UsageError, match="no spectrogram graph"):
        SpectrogramSeparator(networks.artifact("conv", graph="waveform", frames=0, batch=1))


def test_too_short_for_its_context():
    with pytest.raises(UsageError, match="30 frames are less than a frame and its context: take 38 or more"):
        Waveform(networks.frozen("same").manifest, frames=30, batch=1)


@pytest.mark.slow
def test_waveform_graphs_beside_their_networks(claiming, tmp_path):
    """A whole export, too."""
    (host,), (graph,) = (list(export(claiming, tmp_path, ExportOptions(graph=kind))) for kind in ("spectrogram", "waveform"))
    check(graph)
    measure([(host, graph)], tmp_path / "waveform.json")
    (found,) = json.loads((tmp_path / "waveform.json").read_text())["graphs"]
    assert found["agreement_db"] > 80 and found["multiply_adds_per_second"]["network"] > 0
    assert {len(samples) for samples in found["samples"].values()} == {15}
    with pytest.raises(UsageError, match="not a waveform graph: name the spectrogram graph first"):
        measure([(host, host)], tmp_path / "waveform.json")
