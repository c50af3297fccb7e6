"""What tests share: a small data set, networks trained on it for a moment, and the real clips where they are at hand.

Tests run in as many processes as there are cores (pytest-xdist, `addopts` in setup.cfg). `-n 0` runs them in one.
"""

import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shared
import soundfile
from filelock import FileLock
from hypothesis import settings

from kerasep.datasets import demo
from kerasep.datasets.musdb import songs

# Tests run against the kerasep that is installed; export/ and benchmarks/ are those of the checkout.
ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

# Machines that run tests are shared: how long an example takes says nothing there.
settings.register_profile("kerasep", deadline=None)
settings.load_profile("kerasep")

SMALL = ["spectrogram.fft=256", "spectrogram.hop=64", "options.vertical=6", "options.horizontal=5", "options.hidden=8"]
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SHORT = ["batch=2", "seconds=0.5", "steps=2", "jit=false"]  # compiling takes longer than these runs
# Tests compile more than they compute. Libraries read this, and what follows, when they are imported.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Graphs are many objects that live long: looking through them for cycles less often saves 6 % of the time.
gc.set_threshold(20_000, 20, 20)
# Of each test process.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Before processes start: one for each core, so one thread for each of them, and this one's folder for what they share."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ[shared.NAME] = str(shared.FOLDER)


@pytest.hookimpl(trylast=True)  # once it is known which tests run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: a process that took one of them last would still be at it when the others are done."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path], item.path))


@pytest.fixture(autouse=True)
def one_at_a_time(request, tmp_path_factory) -> Iterator[None]:
    """Tests that are marked `serial` wait for each other, in whichever processes they are."""
    if request.node.get_closest_marker("serial") is None:
        yield
    else:
        with FileLock(tmp_path_factory.getbasetemp().parent / "serial.lock"):
            yield


@pytest.fixture(scope="session")
def song() -> dict[str, np.ndarray]:
    """The demo song's stems, float32 (samples, 2) at 44.1 kHz."""
    return dict(demo.render())


@pytest.fixture(scope="session")
def mixture(song) -> np.ndarray:
    return np.sum(list(song.values()), axis=0)


@pytest.fixture
def excerpt(song, monkeypatch) -> None:
    """Files that are exported without a data set are verified on the demo song's first two seconds."""
    stems = {target: stem[:88200] for target, stem in song.items()}
    monkeypatch.setattr(demo, "render", lambda: stems)


@pytest.fixture(scope="session")
def hq_root(song) -> Path:
    """A data set in the form of MUSDB18-HQ: two songs to train on, one for validation, one to test on; 2 s each."""

    def make(root: Path) -> None:
        names = ("train/One", "train/Two", "train/ANiMAL - Rockshow", "test/Three")
        for number, name in enumerate(names):
            write_song(root / name, {target: stem[number * 40000 :][:88200] for target, stem in song.items()})

    return shared.once("musdb18hq", make)


def write_song(folder: Path, stems: dict[str, np.ndarray], rate: int = 44100) -> None:
    folder.mkdir(parents=True)
    for name, samples in {"mixture": np.sum(list(stems.values()), axis=0), **stems}.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, "FLOAT")


@pytest.fixture
def damaged_root(tmp_path, song):
    """Two songs to train on, one of which can be opened, but not read to its end."""
    for name in ("Good", "Bad", "ANiMAL - Rockshow"):
        folder = tmp_path / "train" / name
        write_song(folder, {target: stem[:88200] for target, stem in song.items()})
        for path in folder.iterdir():
            samples, rate = soundfile.read(path)
            soundfile.write(path, np.clip(samples, -1, 1), rate, "PCM_16")
    found = songs(tmp_path, "train")
    bad = tmp_path / "train" / "Bad" / "drums.wav"
    bad.write_bytes(bad.read_bytes()[:40000])
    return tmp_path, found, bad


@pytest.fixture(scope="session")
def runs(hq_root) -> dict[str, Path]:
    """Two targets of a small `conv-norm`, trained for four steps."""

    def make(folder: Path) -> None:
        from kerasep.training.recipe import RECIPES
        from kerasep.training.trainer import train

        for target in ("vocals", "drums"):
            recipe = RECIPES["conv-norm"].override([*SMALL, *SHORT, f"epochs.{target}=2"])
            train(recipe, (target,), [hq_root], folder / target)

    folder = shared.once("runs", make)
    return {target: folder / target for target in ("vocals", "drums")}


@pytest.fixture(scope="session")
def packed(runs) -> Path:
    """The runs as an artifact."""

    def make(folder: Path) -> None:
        from kerasep.conversion.pack import pack

        folder.mkdir()
        pack(list(runs.values()), folder / "small.onnx", licence="tests")

    return shared.once("packed", make) / "small.onnx"


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    """The artifact and its manifest in a folder of the test's own, to be damaged."""
    for path in (packed, packed.with_suffix(".json")):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / packed.name


@pytest.fixture(scope="session")
def clips() -> Path:
    """The root of real MUSDB18 clips, named by KERASEP_MUSDB_ROOT."""
    root = os.environ.get("KERASEP_MUSDB_ROOT")
    if not root:
        pytest.skip("KERASEP_MUSDB_ROOT is not set")
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    return Path(root)


@pytest.fixture(scope="session")
def web() -> Path:
    """The npm package onnxruntime-web, in the node_modules that KERASEP_NODE_MODULES names."""
    modules = os.environ.get("KERASEP_NODE_MODULES")
    if not modules:
        pytest.skip("KERASEP_NODE_MODULES is not set")
    return Path(modules) / "onnxruntime-web"


def package(variable: str) -> Path:
    """A folder that `pip install --no-deps --target` put a package with another ONNX Runtime into."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set")
    return Path(folder)


def with_package(variable: str) -> dict[str, str]:
    """An environment in which that package's ONNX Runtime takes the place of the installed one."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(package(variable)), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(scope="session")
def openvino() -> dict[str, str]:
    """An environment with ONNX Runtime's OpenVINO, a second provider that runs on a CPU."""
    return with_package("KERASEP_ONNXRUNTIME_OPENVINO")


def agreement(reference: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(sum ref^2 / sum (ref - est)^2) in dB."""
    error = np.sum(np.square(reference.astype(np.float64) - estimate))
    energy = np.sum(np.square(reference.astype(np.float64)))
    return float(10 * np.log10(energy / error)) if error else float("inf")


def disturb(model):
    """Noise added to all weights of a Keras model: else some layers say next to nothing, and their errors would not show."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = np.asarray(weight) + random.normal(0, 0.1, weight.shape)
        weight.assign(np.abs(values) if "variance" in weight.path else values)
    return model
