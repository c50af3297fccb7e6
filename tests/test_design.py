"""Imports go one way (docs/design.md): each room may use the rooms below it and no others."""

import ast
import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {  # room: the rooms it may import
    "errors": set(),
    "names": set(),
    "threads": set(),
    "program": {"errors"},
    "machine": set(),
    "markdown": {"errors"},
    "measurements": {"errors"},
    "files": {"errors"},
    "checks": set(),
    "signal": {"errors", "checks", "files", "threads"},
    "datasets": {"errors", "files", "signal"},
    "models": {"signal"},
    "inference": {"errors", "checks", "files", "signal", "threads"},
    "training": {"errors", "checks", "machine", "files", "signal", "datasets", "models"},
    "conversion": {"errors", "files", "signal", "datasets", "models", "inference", "training"},
    "importers": {"errors", "checks", "files", "signal", "models", "inference", "training", "conversion"},
    "download": {"errors", "files"},
    "hub": {"errors", "files", "signal", "inference", "importers", "download"},
    "evaluation": {"errors", "markdown", "names", "program", "files", "signal", "datasets", "inference", "hub", "threads"},
    "cli": {"errors", "names", "program", "files", "signal", "datasets", "inference"}
    | {"training", "conversion", "importers", "hub", "evaluation"},
    "data": set(),
    "weights": set(),
    "__init__": {"errors", "hub", "inference", "signal"},
    "__main__": {"cli"},
}
HEAVY = {"tensorflow", "keras", "tf2onnx", "onnx", "torch", "jax"}
MAY_BE_HEAVY = {
    "models": {"keras"},
    "training": {"keras", "tensorflow", "jax"},
    "conversion": {"keras", "tensorflow", "tf2onnx", "onnx"},
    "importers": {"keras", "tensorflow", "torch"},
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" if node.module == "kerasep" else str(node.module) for alias in node.names}
    return names


MODULES = sorted((ROOT / "kerasep").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT / "kerasep").parts[0].removesuffix(".py")
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "kerasep" and rest and (ROOT / "kerasep" / f"{rest[0]}.py").exists() | (ROOT / "kerasep" / rest[0]).is_dir():
            assert rest[0] in ALLOWED[room] | {room}, f"{room} imports {name}"
        assert top not in HEAVY - MAY_BE_HEAVY.get(room, set()), f"{room} imports {name}"
        assert top not in {"benchmarks", "export", "tests"}, f"{room} imports {name}"


def test_export_and_benchmarks_are_neighbours():
    for folder, other in (("export", "benchmarks"), ("benchmarks", "export")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert not {name for name in imports(path) if name.split(".")[0] in {other, "tests"}}, path


def test_every_room_is_on_the_plan():
    rooms = {path.relative_to(ROOT / "kerasep").parts[0].removesuffix(".py") for path in MODULES}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("folder", ["kerasep", "export", "benchmarks"])
def test_onnx_runtime_is_imported_in_one_place(folder):
    """Which sees to it that nothing is sent: `kerasep.inference.ort`."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        assert "onnxruntime" not in {name.split(".")[0] for name in imports(path)}, path


LOOK = """
import importlib, json, logging, os, signal, sys, warnings
import ai_edge_litert.interpreter, filelock, joblib, keras, matplotlib, numpy, onnxruntime.quantization, pooch, requests
import scipy.fft, scipy.linalg, scipy.signal, soundfile, soxr, tensorflow as tf, tf2onnx, tqdm

def state():
    return {
        "environment": dict(os.environ),
        "devices": [device.name for device in tf.config.get_visible_devices()],
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "logging": (logging.root.level, logging.root.manager.disable, len(logging.root.handlers), tf.get_logger().level),
        "warnings": len(warnings.filters),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "folder": os.getcwd(),
        "policy": (keras.config.floatx(), keras.config.dtype_policy().name),
    }

before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    after = state()
    assert after == before, f"{name}: {[key for key in before if before[key] != after[key]]}"
"""


def test_no_import_changes_the_process():
    """The environment, GPUs, logging, warnings and signals are as they were before kerasep, export and benchmarks came."""
    names = []
    for folder in ("kerasep", "export", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "examples" not in parts and not {"__main__", "torch_worker", "torch_training_worker"} & set(parts):
                names.append(".".join(parts).removesuffix(".__init__"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*filter(None, [os.environ.get("PYTHONPATH")]), ROOT)))}
    done = subprocess.run([sys.executable, "-c", LOOK, *names], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_extras_bring_one_runtime_or_none():
    """Two of ONNX Runtime's packages overwrite each other's files; GPUs need their libraries, and a way to load them."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {name: text.split("\n") for name, text in setup["options.extras_require"].items()}
    runtimes = {name: [need for need in needs if need.startswith("onnxruntime")] for name, needs in extras.items()}
    assert {name for name, found in runtimes.items() if found} == {"cpu", "gpu", "openvino", "dev"}
    assert all(len(found) < 2 for found in runtimes.values())
    assert runtimes["gpu"] == ["onnxruntime-gpu[cuda,cudnn]>=1.21"]
    assert "tensorflow[and-cuda]>=2.20" in extras["train-cuda"] and "jax[cuda13]>=0.8" in extras["train-jax"]


SUBPROCESS = {"run", "Popen", "check_output", "check_call"}
BINARY = {"wave", "tarfile", "zipfile", "archive", "os"}  # whose `open` opens no text


def in_the_locales_encoding(call: ast.Call) -> bool:
    """Whether a call opens, reads or writes text without a word on its encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    of = getattr(call.func, "value", None)
    if name in ("open", "fdopen", "TemporaryFile", "NamedTemporaryFile"):
        if name == "open" and getattr(of, "id", "") in BINARY:
            return False
        place = 1 if name == "fdopen" or (isinstance(call.func, ast.Name) and name == "open") else 0
        usual = "r" if "open" in name else "w+b"
        mode = given.get("mode", call.args[place] if len(call.args) > place else ast.Constant(usual))
        words = [node.value for node in ast.walk(mode) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        return "encoding" not in given and not any("b" in word for word in words)
    if name in ("read_text", "write_text", "TextIOWrapper"):
        return "encoding" not in given and len(call.args) < (1 if name == "read_text" else 2)
    return bool({"text", "universal_newlines"} & set(given)) and name in SUBPROCESS and "encoding" not in given


PROGRAMS = [path for folder in ("kerasep", "export", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_in_utf8_in_every_locale(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [f"{path}:{call.lineno}" for call in calls if in_the_locales_encoding(call)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open('a')", True),
        ("open('a', 'w')", True),
        ("open('a', 'rb')", False),
        ("open('a', encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('wb')", False),
        ("wave.open('a')", False),
        ("path.write_text('a')", True),
        ("path.read_text(encoding='utf-8')", False),
        ("TemporaryFile()", False),
        ("TemporaryFile('w+')", True),
        ("subprocess.run(call, text=True)", True),
        ("subprocess.run(call)", False),
    ],
)
def test_calls_that_leave_the_encoding_to_the_locale(text, found):
    assert in_the_locales_encoding(ast.parse(text).body[0].value) == found


@pytest.mark.parametrize("folder", ["kerasep", "export"])
def test_modules_are_short(folder):
    assert not [path for path in (ROOT / folder).rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 300]
