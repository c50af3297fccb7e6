"""The page that separates songs in the browser, in headless Chromium; and the same under Node."""

import base64
import io
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import networks
import numpy as np
import pytest
import soundfile
from conftest import CHROMIUM, agreement

from export.web import PAGE, RUNTIME, main, make
from kerasep.datasets.musdb import songs
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator

TARGETS = networks.PAIR


@pytest.fixture(scope="module")
def model() -> Path:
    """A waveform graph of a small network, of random weights."""
    return networks.artifact("conv", graph="waveform", frames=0, batch=1).path


@pytest.fixture(scope="module")
def folder(model, web, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("page") / "site"
    make(model, web, made)
    return made


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(folder):
    """Where serve.py serves the page."""
    call = [sys.executable, "-u", str(folder / "serve.py"), "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def opened(browser, address):
    """The page, ready; at the end, no errors, and no request to elsewhere."""
    page, said, asked = _watched(browser)
    page.goto(address)
    page.wait_for_selector("#file:not([disabled])", state="attached")
    yield page
    assert not said
    assert asked and all(request.startswith((address, "blob:" + address, "data:")) for request in asked)
    page.close()


def _watched(browser, **options):
    page, said, asked = browser.new_page(**options), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return page, said, asked


def wav(samples: np.ndarray, rate: int = 44100) -> dict:
    """A file as a page is given it."""
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    return {"name": "song.wav", "mimeType": "audio/wav", "buffer": content.getvalue()}


def read(file: dict) -> np.ndarray:
    return soundfile.read(io.BytesIO(file["buffer"]), dtype="float32", always_2d=True)[0]


def downloads(page) -> dict[str, np.ndarray]:
    found = {}
    for target in TARGETS:
        with page.expect_download() as download:
            page.get_by_label(f"Download {target}").click()
        assert download.value.suggested_filename == f"song - {target}.wav"
        found[target], rate = soundfile.read(download.value.path(), dtype="float32", always_2d=True)
        assert rate == 44100
    return found


def check_stems(page, file: dict, model: Path) -> None:
    expected = open_separator(Artifact(model))(read(file), 44100)
    for target, stem in downloads(page).items():
        assert stem.shape == expected[target].shape
        assert agreement(expected[target], stem) > 50


def test_a_dropped_song(opened, model, song):
    mixture = np.sum(list(song.values()), axis=0)
    file = wav(mixture / max(1, np.abs(mixture).max()))
    script = """([name, content]) => {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        const given = new DataTransfer();
        given.items.add(new File([bytes], name, { type: "audio/wav" }));
        return given;
    }"""
    given = opened.evaluate_handle(script, [file["name"], base64.b64encode(file["buffer"]).decode()])
    opened.dispatch_event("#drop", "drop", {"dataTransfer": given})
    opened.wait_for_selector("#player:not([hidden])")
    assert re.fullmatch(r"song\.wav: 0:0\d of sound in \d+\.\d s, \d+\.\d times real time\.", opened.inner_text("#result"))
    check_stems(opened, file, model)


def test_a_real_clip(opened, model, clips):
    clip = songs(clips, "test")[0]
    file = wav(clip.read("mixture", frames=clip.frames))
    opened.set_input_files("#file", file)
    opened.wait_for_selector("#player:not([hidden])")
    check_stems(opened, file, model)


def test_by_keyboard_on_a_phone(browser, address, song, tmp_path):
    page, said, _ = _watched(browser, viewport={"width": 375, "height": 700})
    # The chooser is caught from the start: on a busy machine a key can reach the page before a catch asked for with it.
    page.on("filechooser", lambda chooser: chooser.set_files(wav(song["vocals"][:88200])))
    page.goto(address)
    page.wait_for_selector("#file:not([disabled])", state="attached")
    page.keyboard.press("Tab")
    page.wait_for_selector("#file:focus", state="attached")
    page.keyboard.press("Space")
    page.wait_for_selector("#player:not([hidden])")
    assert page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("() => document.activeElement.id") == "play"
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-pressed=true]")
    page.wait_for_selector("#time:not(:text('0:00 /'))")
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-pressed=false]")
    for _ in range(3):  # the position, the first stem's download, its mute
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_label("Mute vocals").get_attribute("aria-pressed") == "true"
    assert page.locator("li.silent").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_label("Solo vocals").get_attribute("aria-pressed") == "true"
    assert page.locator("li.silent").count() == len(TARGETS)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert float(page.get_by_label("Volume of vocals").input_value()) < 1
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert not said
    page.close()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound"},
            "notes.txt is not a sound file that this browser can read",
        ),
        (
            wav(np.zeros((3600 * 3000, 1), np.int16), 3000),
            "song.wav is 60 minutes long. All stems stay in memory, so this page takes 15 minutes at most",
        ),
    ],
    ids=["text", "hour"],
)
def test_what_it_cannot_separate(opened, song, file, message):
    opened.set_input_files("#file", file)
    opened.wait_for_selector("#error:not([hidden])")
    assert message in opened.inner_text("#error")
    opened.set_input_files("#file", wav(song["drums"][:44100]))  # and goes on
    opened.wait_for_selector("#player:not([hidden])")
    assert opened.locator("#error").is_hidden()


