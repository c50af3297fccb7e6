"""DeepConvSep and Spleeter, which take windows, go all the way: trained, packed, separating block by block, scored."""

import networks
import numpy as np
import pytest
from conftest import agreement
from signals import noise

from kerasep.cli import main
from kerasep.conversion.pack import pack
from kerasep.datasets.musdb import SOURCES
from kerasep.errors import KerasepError
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.signal.masks import magnitude_gains, ratio_gains
from kerasep.signal.stft import istft, stft
from kerasep.signal.wiener import wiener
from kerasep.training.recipe import RECIPES
from kerasep.training.trainer import train

PAIR = SOURCES[:2]
SMALL = {
    "deepconvsep": ["spectrogram.hop=128", 'options={"filters": 5, "hidden": 7}', f"seconds={(29 * 128 + 256) / 44100}"],
    "spleeter": [
        "spectrogram.hop=64",
        'options={"filters": [2, 3], "bins": 64, "frames": 32}',
        f"seconds={(31 * 64 + 256) / 44100}",
    ],
}
SHORT = ["spectrogram.fft=256", "batch=2", "steps=2", "jit=false", *(f"epochs.{source}=1" for source in SOURCES)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepconvsep", "spleeter"])
def test_trained_packed_and_scored(name, hq_root, tmp_path, capsys):
    recipe = RECIPES[name].override([*SMALL[name], *SHORT])
    record = train(recipe, SOURCES, [hq_root], tmp_path / "run")
    assert np.isfinite(record["epochs"][0]["loss"]) and set(record["best"]["targets"]) == set(SOURCES)
    path = tmp_path / f"{name}.onnx"
    pack([tmp_path / "run"], path)
    command = ["evaluate", "--model", str(path), "--root", str(hq_root), "--metrics", "sdr", "-o", str(tmp_path / "scores")]
    assert main(command) == 0
    assert "medians of 1 songs" in capsys.readouterr().out


@pytest.fixture(params=["windows", "unet"])
def artifact(request) -> Artifact:
    return networks.artifact(request.param)


@pytest.mark.parametrize("samples", [1, 5000, 45_000, 120_000])
@pytest.mark.parametrize("mask", ["none", "ratio"])
def test_blocks_leave_no_trace(artifact, samples, mask):
    graph = artifact.manifest.graph
    spectrogram, masking = graph.spectrogram, graph.masking
    audio = noise(samples, spectrogram.channels)
    spectrum = stft(audio, spectrogram)
    estimates = artifact.estimate(np.abs(spectrum))
    gains = magnitude_gains(estimates, np.abs(spectrum))
    if mask == "ratio":
        gains = ratio_gains(estimates, masking.exponent, masking.unclaimed)
    expected = wiener(gains, spectrum, 1, masking.filter_frames)
    for target, stem in open_separator(artifact, mask=mask, wiener=1)(audio, spectrogram.rate).items():
        assert agreement(istft(expected[target], spectrogram, samples), stem) > 60


@pytest.mark.parametrize("shape", [(1,), (30_001, 2), (30_001, 1)])
def test_any_channels_in_the_same_out(artifact, shape):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    for rate in (44100, 48000):
        assert all(stem.shape == shape for stem in open_separator(artifact)(audio, rate).values())


def test_examples_must_be_windows(hq_root, tmp_path):
    recipe = RECIPES["deepconvsep"].override(["seconds=1"])
    with pytest.raises(KerasepError, match=r"takes 30: add --set seconds=0\.35990"):
        train(recipe, SOURCES, [hq_root], tmp_path / "run")
    with pytest.raises(KerasepError, match=r"set spectrogram\.channels to 1"):
        train(RECIPES["deepconvsep"].override(["spectrogram.channels=2"]), SOURCES, [hq_root], tmp_path / "run")
    with pytest.raises(KerasepError, match="too short for conv"):
        train(RECIPES["conv"].override(["seconds=0.1"]), ("vocals",), [hq_root], tmp_path / "run")


@pytest.mark.slow
def test_a_run_goes_on_from_anothers_weights(hq_root, tmp_path):
    settings = [*SMALL["spleeter"], *SHORT, "learning_rate=1e-12"]
    recipe = RECIPES["spleeter"].override(settings)
    first = train(recipe, PAIR, [hq_root], tmp_path / "first")
    second = train(recipe, PAIR, [hq_root], tmp_path / "second", seed=5, start=tmp_path / "first")
    assert second["start"] == "first"
    assert second["best"]["targets"] == pytest.approx(first["best"]["targets"], abs=0.05)
    other = recipe.override(["options.elu=true"])
    with pytest.raises(KerasepError, match="another options than recipe spleeter"):
        train(other, PAIR, [hq_root], tmp_path / "third", start=tmp_path / "first")
    with pytest.raises(KerasepError, match="start it with these targets"):
        train(recipe, ("vocals", "bass"), [hq_root], tmp_path / "third", start=tmp_path / "first")
    assert not (tmp_path / "third").exists()
