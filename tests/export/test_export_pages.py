"""What docs/export.md says of exported files, and what the committed results say of them, against what the export allows."""

import json
import re
import statistics

from conftest import ROOT

from export.options import Precision
from export.verify import LOSS, OPERATORS, WAVEFORM
from kerasep.models import NETWORKS


def test_operators_in_the_docs_are_all_that_a_file_may_have():
    onnx, tflite = (ROOT / "docs" / "export.md").read_text().split("## TFLite")
    for form, text in (("onnx", onnx), ("tflite", tflite)):
        rows = re.findall(r"^\| (all|float16|int8[a-z-]*) \| ((?:and )?[A-Z][A-Za-z0-9_ ]*) \|$", text, re.MULTILINE)
        listed = {"float32" if name == "all" else name: set(row.removeprefix("and ").split()) for name, row in rows}
        assert listed == {precision: set(names) for precision, names in OPERATORS[form].items()}


def test_operators_of_waveform_graphs_in_the_docs():
    text = (ROOT / "docs" / "export.md").read_text()
    for form, name in (("onnx", "ONNX"), ("tflite", "TFLite")):
        (listed,) = re.findall(rf"^\| {name} \| and ([A-Za-z_ ]*) \|$", text, re.MULTILINE)
        assert set(listed.split()) == WAVEFORM[form]


def test_every_network_in_every_precision_is_measured_within_what_is_allowed():
    networks = json.loads((ROOT / "docs" / "results" / "export.json").read_text())["networks"]
    assert set(networks) == set(NETWORKS)
    for network in networks.values():
        for files, half in ((network["files"], 0.51), (network["tflite"]["files"], 0.55)):
            assert set(files) == set(Precision.portable())
            assert files["float32"]["parity"]["max_relative_error"] <= 1e-5
            for precision, share in (("float16", half), ("int8", 0.35), ("int8-dynamic", 0.35)):
                assert files[precision]["bytes"] <= share * files["float32"]["bytes"]
                assert max(row["median_loss"] for row in files[precision]["sdr"].values()) <= LOSS[precision]
        for files in (network["files"], network["tflite"]["files"]):
            assert not [name for file in files.values() for name in file["operators"] if name.startswith(("CUSTOM", "FLEX"))]


def test_tflite_is_as_fast_beside_onnx_runtime_as_we_want_it():
    networks = json.loads((ROOT / "docs" / "results" / "export.json").read_text())["networks"]
    for name, most in (("conv", 1), ("openunmix", 3)):
        medians = {p: statistics.median(samples) for p, samples in networks[name]["tflite"]["samples"].items()}
        assert all(medians[precision] <= most * medians["onnx"] for precision in Precision.portable())