def test_without_threads(browser, folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page, said, _ = _watched(browser)
        page.goto(f"http://localhost:{server.server_port}")
        page.wait_for_selector("#file:not([disabled])", state="attached")
        assert "WebAssembly has no threads here" in page.inner_text("#notice")
        assert "1 thread." in page.inner_text("#model")
        page.set_input_files("#file", wav(np.zeros((44100, 2))))
        page.wait_for_selector("#player:not([hidden])")
        assert not said
        page.close()
        server.shutdown()


def test_on_node(model, web, song, tmp_path):
    modules = web.parent
    if not (modules / "onnxruntime-node").is_dir():
        pytest.skip("no onnxruntime-node in KERASEP_NODE_MODULES")
    examples = tmp_path / "examples"
    shutil.copytree(PAGE.parent, examples)
    (examples / "node" / "node_modules").symlink_to(modules)
    mixture = np.sum(list(song.values()), axis=0)
    soundfile.write(tmp_path / "song.wav", mixture, 44100, "FLOAT")

    def run(*given) -> subprocess.CompletedProcess:
        call = ["node", str(examples / "node" / "separate.mjs"), *map(str, given)]
        return subprocess.run(call, capture_output=True, text=True, check=False)

    done = run(model, tmp_path / "song.wav", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "times real time" in done.stderr
    expected = open_separator(Artifact(model))(mixture, 44100)
    for target in TARGETS:
        stem, rate = soundfile.read(tmp_path / "out" / f"{target}.wav", dtype="float32")
        assert rate == 44100 and agreement(np.clip(expected[target], -1, 1), stem) > 50
    (tmp_path / "text.wav").write_text("no sound")
    for call, message in (
        ((model, tmp_path / "text.wav", tmp_path), "text.wav: not a WAV file"),
        ((model, tmp_path / "none.wav", tmp_path), "none.wav: the song cannot be read (ENOENT)"),
        ((model,), "usage: node separate.mjs"),
    ):
        failed = run(*call)
        assert failed.returncode == 1 and message in failed.stderr and "at " not in failed.stderr.splitlines()[0][:4]
    assert len((PAGE.parent / "node" / "separate.mjs").read_text().splitlines()) < 100


def test_what_makes_no_page(model, web, tmp_path, capsys, monkeypatch):
    spectrogram = networks.artifact("conv").path
    with pytest.raises(UsageError, match="takes spectrograms: export it with --graph waveform"):
        make(spectrogram, web, tmp_path / "page")
    with pytest.raises(UsageError, match="a page runs ONNX files"):
        make(tmp_path / "model.tflite", web, tmp_path / "page")
    with pytest.raises(KerasepError, match=r"no ort\.wasm\.min\.mjs in it: npm install onnxruntime-web"):
        make(model, tmp_path, tmp_path / "page")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["export.web", str(model), "--package", str(web), "-o", str(tmp_path / "full")])
    assert main() == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "page").exists()


def test_the_page_is_whole(folder, model):
    assert {path.name for path in (folder / "ort").iterdir()} == set(RUNTIME)
    assert (folder / "model.onnx").read_bytes() == model.read_bytes()
    for path in (folder / "index.html", folder / "style.css", *folder.glob("*.mjs")):
        assert "://" not in path.read_text()
