"""Published models by name: downloaded from a local server, converted and cached; and what published.json says of them."""

import hashlib
import io
import json
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import keras
import numpy as np
import pytest
import soundfile
from golden_files import openunmix_states as states

import kerasep
from kerasep import hub
from kerasep.cli import main
from kerasep.download import DIGEST
from kerasep.errors import KerasepError, UsageError
from kerasep.importers import openunmix
from kerasep.models import build
from kerasep.signal.spectrogram import Spectrogram

HOSTS = ("zenodo.org", "dl.fbaipublicfiles.com", "github.com")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """`umxl` with small weights on a local server: the folder it serves, and the requests it got."""
    torch = pytest.importorskip("torch")
    served, requests = tmp_path / "served" / "files", []
    served.mkdir(parents=True)
    files = {}
    for target, state in states().items():
        path = served / f"{target}.pth"
        torch.save({name: torch.from_numpy(np.array(values)) for name, values in state.items()}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.rename(served / f"{target}-{digest[:8]}.pth").name
        files[target] = hub.Checkpoint(name, f"sha256:{digest}")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served.parent))

        def log_message(self, *_):
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    small = replace(
        hub.PUBLISHED["umxl"],
        address=f"http://127.0.0.1:{server.server_port}/files",
        targets=tuple(files),
        files=files,
        settings={"rate": 8000, "hop": 64},
    )
    monkeypatch.setitem(hub.PUBLISHED, "umxl", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(hub.ACCEPT, "1")
    yield served, requests
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_first_use_downloads_and_names_the_licence(published, tmp_path, mixture, capsys):
    _, requests = published
    first = hub.load("umxl")
    notice = capsys.readouterr().err
    assert "not for commercial use" in notice and notice.count("\n") == 1
    assert first.manifest.targets == ("vocals", "drums") and first.manifest.graph.masking.wiener == 1
    assert "not for commercial use" in first.manifest.licence
    assert len(requests) == 2
    assert hub.load("umxl").path == first.path
    assert len(requests) == 2 and capsys.readouterr().err == ""

    soundfile.write(tmp_path / "song.wav", mixture[:20000], 44100)
    command = ["separate", str(tmp_path / "song.wav"), "--model", "umxl", "-o", str(tmp_path / "stems"), "--targets", "vocals"]
    assert main([*command, "--residual", "--softmask", "--wiener", "0"]) == 0
    assert sorted(path.name for path in (tmp_path / "stems" / "song").iterdir()) == ["residual.wav", "vocals.wav"]
    assert len(requests) == 2


class Terminal(io.StringIO):
    """Somebody who types this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fetched(published, monkeypatch) -> list[str]:
    """Names of files that would be fetched; nothing is, as each fetch fails."""
    names: list[str] = []

    def fetch(url, path, digest):
        names.append(path.name)
        raise KerasepError("far enough")

    monkeypatch.setattr("kerasep.download.fetch", fetch)
    monkeypatch.setenv(hub.ACCEPT, "0")
    return names


def test_a_licence_that_nobody_accepted(fetched, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    assert main(["separate", "song.wav", "--model", "umxl"]) == 2
    notice, error = capsys.readouterr().err.splitlines()
    assert "CC BY-NC-SA 4.0" in notice and "nobody accepted its licence" in error
    for remedy in ("--accept-licence", "accept_licence=True", f"{hub.ACCEPT}=1"):
        assert remedy in error
    assert not fetched


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "maybe\n"])
def test_a_licence_that_a_person_refuses(fetched, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(UsageError, match="nobody accepted"):
        hub.load("umxl")
    assert not fetched


@pytest.mark.parametrize("way", ["y", "YES", "option", "keyword", "environment"])
def test_ways_to_accept_a_licence(fetched, monkeypatch, way):
    monkeypatch.setattr("sys.stdin", Terminal(f"{way}\n"))
    if way.lower() in ("y", "yes"):
        monkeypatch.setattr("sys.stderr", Terminal())
        with pytest.raises(KerasepError, match="far enough"):
            hub.load("umxl")
        assert "accept this licence? [y/N]" in sys.stderr.getvalue()
    elif way == "option":
        assert main(["separate", "song.wav", "--model", "umxl", "--accept-licence"]) == 1
    else:
        monkeypatch.setenv(hub.ACCEPT, "1" if way == "environment" else "0")
        with pytest.raises(KerasepError, match="far enough"):
            kerasep.load("umxl", accept_licence=way == "keyword")
    assert len(fetched) == 1


def test_free_weights_are_not_asked_about(fetched, monkeypatch):
    monkeypatch.setitem(hub.PUBLISHED, "umxl", replace(hub.PUBLISHED["umxl"], licence="MIT"))
    with pytest.raises(KerasepError, match="far enough"):
        hub.load("umxl")
    assert len(fetched) == 1


def test_what_cannot_be_checked_is_said():
    assert {name for name, published in hub.PUBLISHED.items() if "only 8 digits are known" in published.notice} == {"umxl"}
    assert {name for name, published in hub.PUBLISHED.items() if not published.free} == {"umxl"}


def test_wrong_digest_leaves_nothing(published, tmp_path, capsys):
    served, _ = published
    (path,) = served.glob("drums-*")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert main(["separate", "song.wav", "--model", "umxl"]) == 1
    assert "is not the published one" in capsys.readouterr().err
    (left,) = (path.name for path in (tmp_path / "cache").rglob("*.*") if path.stat().st_size)  # lock files are empty
    assert left.startswith("vocals-") and left.endswith(".pth")


def test_missing_packages_are_named_before_the_download(published, monkeypatch):
    _, requests = published
    monkeypatch.setattr(hub, "find_spec", lambda package: None if package == "torch" else package)
    with pytest.raises(KerasepError, match=r"which needs torch: pip install 'kerasep\[convert,torch\]'"):
        hub.load("umxl")
    assert not requests


def test_models_lists_all(capsys):
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
def test_published_figures_match_the_networks(name, monkeypatch):
    # Only shapes count here, and orthogonal matrices of this size take seconds.
    monkeypatch.setattr(
        keras.initializers.Orthogonal, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    )
    published = hub.PUBLISHED[name]
    hidden = {"umxl": 1024, "umxse": 256}.get(name, 512)
    sizes = {"fft": 1024, "channels": 1} if name == "umxse" else {"fft": 4096}
    model = build("openunmix", Spectrogram(**published.settings, **sizes), {"hidden": hidden}, published.targets)
    assert published.parameters == model.count_params()


@pytest.mark.parametrize("name", hub.PUBLISHED)
def test_published_entries_are_valid(name):
    """Loading has checked that no field is missing or unknown."""
    published = hub.PUBLISHED[name]
    for address in (published.record, published.address):
        assert urlsplit(address).scheme == "https" and urlsplit(address).hostname in HOSTS
    assert published.origin and published.licence
    assert min(published.parameters, published.multiply_adds, published.megabytes) > 0
    for target, file in published.files.items():
        found = openunmix.FILE.fullmatch(file.name)  # the importer finds targets by the names of files
        assert found and found[1] == target and found[2]
        assert DIGEST.fullmatch(file.digest)
        assert not file.digest.startswith("sha256:") or file.digest.startswith(f"sha256:{found[2]}")


@pytest.mark.parametrize("change", [{"colour": "red"}, {"importer": "nobody"}, {"files": {"vocals": {"length": 1}}}])
def test_invalid_entries_are_refused(change):
    (entry, *_) = json.loads((hub.FOLDER / "published.json").read_text()).values()
    hub.Published.from_json(entry)
    with pytest.raises((TypeError, ValueError)):
        hub.Published.from_json(entry | change)
