"""Published separators by name: fetched, converted, kept; from a server of our own, with files that PyTorch wrote."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from golden_files import openunmix_states as states

from kerasep import hub
from kerasep.cli import main
from kerasep.errors import KerasepError
from kerasep.models import build
from kerasep.signal.stft import Spectrogram


@pytest.fixture
def published(tmp_path, monkeypatch):
    """`umx` with small weights, on a local server; gives the folder that is served and the requests it got."""
    torch = pytest.importorskip("torch")
    served, asked = tmp_path / "served" / "files", []
    served.mkdir(parents=True)
    files = {}
    for target, state in states().items():
        path = served / f"{target}.pth"
        torch.save({name: torch.from_numpy(np.array(values)) for name, values in state.items()}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[target] = (path.rename(served / f"{target}-{digest[:8]}.pth").name, f"sha256:{digest}")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served.parent))

        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    small = replace(
        hub.PUBLISHED["umxl"],
        record=f"http://127.0.0.1:{server.server_port}",
        files=files,
        spectrogram=Spectrogram(rate=8000, fft=256, hop=64),
    )
    monkeypatch.setitem(hub.PUBLISHED, "umxl", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield served, asked
    server.shutdown()
    server.server_close()


def test_first_use_fetches_and_says_the_licence_later_ones_do_not(published, capsys):
    _, asked = published
    first = hub.load("umxl")
    notice = capsys.readouterr().err
    assert "not for commercial use" in notice and notice.count("\n") == 1
    assert first.manifest.targets == ("vocals", "drums") and first.manifest.wiener == 1
    assert "not for commercial use" in first.manifest.licence
    assert len(asked) == 2
    assert hub.load("umxl").path == first.path
    assert len(asked) == 2 and capsys.readouterr().err == ""


def test_at_the_command_line(published, tmp_path, mixture, capsys):
    import soundfile

    soundfile.write(tmp_path / "song.wav", mixture[:20000], 44100)
    command = ["separate", str(tmp_path / "song.wav"), "--model", "umxl", "-o", str(tmp_path / "stems"), "--targets", "vocals"]
    assert main([*command, "--residual", "--softmask", "--wiener", "0"]) == 0
    assert sorted(path.name for path in (tmp_path / "stems" / "song").iterdir()) == ["residual.wav", "vocals.wav"]


def test_a_tampered_file_leaves_nothing(published, tmp_path, capsys):
    served, _ = published
    (path,) = served.glob("drums-*")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert main(["separate", "song.wav", "--model", "umxl"]) == 1
    assert "is not the published one" in capsys.readouterr().err
    left = {path.name.partition("-")[0]: path.stat().st_size for path in (tmp_path / "cache").rglob("*.*")}
    assert left.pop("vocals") > 0 and not any(left.values())  # the good file; of the other no byte, but the file of its lock


def test_what_is_missing_is_said_before_the_download(published, monkeypatch):
    _, asked = published
    monkeypatch.setattr(hub, "find_spec", lambda package: None if package == "torch" else package)
    with pytest.raises(KerasepError, match=r"torch is missing: pip install 'kerasep\[convert,torch\]'"):
        hub.load("umxl")
    assert not asked


def test_models_lists_them_all(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *hub.BUNDLED, *hub.PUBLISHED]
    assert "speech noise" in lines[-1] and "CC BY-NC-SA" in "".join(line for line in lines if line.startswith("umxl"))


def test_info_prints_the_manifest(capsys):
    assert main(["info", "conv"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["targets"] == ["vocals", "drums", "bass", "other"]
    assert values["parameters"] > 1e6 and values["multiply_adds"] > 1e7 and values["bytes"] > 1e6


@pytest.mark.parametrize("name", ["umx", "umxhq", "umxl", "umxse"])
def test_published_figures_are_those_of_the_networks(name):
    published = hub.PUBLISHED[name]
    hidden = {"umxl": 1024, "umxse": 256}.get(name, 512)
    model = build("openunmix", published.spectrogram, {"hidden": hidden}, tuple(published.files))
    assert published.parameters == model.count_params()
    for file, digest in published.files.values():
        stem = file.removesuffix(".pth")[-8:]
        assert not digest.startswith("sha256:") or digest[7:15] == stem
