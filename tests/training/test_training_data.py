"""Training examples: what is read, how it is augmented, and the transform inside the step."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.interpolate
from conftest import write_song
from hypothesis import given
from hypothesis import strategies as st

from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import stft
from kerasep.training.data import Mixer, whole_song
from kerasep.training.learner import Transform
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.speed import as_step, fraction_bits, needed, played

SPECTROGRAM = Spectrogram(fft=256, hop=64)
RECIPE = Recipe("test", "conv", spectrogram=SPECTROGRAM, batch=4, seconds=0.5)


def mixer(root, seed=3, in_step=False, **augment) -> Mixer:
    recipe = replace(RECIPE, augment=replace(RECIPE.augment, **augment))
    return Mixer(songs(root, "train"), recipe, seed, in_step=in_step)


@pytest.mark.parametrize("in_step", [False, True])
def test_examples_are_reproducible_in_any_order(hq_root, in_step):
    augment: dict = {"in_step": in_step, "speed": 0.1, "tilt": 3.0, "double": 0.5, "drop": 0.2, "coherent": 0.5}
    one, again = mixer(hq_root, **augment), mixer(hq_root, **augment)
    later, first = again(7), again(0)
    for name, part in one(0).items():
        assert np.array_equal(part, first[name]), name
        assert np.array_equal(one(7)[name], later[name]), name
        assert not np.array_equal(first[name], later[name]), name
        assert not np.array_equal(mixer(hq_root, seed=4, **augment)(0)[name], first[name]), name


def test_excerpts_are_those_of_the_files(hq_root):
    """Every excerpt is found in the stem of its source, at one place, in one song."""
    batch = mixer(hq_root, coherent=0.0)(0)
    assert {name: (part.shape, str(part.dtype)) for name, part in batch.items()} == mixer(hq_root).shapes
    for index, source in enumerate(SOURCES):
        for excerpt in batch["excerpts"][:, index]:
            stems = [np.rint(song.read(source) * 32767).astype(np.int16) for song in songs(hq_root, "train")]
            places = [np.flatnonzero(stem[: -len(excerpt) or None, 0] == excerpt[0, 0]) for stem in stems]
            assert any(
                np.array_equal(stem[place : place + len(excerpt)], excerpt)
                for stem, found in zip(stems, places, strict=True)
                for place in found[:5000]
            )


def test_gains_swaps_and_silences(hq_root):
    gains = np.concatenate([mixer(hq_root, drop=0.2)(number)["gains"] for number in range(20)]).reshape(-1, 2, 2)
    sizes = gains.max(axis=(1, 2))
    loud = sizes[sizes > 0]
    assert 0.1 < np.mean(sizes == 0) < 0.3
    assert 0.25 <= loud.min() < 0.3 and 1.2 < loud.max() <= 1.25
    swapped = gains[sizes > 0, 0, 1] > 0
    assert 0.4 < swapped.mean() < 0.6
    for gain, turned in zip(gains[sizes > 0], swapped, strict=True):
        assert np.array_equal(gain > 0, [[not turned, turned], [turned, not turned]])


def test_coherent_examples_are_one_song_at_one_time(tmp_path):
    """Four stems of one ramp: excerpts of the same song and time are equal."""
    for name in ("One", "Two"):
        ramp = np.linspace(-0.9, 0.9, 88200)[:, None].repeat(2, axis=1) * (1 if name == "One" else -1)
        write_song(tmp_path / "train" / name, dict.fromkeys(SOURCES, ramp))
    together = mixer(tmp_path, coherent=1.0)(0)["excerpts"]
    apart = mixer(tmp_path, coherent=0.0)(0)["excerpts"]
    assert (together == together[:, :1]).all()
    assert not (apart == apart[:, :1]).all(axis=(1, 2, 3)).any()
    some = np.concatenate([mixer(tmp_path, coherent=0.7)(number)["excerpts"] for number in range(40)])
    like = (some[:, :, None] == some[:, None]).all(axis=(3, 4)).sum(axis=2).max(axis=1)  # sources that are together
    assert np.allclose([np.mean(like == count) for count in (4, 3, 2)], [0.24, 0.41, 0.26], atol=0.1)


def test_a_second_excerpt_of_the_source_is_added(tmp_path):
    """A constant stem and its double: a weighted mean of equal excerpts is the excerpt, at twice the gain."""
    level = np.full((88200, 2), 0.25)
    write_song(tmp_path / "train" / "One", dict.fromkeys(SOURCES, level))
    batch = mixer(tmp_path, double=1.0, gain=(1.0, 1.0), swap=0.0)(0)
    assert np.abs(batch["excerpts"] - round(0.25 * 32767)).max() <= 1
    assert np.array_equal(batch["gains"], np.broadcast_to(2 * np.eye(2), batch["gains"].shape))


@pytest.mark.parametrize("in_step", [False, True])
def test_speed_moves_pitch_and_keeps_length(tmp_path, in_step):
    tone = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)[:, None].repeat(2, axis=1) / 2
    write_song(tmp_path / "train" / "Tone", dict.fromkeys(SOURCES, tone))
    mix = mixer(tmp_path, in_step=in_step, speed=0.12, double=0.3)
    batches = [mix(number) for number in range(8)]
    assert all({name: (part.shape, str(part.dtype)) for name, part in batch.items()} == mix.shapes for batch in batches)
    heard = np.concatenate([batch["excerpts"] for batch in batches]).astype(np.float32)
    if in_step:
        steps = np.concatenate([batch["steps"] for batch in batches])
        heard = np.asarray(played(heard, steps, RECIPE.samples))
    heard = heard[:, 0, :, 0]
    assert heard.shape[1] == RECIPE.samples
    peaks = np.abs(np.fft.rfft(heard * np.hanning(heard.shape[1]))).argmax(axis=1) * 2
    assert 880 <= peaks.min() < 940 and 1060 < peaks.max() <= 1120
    if in_step:
        assert np.abs(peaks - 1000 * steps[:, 0] / as_step(1.0, RECIPE.samples)).max() <= 2


@given(samples=st.integers(1, 400), speed=st.floats(0.05, 1.95))
def test_playing_is_a_spline_through_the_samples(samples, speed):
    """SciPy's Hermite spline with the slopes of Catmull and Rom, up to the very last sample that was read."""
    step = max(1, as_step(speed, samples))
    read = np.random.default_rng(samples).normal(size=(needed(samples, step), 2)).astype(np.float32)
    places = 1 + np.arange(samples) * step / 2 ** fraction_bits(samples)
    slopes = np.gradient(read, axis=0) if len(read) > 1 else np.zeros_like(read)
    expected = scipy.interpolate.CubicHermiteSpline(np.arange(len(read)), read, slopes)(places)
    found = np.asarray(played(read[None, None], np.int32([[step]]), samples))[0, 0]
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("samples", [100, 6 * 44100, 60 * 44100])
def test_at_its_own_speed_an_excerpt_is_itself(samples):
    read = np.random.default_rng(0).integers(-32768, 32767, (2, 1, samples + 3, 1)).astype(np.float32)
    steps = np.full((2, 1), as_step(1.0, samples), np.int32)
    assert np.array_equal(played(read, steps, samples), read[:, :, 1:-2])


