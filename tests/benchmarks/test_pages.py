"""README and docs say what the result files and the artifact say."""

import json
import re
import statistics

import pytest
from conftest import ROOT

import kerasep
from benchmarks.pages import tables
from benchmarks.pages.committed import measured
from kerasep.hub import BUNDLED, DEFAULT
from kerasep.inference.artifact import Artifact, sha256
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.record import WEIGHTS

NETWORKS = {"bands", "conv", "deepconvsep", "openunmix", "spleeter"}


@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_those_of_the_result_files(page):
    text = (ROOT / page).read_text()
    assert "<!-- " in text
    assert tables.rendered(text) == text, "python -m benchmarks tables"


@pytest.mark.parametrize("page", [*tables.PAGES, "docs/design.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_scores_are_of_the_bundled_files():
    assert json.loads((ROOT / "docs" / "results" / "trials.json").read_text())["conv"]["sha256"] == sha256(BUNDLED["conv"])
    for name, path in BUNDLED.items():
        summary = json.loads((ROOT / "docs" / "results" / "test" / name / "summary.json").read_text())
        assert summary["settings"]["model_sha256"] == sha256(path)
    assert measured("separate")["model"]["sha256"] == sha256(BUNDLED[DEFAULT])


@pytest.mark.parametrize("name", BUNDLED)
def test_the_licence_of_the_weights_is_said_everywhere(name):
    manifest = Artifact(BUNDLED[name]).manifest
    assert "non-commercial" in manifest.licence
    assert "non-commercial" in (ROOT / "README.md").read_text()[:2500]
    assert "non-commercial" in (ROOT / "kerasep" / "weights" / "LICENSE").read_text()


def test_validation_figures_of_card_and_manifest_agree():
    manifest = Artifact(BUNDLED["conv"]).manifest
    runs = json.loads((ROOT / "docs" / "results" / "runs-conv-norm.json").read_text())
    packed = {run["targets"][0]: run["best"]["validation_db"] for run in manifest.details["runs"]}
    assert packed == {run["target"]: run["best"]["validation_db"] for run in runs}


def test_bands_comes_of_its_recipe():
    """What trained it, what was tried, and what the manifest says are one."""
    (run,) = Artifact(BUNDLED["bands"]).manifest.details["runs"]
    assert Recipe.from_json(run["recipe"]) == RECIPES["bands"]
    (record,) = json.loads((ROOT / "docs" / "results" / "runs-bands.json").read_text())
    assert Recipe.from_json(record["recipe"]) == RECIPES["bands"]
    tried = json.loads((ROOT / "docs" / "results" / "trials.json").read_text())["bands"]
    assert Recipe.from_json(tried["recipe"]) == RECIPES["bands"]
    assert run["best"] == record["best"] == tried["best"] and run["seed"] == record["seed"] == tried["seed"]
    assert tried["sha256"] == run["weights_sha256"] == sha256(ROOT / "kerasep" / "weights" / "bands" / WEIGHTS)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models_are_small_and_described(name):
    manifest = Artifact(BUNDLED[name]).manifest
    assert BUNDLED[name].stat().st_size < 10e6 and manifest.multiply_adds <= 0.15e9
    assert set(manifest.targets) == {"vocals", "drums", "bass", "other"}
    assert manifest.details["versions"]["kerasep"] == kerasep.__version__


def test_waveform_graphs_are_as_equal_and_as_fast_as_we_want_them():
    graphs = json.loads((ROOT / "docs" / "results" / "waveform.json").read_text())["graphs"]
    assert {graph["name"].removesuffix("-waveform") for graph in graphs if graph["format"] == "onnx"} == NETWORKS
    for graph in graphs:
        assert graph["agreement_db"] >= 60
        if graph["format"] == "onnx":
            medians = {name: statistics.median(samples) for name, samples in graph["samples"].items()}
            assert medians["waveform"] <= (2 if graph["name"].split("-")[0] in BUNDLED else 1.5) * medians["host"]


def test_streaming_is_as_fast_and_as_prompt_as_we_want_it():
    models = json.loads((ROOT / "docs" / "results" / "stream.json").read_text())["models"]
    assert {(model["name"], model["format"]) for model in models} == {
        (name, form) for name in ("bands-step", "conv-step", "conv-causal-step") for form in ("onnx", "tflite")
    }
    for model in models:
        assert sorted(model["samples"])[int(0.99 * len(model["samples"]))] < 0.003
        assert model["latency_seen_seconds"] <= model["latency_seconds"] <= (0.42 if model["look_ahead_frames"] else 0.095)
        assert model["grown_kilobytes"] < 1024
