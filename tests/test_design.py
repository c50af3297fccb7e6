"""Imports go one way (docs/design.md): each room may use the rooms below it and no others."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"errors", "files"}
SIGNAL = BASE | {"audio", "spectral", "masking"}
FILE = SIGNAL | {"manifest", "runtimes", "artifact"}
RUN = FILE | {"separator", "segments", "stream", "waveform", "zoo"}
SCORE = RUN | {"dataset", "systems", "bsseval", "evaluation", "report", "demo"}
ALLOWED = {  # room: the rooms it may import
    "errors": set(),
    "files": {"errors"},
    "audio": {"errors"},
    "spectral": set(),
    "masking": set(),
    "windows": set(),
    "manifest": {"errors", "masking", "spectral"},
    "segments": {"manifest"},
    "runtimes": {"errors"},
    "stepping": {"manifest"},
    "artifact": {"errors", "manifest", "runtimes", "stepping", "windows"},
    "download": {"errors"},
    "zoo": BASE | {"artifact", "manifest", "download", "spectral", "importers"},
    "separator": SIGNAL | {"artifact", "manifest"},
    "stream": SIGNAL | {"artifact", "manifest", "stepping", "separator"},
    "waveform": SIGNAL | {"artifact", "manifest", "segments", "separator"},
    "dataset": SIGNAL,
    "bsseval": set(),
    "systems": RUN | {"dataset"},
    "evaluation": SCORE,
    "report": {"bsseval", "errors", "evaluation", "files"},
    "data": set(),
    "weights": set(),
    "demo": SCORE,
    "models": {"models", "spectral"},
    "training": SIGNAL | {"models", "training", "dataset"},
    "operations": {"spectral"},
    "usage": {"manifest", "segments", "spectral"},
    "graph": {"errors"},
    "conversion": FILE | {"usage", "graph", "models", "training", "operations"},
    "importers": FILE | {"models", "training", "conversion", "importers"},
    "cli": SCORE | {"usage", "training", "conversion", "importers"},
    "__init__": {"zoo", "waveform"},
    "__main__": {"cli"},
}
HEAVY = {"tensorflow", "keras", "tf2onnx", "onnx", "torch", "jax"}
MAY_BE_HEAVY = {
    "models": {"keras"},
    "training": {"keras", "tensorflow", "jax"},
    "operations": {"onnx"},
    "graph": {"onnx"},
    "conversion": {"keras", "tensorflow", "tf2onnx", "onnx"},
    "importers": {"keras", "tensorflow", "torch"},
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
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
            assert rest[0] in ALLOWED[room], f"{room} imports {name}"
        assert top not in HEAVY - MAY_BE_HEAVY.get(room, set()), f"{room} imports {name}"
        assert top not in {"benchmarks", "export", "tests"}, f"{room} imports {name}"


def test_export_and_benchmarks_are_neighbours():
    for folder, other in (("export", "benchmarks"), ("benchmarks", "export")):
        for path in sorted((ROOT / folder).glob("*.py")):
            assert not {name for name in imports(path) if name.split(".")[0] in {other, "tests"}}, path


def test_every_room_is_on_the_plan():
    rooms = {path.relative_to(ROOT / "kerasep").parts[0].removesuffix(".py") for path in MODULES}
    assert rooms == set(ALLOWED)