@pytest.mark.parametrize("phase_sensitive", [False, True])
@pytest.mark.parametrize(("channels", "tilt", "targets"), [(2, 0, ("bass",)), (1, 0, ("vocals", "drums")), (2, 4, ("other",))])
def test_the_step_transforms_as_numpy_does(hq_root, channels, tilt, targets, phase_sensitive):
    """Gains, sums, tilts and magnitudes in the graph against `spectral.stft` of waveforms mixed here."""
    recipe = replace(RECIPE, spectrogram=Spectrogram(channels=channels, fft=256, hop=64), batch=6)
    recipe = replace(recipe, augment=replace(RECIPE.augment, tilt=tilt))
    batch = Mixer(songs(hq_root, "train"), recipe, 0)(1)
    mixture, references = Transform(recipe.spectrogram, targets, recipe.samples, tilt > 0, phase_sensitive)(batch)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(256, 1 / 44100), 20) / 1000)
    for index in range(6):
        spectra = {}
        for number, source in enumerate(SOURCES):
            wave = batch["excerpts"][index, number] / 32768 @ batch["gains"][index, number]
            slope = 10 ** (batch["tilts"][index, number] * octaves / 20)
            spectra[source] = stft(wave.astype(np.float32), recipe.spectrogram, centred=False) * slope[:, None]
        together = sum(spectra.values())
        expected = np.abs(together)
        assert np.abs(np.asarray(mixture)[index] - expected).max() <= 1e-5 * expected.max()
        for number, target in enumerate(targets):
            expected, clear = np.abs(spectra[target]), True
            if phase_sensitive:  # inaccurate where the stems cancel
                clear = np.abs(together) > 0.01 * expected
                expected = expected * np.cos(np.angle(spectra[target]) - np.angle(together))
            assert (np.abs(np.asarray(references)[index, number] - expected) * clear).max() <= 1e-5 * expected.max()


def test_whole_songs_in_blocks(hq_root):
    (song,) = songs(hq_root, "validation")
    blocks = list(whole_song(song, ("mixture", "bass"), RECIPE, frames=500))
    assert {len(block["bass"]) for block in blocks[:-1]} == {500}
    joined = np.concatenate([block["bass"] for block in blocks])
    assert np.allclose(joined, stft(song.read("bass"), SPECTROGRAM), atol=1e-6)


def test_excerpts_longer_than_a_song(hq_root):
    with pytest.raises(KerasepError, match=r"shorter than the 6 s"):
        Mixer(songs(hq_root, "train"), RECIPES["conv"], seed=0)


def test_songs_of_another_rate(hq_root):
    with pytest.raises(KerasepError, match="has 44100 Hz, the recipe 48000"):
        Mixer(songs(hq_root, "train"), replace(RECIPE, spectrogram=Spectrogram(rate=48000)), seed=0)


def test_a_song_damaged_in_the_middle_of_an_epoch(damaged_root):
    _, found, bad = damaged_root
    mixer = Mixer(found, replace(RECIPE, steps=1000), seed=0)
    with pytest.warns(UserWarning, match=f"{bad}: cannot be read .* another excerpt takes its place"):
        batch = mixer(0)
    assert mixer.broken and batch["excerpts"].any(axis=(2, 3)).all()
