"""Imports go one way (docs/design.md): each room may use the rooms below it and no others."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {  # room: the rooms it may import
    "errors": set(),
    "machine": set(),
    "markdown": set(),
    "files": {"errors"},
    "signal": {"errors", "files"},
    "datasets": {"errors", "files", "signal"},
    "models": {"signal"},
    "inference": {"errors", "files", "signal"},
    "training": {"errors", "machine", "files", "signal", "datasets", "models"},
    "conversion": {"errors", "files", "signal", "datasets", "models", "inference", "training"},
    "importers": {"errors", "files", "signal", "models", "inference", "training", "conversion"},
    "download": {"errors"},
    "hub": {"errors", "files", "signal", "inference", "importers", "download"},
    "evaluation": {"errors", "markdown", "files", "signal", "datasets", "inference", "hub"},
    "cli": {"errors", "files", "signal", "datasets", "inference", "training", "conversion", "importers", "hub", "evaluation"},
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
