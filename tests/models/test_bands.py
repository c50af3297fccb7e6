"""`bands`: its layers against NumPy and Keras' layers, what its masks add up to, its look-ahead, and earlier weights files."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, disturb

from kerasep.inference.artifact import Artifact
from kerasep.models import build, receptive_field_of
from kerasep.models.band_layers import GROUP, BandMerge, BandSplit, GroupedDense, GroupFeedForward, GroupMixer, LookAhead
from kerasep.models.bands import LAYOUT
from kerasep.models.lstm import SharedLSTM
from kerasep.models.weights import RENAMED, load_weights
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training.runs import load_run

SMALL = Spectrogram(fft=256, hop=64)
LAYOUT_SMALL = ((1, 1), (1, 2), (1, 4))  # of 129 bins 112
OPTIONS = {"layout": LAYOUT_SMALL, "size": 12, "blocks": 2, "ahead": 3}
TARGETS = ("vocals", "drums", "bass", "other")


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def network(**options) -> keras.Model:
    return disturb(build("bands", SMALL, OPTIONS | options, TARGETS))


def edges() -> list[tuple[int, int]]:
    """First bin of each band and the one behind its last."""
    widths = [width for groups, width in LAYOUT_SMALL for _ in range(groups * GROUP)]
    ends = np.cumsum(widths)
    return list(zip(ends - widths, ends, strict=True))


def test_bands_are_means_to_the_power_of_three_tenths():
    magnitudes = np.abs(values(2, 5, 129, 2))
    layer = BandSplit(LAYOUT_SMALL)
    found = np.asarray(layer(magnitudes))
    means = np.stack([magnitudes[:, :, first:end].mean(axis=2) for first, end in edges()], axis=2)  # (2, 5, 48, 2)
    expected = (means + 1e-4) ** 0.3 / np.sqrt(1 + 1e-4)  # the normalisation has not learnt anything yet
    assert found.shape == (2, 3, 5, GROUP * 2)
    assert np.allclose(found, expected.reshape(2, 5, 3, GROUP * 2).transpose(0, 2, 1, 3), rtol=1e-5)


def test_each_bin_gets_its_bands_mask():
    shares, mixture = np.abs(values(2, 3, 5, 4, GROUP * 2)), np.abs(values(2, 5, 129, 2))
    found = BandMerge(LAYOUT_SMALL)([shares, mixture])
    assert len(found) == 4
    for target, estimate in enumerate(found):
        bands = shares[:, :, :, target].transpose(0, 2, 1, 3).reshape(2, 5, 48, 2)
        for band, (first, end) in enumerate(edges()):
            expected = mixture[:, :, first:end] * bands[:, :, band : band + 1]
            assert np.allclose(estimate[:, :, first:end], expected, rtol=1e-6)
        assert np.allclose(estimate[:, :, 112:], mixture[:, :, 112:] * bands[:, :, -1:], rtol=1e-6)  # above all bands


def test_the_default_layout_covers_the_spectrum():
    assert GROUP * sum(groups * width for groups, width in LAYOUT) == 2048
    assert build("bands", Spectrogram(), {}, TARGETS).count_params() == 801_626


def test_grouped_dense_is_a_dense_layer_per_group():
    layer = GroupedDense(7)
    x = values(2, 3, 5, 4)
    layer(x)
    layer.set_weights([values(3, 4, 7), values(3, 1, 7)])
    kernel, bias = layer.get_weights()
    expected = np.stack([x[:, group] @ kernel[group] + bias[group] for group in range(3)], axis=1)
    assert np.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [GroupMixer, GroupFeedForward])
def test_the_mixer_runs_along_groups_and_the_feed_forward_layer_along_each_groups_features(kind):
    layer = kind(6, dropout=0.5)
    x = values(2, 3, 5, 4)
    layer(x)
    layer.set_weights([np.abs(values(*weight.shape)) - 0.3 * (weight.ndim > 1) for weight in layer.get_weights()])
    gamma, beta, mean, variance, *dense = layer.norm.get_weights() + layer.up.get_weights() + layer.down.get_weights()
    y = (x - mean) / np.sqrt(variance + 1e-4) * gamma + beta
    if kind is GroupMixer:
        y = np.moveaxis(np.maximum(np.moveaxis(y, 1, 3) @ dense[0] + dense[1], 0) @ dense[2] + dense[3], 3, 1)
    else:
        own = [np.maximum(y[:, n] @ dense[0][n] + dense[1][n], 0) @ dense[2][n] + dense[3][n] for n in range(3)]
        y = np.stack(own, axis=1)
    assert np.allclose(layer(x), x + y, atol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_features_are_dropped_in_all_frames_alike(compiled):
    x = values(40, 3, 5, 4)
    layer = GroupFeedForward(6, dropout=0.3)
    layer(x)
    layer.down.set_weights([0 * layer.down.kernel, np.ones((3, 1, 4))])  # adds 1 to everything
    added = np.asarray(tf.function(layer, jit_compile=compiled)(x, training=True)) - x
    assert np.allclose(added, added[:, :, :1], atol=1e-6)
    assert np.allclose(np.sort(np.unique(added.round(4))), [0, 1 / 0.7], atol=1e-4)
    assert 0.2 < np.mean(added == 0) < 0.4


def test_the_shared_lstm_is_keras_lstm_for_each_group():
    """The same outputs and gradients as Keras' own layer on each group, compiled or not."""
    ours, theirs = SharedLSTM(6), keras.layers.LSTM(6, return_sequences=True)
    x = tf.constant(values(2, 3, 17, 5))
    ours(x), theirs(x[:, 0])
    weights = [values(*weight.shape) / 2 for weight in theirs.get_weights()]
    theirs.set_weights(weights), ours.set_weights(weights)
    assert np.allclose(ours(x), np.stack([theirs(x[:, group]) for group in range(3)], axis=1), atol=1e-6)

    def run(call, layer, compiled=False):
        @tf.function(jit_compile=compiled)
        def outputs_and_gradients():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = call(x)
                loss = tf.reduce_sum(y * tf.cos(3 * y))
            return [y, *tape.gradient(loss, [x, *(variable.value for variable in layer.trainable_variables)])]

        return outputs_and_gradients()

    other = run(lambda x: tf.stack([theirs(x[:, group], training=True) for group in range(3)], axis=1), theirs)
    for compiled in (False, True):
        mine = run(lambda x: ours(x, training=True), ours, compiled)
        for a, b in zip(mine, other, strict=True):
            assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_look_ahead_sees_later_frames_and_zeros_after_the_end(frames):
    x = values(1, 2, frames, 3)
    found = np.asarray(LookAhead(3)(x))
    assert np.array_equal(found[..., :3], x)
    assert np.array_equal(found[:, :, : max(frames - 3, 0), 3:], x[:, :, 3:])
    assert not found[:, :, max(frames - 3, 0) :, 3:].any()
    assert np.array_equal(LookAhead(0)(x), x)


