"""Live comparison with PyTorch's Open-Unmix at full size: its files and its separator, on half a minute of music."""

import sys
import types

import numpy as np
import pytest
from conftest import agreement
from signals import clip

from kerasep.hub import load
from kerasep.importers import openunmix
from kerasep.inference.open import open_separator

pytestmark = [pytest.mark.peer, pytest.mark.slow]
torch = pytest.importorskip("torch")
sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # openunmix imports it to read files; not needed here
umx = pytest.importorskip("openunmix.model")
TARGETS = ("vocals", "drums")


@pytest.fixture(scope="module")
def originals():
    """Two full-size networks with random weights whose masks are neither all ones nor all zeros."""
    torch.manual_seed(0)
    networks = {}
    for target in TARGETS:
        network = umx.OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, nb_layers=3, max_bin=1487)
        with torch.no_grad():
            for name, values in network.state_dict().items():
                if name.startswith("bn") and values.is_floating_point():
                    values.uniform_(0.5, 1.5)
            network.output_mean.uniform_(0.2, 0.8)
            network.input_mean.uniform_(-1, 0)
        networks[target] = network.eval()
    return networks


@pytest.fixture(scope="module")
def artifact(originals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("umx")
    for target, network in originals.items():
        torch.save(network.state_dict(), folder / f"{target}.pth")
    openunmix.load(folder).write_artifact(folder / "umx.onnx")
    return load(folder / "umx.onnx")


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("residual", [False, True])
def test_whole_path_is_open_unmixs(originals, artifact, iterations, residual):
    audio = clip(44100, 22, 2, seed=3)
    separator = umx.Separator(originals, niter=iterations, residual=residual)
    with torch.no_grad():
        expected = separator(torch.from_numpy(audio.T[None].copy()))[0].numpy()
    stems = open_separator(artifact, wiener=iterations, residual=residual)(audio, 44100)
    assert list(stems) == [*TARGETS, *(["residual"] if residual else [])]
    if residual and iterations:  # here it has what the filter withholds as well
        expected[-1] = audio.T - sum(expected[:-1])
    for stem, other in zip(stems.values(), expected, strict=True):
        assert np.abs(other).max() > 0.01
        assert agreement(other.T, stem) >= 60


def test_speech_enhancement_is_open_unmixs(tmp_path):
    """umxse: 16 kHz, mono, hop of half a window. The last second is left out: frames there see another end of the signal."""
    torch.manual_seed(1)
    networks = {}
    for target in ("speech", "noise"):
        network = umx.OpenUnmix(nb_bins=513, nb_channels=1, hidden_size=256, max_bin=513).eval()
        with torch.no_grad():
            network.output_mean.uniform_(0.2, 0.8)
        networks[target] = network
        torch.save(network.state_dict(), tmp_path / f"{target}.pth")
    audio = clip(16000, 22, 1, seed=4)
    separator = umx.Separator(networks, niter=1, n_fft=1024, n_hop=512, nb_channels=1, sample_rate=16000.0)
    with torch.no_grad():
        expected = separator(torch.from_numpy(audio.T[None].copy()))[0].numpy()
    openunmix.load(tmp_path, ("speech", "noise"), rate=16000, hop=512).write_artifact(tmp_path / "umxse.onnx")
    stems = open_separator(load(tmp_path / "umxse.onnx"))(audio, 16000)
    for stem, other in zip(stems.values(), expected, strict=True):
        assert agreement(other.T[:-16000], stem[:-16000]) >= 60
