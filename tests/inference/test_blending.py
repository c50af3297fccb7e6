"""Segments that are blended, and songs brought to one level, against the same written down in the simplest way."""

import shutil
import subprocess
from functools import partial

import numpy as np
import pytest
import soundfile
from conftest import ROOT, agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kerasep.conversion.write import save_onnx, write
from kerasep.inference.adapt import Level
from kerasep.inference.artifact import Artifact
from kerasep.inference.chunking import blend_segments
from kerasep.inference.graphs import Segments, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.open import open_separator

EXAMPLES = ROOT / "export" / "examples"


def uneven(segment):
    """A "network" whose stems depend on where in a segment a sample is."""
    ramp = np.linspace(0.5, 1.5, len(segment), dtype=np.float32)[:, None]
    return {"one": segment * ramp + 0.1 * segment.mean(), "other": np.roll(segment, 3, axis=0)}


def whole(song, size, stride):
    """All segments of a song at once: what `blend_segments` does in passing."""
    weights = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))[:, None] / ((size + 1) // 2)
    sums = {target: np.zeros(song.shape) for target in ("one", "other")}
    total = np.zeros((len(song), 1))
    for offset in range(0, len(song), stride):
        length = min(size, len(song) - offset)
        spare = size - length
        begin = offset - spare // 2
        padded = np.zeros((size, song.shape[1]), np.float32)
        for place in range(size):
            if 0 <= begin + place < len(song):
                padded[place] = song[begin + place]
        total[offset : offset + length] += weights[:length]
        for target, stem in uneven(padded).items():
            sums[target][offset : offset + length] += weights[:length] * stem[spare // 2 :][:length]
    return {target: kept / total for target, kept in sums.items()}


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 130),
    size=st.integers(2, 40),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    piece=st.integers(1, 50),
    channels=st.integers(1, 2),
)
def test_blended_in_passing(samples, size, overlap, piece, channels):
    stride = max(1, int((1 - overlap) * size))
    song = np.random.default_rng(samples).normal(size=(samples, channels)).astype(np.float32)
    pieces = [song[start : start + piece] for start in range(0, samples, piece)]
    made = list(blend_segments(pieces, Segments(size, stride, 0), channels, uneven))
    for target, expected in whole(song, size, stride).items():
        found = np.concatenate([stems[target] for stems in made])
        assert found.shape == song.shape and np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0])
def test_a_song_at_one_level(scale):
    song = (scale * np.random.default_rng(0).normal(0.3, 0.5, size=(5000, 2))).astype(np.float32)
    level = Level([song[:1234], song[1234:1235], song[1235:]], 2)
    pieces = list(level)
    assert [len(piece) for piece in pieces] == [1234, 1, 3765]
    mono = song.astype(np.float64).mean(axis=1)
    expected = (song - mono.mean()) / (mono.std(ddof=1) + 1e-8)
    assert np.abs(np.concatenate(pieces) - expected).max() < 1e-4
    assert np.abs(np.concatenate([level.back(piece) for piece in pieces]) - song).max() < 1e-6 * scale + 1e-12


@pytest.mark.parametrize("song", [np.zeros((100, 2), np.float32), np.ones((1, 2), np.float32), np.zeros((0, 2), np.float32)])
def test_levels_of_next_to_nothing(song):
    level = Level([song], 2)
    (piece,) = level
    assert np.isfinite(piece).all() and np.allclose(level.back(piece), song, atol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Artifact:
    """`uneven`, in ONNX, for segments of 1000 samples."""
    path = tmp_path_factory.mktemp("blended") / "uneven.onnx"
    ramp = np.linspace(0.5, 1.5, 1000, dtype=np.float32)
    constants = {"ramp": ramp, "tenth": np.float32(0.1), "sizes": np.array([997, 3])}
    nodes = [
        helper.make_node("Mul", ["mixture", "ramp"], ["sloped"]),
        helper.make_node("ReduceMean", ["mixture"], ["mean"], axes=[1, 2]),
        helper.make_node("Mul", ["mean", "tenth"], ["little"]),
        helper.make_node("Add", ["sloped", "little"], ["one"]),
        helper.make_node("Split", ["mixture", "sizes"], ["head", "tail"], axis=2),
        helper.make_node("Concat", ["tail", "head"], ["other"], axis=2),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 1000]) for name in ("mixture", "one", "other")]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "uneven", values[:1], values[1:], weights)
    kind = WaveformGraph(8000, 2, Segments(1000, 750, 0), fixed=True, exact=False, blended=True, normalised=True)
    manifest = Manifest("uneven", ("one", "other"), kind, "tests")
    save = partial(save_onnx, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    write(save, manifest, path, lambda _: {})
    return Artifact(path)


def expected_of(song):
    """Stems by `whole`, of a song at the level of the graph."""
    mono = song.astype(np.float64).mean(axis=1)
    mean, deviation = mono.mean(), mono.std(ddof=1) + 1e-8
    stems = whole(((song - mean) / deviation).astype(np.float32), 1000, 750)
    return {target: stem * deviation + mean for target, stem in stems.items()}


@pytest.mark.parametrize("samples", [700, 1000, 1750, 4321])
def test_a_model_of_blended_segments(model, tmp_path, samples):
    song = np.random.default_rng(0).normal(0.02, 0.1, size=(samples, 2)).astype(np.float32)
    separator = open_separator(model)
    for target, expected in expected_of(song).items():
        assert agreement(expected, separator(song, 8000)[target]) > 110
    soundfile.write(tmp_path / "song.wav", song, 8000, "FLOAT")
    files = separator.separate_file(tmp_path / "song.wav", tmp_path / "stems", float32=True)
    for target, expected in expected_of(song).items():
        assert agreement(expected, soundfile.read(files[target])[0]) > 110


def test_the_same_in_javascript(model, web, tmp_path):
    if not (web.parent / "onnxruntime-node").is_dir():
        pytest.skip("no onnxruntime-node in KERASEP_NODE_MODULES")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    (tmp_path / "examples" / "node" / "node_modules").symlink_to(web.parent)
    song = np.random.default_rng(0).normal(0.02, 0.1, size=(4321, 2)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", song, 8000, "FLOAT")
    script = tmp_path / "examples" / "node" / "separate.mjs"
    subprocess.run(["node", str(script), str(model.path), "song.wav", "stems"], cwd=tmp_path, check=True, capture_output=True)
    for target, expected in expected_of(song).items():
        assert agreement(expected, soundfile.read(tmp_path / "stems" / f"{target}.wav")[0]) > 80  # 16 bits


def test_blended_segments_have_no_margin():
    with pytest.raises(ValueError, match="no margin"):
        WaveformGraph(44100, 2, Segments(100, 50, 10), fixed=True, exact=False, blended=True)