def test_stems_add_up_to_the_mixture():
    mixture = np.abs(values(2, 20, 129, 2))
    estimates = network()(mixture)
    assert list(estimates) == list(TARGETS)
    assert all(np.asarray(estimate).min() >= 0 for estimate in estimates.values())
    assert np.allclose(sum(np.asarray(estimate) for estimate in estimates.values()), mixture, rtol=1e-5)
    silence = network()(np.zeros((1, 5, 129, 2), np.float32))
    assert not any(np.asarray(estimate).any() for estimate in silence.values())


@pytest.mark.parametrize("ahead", [0, 3])
def test_its_look_ahead_is_exact(ahead):
    model, mixture = network(ahead=ahead), np.abs(values(1, 30, 129, 2))
    before = np.asarray(model(mixture)["drums"])
    mixture[:, 20] *= 2
    changed = np.flatnonzero(np.abs(np.asarray(model(mixture)["drums"]) - before).max(axis=(0, 2, 3)))
    assert changed.min() == 20 - ahead == 20 - receptive_field_of("bands", {"ahead": ahead}).look_ahead
    assert changed.max() == 29  # an LSTM's memory has no end


def test_it_survives_saving(tmp_path):
    model = network()
    model.save(tmp_path / "model.keras")
    mixture = np.abs(values(1, 30, 129, 2))
    again = keras.models.load_model(tmp_path / "model.keras")(mixture)
    for target, estimate in model(mixture).items():
        assert np.array_equal(again[target], estimate)


def test_a_layout_that_does_not_fit():
    with pytest.raises(ValueError, match="layout has 2048 bins, the spectrogram 129"):
        build("bands", SMALL, {}, TARGETS)


def test_weights_files_with_earlier_class_names_are_read(tmp_path):
    """A file as versions before the renaming wrote it, of a network with several layers of each class."""
    model, path = network(), tmp_path / "best.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        for old, new in RENAMED.items():
            assert new in file["layers"], f"Keras no longer names the group {new}"
            for name in [name for name in file["layers"] if name == new or name.startswith(f"{new}_")]:
                file["layers"].move(name, name.replace(new, old))
        assert {"speaking", "speaking_1", "thinking", "thinking_1", "banded", "unbanded", "ahead"} < set(file["layers"])
    before = path.read_bytes()
    again = build("bands", SMALL, OPTIONS, TARGETS)
    load_weights(again, path)
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(found, expected)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_the_bundled_run_gives_what_the_bundled_file_gives():
    """The run in the wheel was written before the renaming; its ONNX file was packed then."""
    weights = ROOT / "kerasep" / "weights"
    with h5py.File(weights / "bands" / "best.weights.h5") as file:
        assert "speaking" in file["layers"]
    _, model = load_run(weights / "bands")
    mixture = np.abs(values(1, 80, 2049, 2))
    estimates = Artifact(weights / "bands.onnx").run(mixture)
    for target, expected in model(mixture, training=False).items():
        expected = np.asarray(expected)
        assert np.abs(estimates[target] - expected).max() <= 1e-5 * np.abs(expected).max(), target
