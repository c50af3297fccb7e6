"""Open-Unmix's checkpoints: from waveform to stems as the original, and every way in which a file can be wrong."""

import contextlib
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import agreement
from golden_files import golden
from golden_files import openunmix_states as states
from signals import clip

from kerasep.cli import main
from kerasep.errors import KerasepError
from kerasep.importers import openunmix, pytorch
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.signal.spectrogram import Spectrogram

SETTINGS = json.loads(str(golden("openunmix_separator")["config"]))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Artifact:
    spectrogram = Spectrogram(rate=8000, fft=256, hop=64)
    path = tmp_path_factory.mktemp("imported") / "umx.onnx"
    openunmix.from_states(states(), spectrogram, {"licence": "tests", "origin": "tests"}).write_artifact(path)
    return Artifact(path)


@pytest.mark.parametrize("iterations", [0, 1, 2])
@pytest.mark.parametrize("softmask", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_whole_path_is_open_unmixs(artifact, iterations, softmask, residual):
    """Waveform to stems of a clip of 20 s: beginning, end, and where one block of the filter meets the next."""
    choice = {"mask": "ratio" if softmask else "none", "wiener": iterations, "residual": residual}
    song = clip(8000, 20, 2, seed=1)
    stems = {target: stretches(stem) for target, stem in open_separator(artifact, **choice)(song, 8000).items()}
    expected = golden("openunmix_separator", f"niter{iterations}-softmask{softmask:d}-residual{residual:d}/")
    assert set(stems) == set(expected)
    if residual and iterations:  # here it has what the filter withholds as well
        expected["residual"] = stretches(song) - sum(stem for target, stem in expected.items() if target != "residual")
    for target, stem in stems.items():
        if softmask and target == "residual":  # a softmask leaves next to nothing
            assert np.abs(stem - expected[target]).max() < 2e-5
        else:
            assert agreement(expected[target], stem) >= 60


def stretches(samples: np.ndarray) -> np.ndarray:
    """Those that golden files have of a stem."""
    return np.concatenate([samples[:500], samples[19000:19500], samples[-500:]])


def test_manifest_of_an_imported_artifact(artifact):
    manifest = artifact.manifest
    masking = manifest.graph.masking
    assert (masking.mask, masking.wiener, masking.unclaimed, manifest.origin) == (
        "none",
        1,
        "dropped",
        "tests",
    )
    assert manifest.parameters == sum(v.size for s in states().values() for n, v in s.items() if _counted(n))
    assert 0 < manifest.multiply_adds < 1e9


def _counted(name: str) -> bool:
    """Keras has one LSTM bias instead of two."""
    return not name.endswith("num_batches_tracked") and "bias_hh" not in name


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder as Open-Unmix's training writes it."""
    torch = pytest.importorskip("torch")
    place = tmp_path / "umx"
    place.mkdir()
    for target, state in states().items():
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in state.items()}
        torch.save(tensors, place / f"{target}.pth")
        (place / f"{target}.json").write_text(json.dumps({"args": {"nfft": 256, "nhop": 64, "nb_channels": 2}}))
    separator = {"nfft": 256, "nhop": 64, "sample_rate": 8000, "nb_channels": 2}
    (place / "separator.json").write_text(json.dumps(separator))
    return place


def rewrite(path: Path, change, early: bool = False) -> None:
    """Change a state dict; `early`, in PyTorch's format of 2019."""
    import torch

    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path, _use_new_zipfile_serialization=not early)


def refused(folder: Path, capsys, match: str, *options: str) -> None:
    """The command fails with a one-line message and leaves no file."""
    output = folder.parent / "out" / "x.onnx"
    assert main(["import", "openunmix", str(folder), "-o", str(output), *options]) == 1
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1, error
    assert not output.parent.exists() or not list(output.parent.iterdir())


@pytest.mark.slow
def test_import_command(folder, artifact, tmp_path, capsys):
    output = tmp_path / "umx.onnx"
    assert main(["import", "openunmix", str(folder), "-o", str(output), "--licence", "mine"]) == 0
    assert "vocals, drums; differs from Keras by" in capsys.readouterr().out
    manifest = Artifact(output).manifest
    assert manifest.graph.spectrogram == artifact.manifest.graph.spectrogram and manifest.licence == "mine"
    magnitudes = np.abs(np.random.default_rng(0).normal(size=(50, 129, 2))).astype(np.float32)
    ours, expected = Artifact(output).estimate(magnitudes), artifact.estimate(magnitudes)
    assert all(np.array_equal(ours[target], expected[target]) for target in expected)
    (files,) = [run["files"] for run in manifest.details["runs"]]
    assert sorted(files) == ["drums.pth", "vocals.pth"]


@pytest.mark.slow
def test_one_target_and_a_run_to_train_on(folder, hq_root, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["import", "openunmix", str(folder), "-o", str(run), "--keras", "--targets", "vocals"]) == 0
    assert main(["import", "openunmix", str(folder), "-o", str(run), "--keras", "--targets", "vocals"]) == 1
    assert "is a run already" in capsys.readouterr().err
    assert main(["pack", str(run), "-o", str(tmp_path / "vocals.onnx")]) == 0
    manifest = Artifact(tmp_path / "vocals.onnx").manifest
    assert (manifest.targets, manifest.graph.masking.mask, manifest.graph.masking.wiener) == (("vocals",), "none", 0)

    sizes = ["spectrogram.rate=8000", "spectrogram.fft=256", "spectrogram.hop=64", "options.hidden=8"]
    short = ["batch=2", "seconds=0.5", "steps=1", "epochs.vocals=1", "jit=false", "early_stop=0", "learning_rate=1e-9"]
    bandwidth = json.loads((run / "run.json").read_text())["recipe"]["options"]["bandwidth"]
    settings = [word for value in (*sizes, *short, f"options.bandwidth={bandwidth}") for word in ("--set", value)]
    train = ["train", "--recipe", "openunmix", "--target", "vocals", "--root", str(hq_root), "--start", str(run)]
    assert main([*train, "-o", str(tmp_path / "more"), *settings]) == 1  # the songs have another rate
    assert "44100" in capsys.readouterr().err


def test_other_forms_of_a_folder(folder, capsys, tmp_path):
    (folder / "separator.json").unlink()
    refused(folder, capsys, "add --rate")
    loaded = openunmix.load(folder, rate=8000)
    assert loaded.recipe.spectrogram == Spectrogram(rate=8000, fft=256, hop=64)
    for path in folder.glob("*.json"):
        path.unlink()
    refused(folder, capsys, "add --rate and --hop")
    for target in ("vocals", "drums"):  # early official files
        import torch

        extra = {"stft.window": torch.ones(256), "transform.0.window": torch.ones(256), "sample_rate": torch.tensor(8000)}
        rewrite(folder / f"{target}.pth", lambda state, extra=extra: state.update(extra), early=True)
    assert openunmix.load(folder, hop=64).recipe.spectrogram == Spectrogram(rate=8000, fft=256, hop=64)

    from kerasep.inference.artifact import sha256

    vocals = folder / "vocals.pth"
    named = vocals.rename(folder / f"vocals-{sha256(vocals)[:8]}.pth")
    assert openunmix.load(folder, hop=64).targets == ("vocals", "drums")
    named.rename(folder / "vocals-00000000.pth")
    refused(folder, capsys, "sha256 does not start with 00000000", "--hop", "64")


def test_missing_files(folder, tmp_path, capsys):
    refused(tmp_path / "nothing", capsys, "no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", capsys, "has no TARGET.pth")
    refused(folder, capsys, "has no bass.pth: it has drums, vocals", "--targets", "vocals", "bass")
    (folder / "separator.json").write_text("{")
    refused(folder, capsys, "not as Open-Unmix writes it")
    (folder / "separator.json").write_text(json.dumps({"nfft": 512, "nhop": 64, "sample_rate": 8000}))
    refused(folder, capsys, "do not belong together")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.pop("bn2.weight"), "bn2.weight is missing"),
        (lambda state: state.pop("fc1.weight"), "fc1.weight, input_mean or output_mean is missing"),
        (lambda state: state.update(attention=state["bn1.bias"]), "holds attention"),
        (lambda state: state.update({"lstm.bias_hh_l1": state["bn1.bias"]}), "lstm.bias_hh_l1 is (8,) and should be (16,)"),
        (lambda state: state["fc2.weight"].fill_(float("nan")), "fc2.weight holds NaN"),
        (lambda state: state.update(epoch=3), "not a state dict"),
    ],
)
def test_checkpoints_of_other_networks(folder, capsys, change, match):
    rewrite(folder / "vocals.pth", change)
    refused(folder, capsys, match)


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/kerasep-was-here"),))  # noqa: S108


def test_code_in_a_pickle_is_not_run(folder, capsys):
    import torch

    torch.save({"fc1.weight": Hostile()}, folder / "vocals.pth")
    refused(folder, capsys, "holds more than plain tensors (__builtin__ getattr)")
    assert not Path("/tmp/kerasep-was-here").exists()  # noqa: S108


TENSORS = {
    "sparse": lambda torch: torch.eye(3).to_sparse(),
    "compressed": lambda torch: torch.eye(3).to_sparse_csr(),
    "quantised": lambda torch: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta": lambda torch: torch.empty(10**9, device="meta"),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what it may drop one day
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_other_kinds(folder, capsys, kind):
    """Their numbers are not all in the file."""
    import torch

    rewrite(folder / "vocals.pth", lambda state: state.update(extra=TENSORS[kind](torch)))
    refused(folder, capsys, "holds more than plain tensors")


@pytest.mark.parametrize("early", [False, True])
def test_tensors_larger_than_the_file(folder, capsys, early):
    """One number, seen as ten billion."""
    import torch

    rewrite(folder / "vocals.pth", lambda state: state.update({"fc1.weight": torch.ones(1, 1).expand(10**5, 10**5)}), early)
    refused(folder, capsys, "more than the file: not a checkpoint")


@pytest.mark.parametrize("early", [False, True])
def test_one_tensor_under_many_names(folder, capsys, early):
    rewrite(folder / "vocals.pth", lambda s: s.update({f"x{n}": s["fc3.weight"] for n in range(100)}), early)
    refused(folder, capsys, "more than the file: not a checkpoint")


def test_a_pickle_that_allocates(folder, capsys):
    """PyTorch's own list of harmless names has `bytearray`, which makes as many bytes as it is asked for."""
    rewritten(folder / "vocals.pth", "data.pkl", b"\x80\x02cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.")
    refused(folder, capsys, "holds more than plain tensors (builtins bytearray)")


def test_a_list_without_end(folder, capsys):
    rewritten(folder / "vocals.pth", "data.pkl", b"\x80\x02]" + b"]0" * 2**20 + b".")
    refused(folder, capsys, "lists more than a state dict does")


def rewritten(path: Path, name: str, content: bytes) -> None:
    """Replace a member of an archive."""
    with zipfile.ZipFile(path) as archive:
        files = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for each, old in files.items():
            archive.writestr(each, content if each.endswith(name) else old)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_files_cut_short(folder, capsys, early, share):
    path = folder / "vocals.pth"
    rewrite(path, lambda state: None, early)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(folder, capsys, "vocals.pth")


@pytest.mark.parametrize("early", [False, True])
def test_bits_that_flipped(folder, capsys, early):
    """Wherever one did: a zip has a checksum of each of its files, and what has none is read or refused, never a traceback."""
    path = folder / "vocals.pth"
    rewrite(path, lambda state: None, early)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(whole) * 8, size=60):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(KerasepError):
            pytorch.read(path)
    if not early:
        with zipfile.ZipFile(path) as archive:
            weights = max(archive.infolist(), key=lambda item: item.file_size)
        damaged = bytearray(whole)
        damaged[weights.header_offset + weights.file_size // 2 + 200] ^= 1
        path.write_bytes(damaged)
        refused(folder, capsys, "is damaged (Bad CRC-32")


@pytest.mark.parametrize("content", [b"no model", b"PK\x03\x04", b"\x80", b"\x80\x02}.", 2000 * b"(", bytes(2000)])
def test_other_files(folder, capsys, content):
    (folder / "vocals.pth").write_bytes(content)
    refused(folder, capsys, "vocals.pth")
    with tarfile.open(folder / "vocals.pth", "w") as archive:  # as PyTorch wrote it until 2018
        archive.add(folder / "vocals.json", "storages")
    refused(folder, capsys, "not a PyTorch file")


@pytest.mark.parametrize("shape", [(0,), (3, 3)])
def test_a_rate_that_is_none(folder, shape):
    import torch

    rewrite(folder / "vocals.pth", lambda state: state.update(sample_rate=torch.ones(shape)))
    assert openunmix.load(folder).recipe.spectrogram.rate == 8000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nfft": 1e999, "nhop": 64}', '{"nfft": NaN, "nhop": 1}', 100_000 * "["])
def test_settings_that_are_none(folder, capsys, text):
    (folder / "separator.json").write_text(text)
    refused(folder, capsys, "not as Open-Unmix writes it")


def test_without_pytorch(folder, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    refused(folder, capsys, "pip install 'kerasep[torch]'")
