"""Latency benchmarks: every case measured, a page that shows them, and what got slower."""

import copy
import json
import shutil
import subprocess
import sys
import time

import pytest
from conftest import CHROMIUM, ROOT

from benchmarks import __main__ as benchmarks
from benchmarks.compare import compare
from benchmarks.report import PAGE, RESULTS, add, cases, load
from export.options import ExportOptions
from export.pipeline import export
from kerasep.errors import KerasepError
from kerasep.hub import DEFAULT


@pytest.fixture(scope="module")
def measured(packed, runs, tmp_path_factory):
    """A folder of results of a small network: spectrogram graphs in both formats, a waveform and a step graph."""
    folder = tmp_path_factory.mktemp("latency")
    more = [next(export([*runs.values()], folder, ExportOptions(formats=["tflite"])))]
    more += [next(export([*runs.values()], folder, ExportOptions(graph="waveform")))]
    patch = pytest.MonkeyPatch()
    more.append(next(iter(runs.values())))
    call = ["benchmarks", "latency", str(packed), *map(str, more), "--quick", "-o", str(folder / "out")]
    patch.setattr(sys, "argv", call)
    try:
        assert benchmarks.main() == 0
    finally:
        patch.undo()
    return folder / "out"


def test_every_case_has_its_numbers(measured):
    result = load(measured / RESULTS)["latency"]
    assert {file["graph"] for file in result["files"]} == {"spectrogram", "waveform"}
    assert {case["provider"] for _, case in cases(result)} >= {"CPUExecutionProvider", "XNNPACK", "Keras"}
    for file, case in cases(result):
        assert len(case["samples"]) == result["rounds"] - 1 == len(file["rates"][str(case["threads"])]["product"])
        assert case["load_seconds"] > 0 and case["first_seconds"] > 0 and case["peak_megabytes"] > 20
        assert (case["provider"] == "Keras" or case["limit_seconds"] > 0) and case["audio_seconds"] == pytest.approx(
            10, abs=0.1
        )
    assert result["commit"] is None or len(result["commit"].rstrip("+")) == 40
    assert any(line.startswith("CUDAExecutionProvider") for line in result["missing"])


def test_the_page_shows_charts_and_asks_nothing(measured):
    text = (measured / PAGE).read_text()
    assert text.count("<svg") == 2
    assert text.count("<tr>") == 1 + sum(1 for _ in cases(load(measured / RESULTS)["latency"]))
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, said, asked = browser.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((measured / PAGE).as_uri())
        for chart in page.locator("svg").all():
            box = chart.bounding_box()
            assert box["width"] > 200 and box["height"] > 50
        assert not said and asked == [(measured / PAGE).as_uri()]
        browser.close()


def test_what_libraries_print_is_no_answer(packed):
    code = "import benchmarks.latency_worker as w; o = w.opened; w.opened = lambda *a: (print('noise'), o(*a))[1]; w.main()"
    command = [sys.executable, "-c", code, packed, "CPUExecutionProvider", "1", "1", "1"]
    done = subprocess.run(command, input="load\nrun\nend\n", cwd=ROOT, check=True, capture_output=True, text=True)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3 and "noise" in done.stderr


def test_what_got_slower(measured, tmp_path):
    old = load(measured / RESULTS)
    for _, case in cases(old["latency"]):
        case["samples"] = [0.010, 0.0101, 0.0102, 0.0099]
    for file in old["latency"]["files"]:
        for samples in file["rates"].values():
            samples["product"] = [0.001, 0.00101, 0.00099, 0.001]
    new = copy.deepcopy(old)
    slow, fast, *_ = (case for _, case in cases(new["latency"]))
    slow["samples"] = [2 * seconds for seconds in slow["samples"]]
    fast["samples"] = [seconds / 2 for seconds in fast["samples"]]
    new["latency"]["files"][-1]["name"] = "another.onnx"
    for name, result in (("old", old), ("new", new)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    lines, slower = compare(tmp_path / "old.json", tmp_path / "new.json")
    assert slower
    assert sum("+100 % (slower" in line for line in lines) == 1 and sum("-50 % (faster" in line for line in lines) == 1
    assert any("only in" in line and "another.onnx" in line for line in lines)
    lines, slower = compare(tmp_path / "old.json", tmp_path / "old.json")
    assert not slower and all("the same" in line for line in lines)
    twice = copy.deepcopy(old)  # a machine of half the speed
    for _, case in cases(twice["latency"]):
        case["samples"] = [2 * seconds for seconds in case["samples"]]
    for file in twice["latency"]["files"]:
        for samples in file["rates"].values():
            samples["product"] = [2 * seconds for seconds in samples["product"]]
    (tmp_path / "twice.json").write_text(json.dumps(twice))
    assert not compare(tmp_path / "old.json", tmp_path / "twice.json")[1]


def test_all_parts_on_one_page(measured, tmp_path):
    """One section after the other joins what is there."""
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    about = {key: load(measured / RESULTS)["latency"][key] for key in ("machine", "versions", "commit")}
    file = {"minutes": 1, "wall_seconds": 2.0, "cpu_seconds": 3.0, "warm_seconds": 1.0, "peak_megabytes": 321.0}
    parts = {"samples": {"network": [0.01, 0.011]}, "products": [0.01, 0.011]}
    run = {"side": "museval", "seconds_of_audio": 15, "seconds": 9.0, "peak_megabytes": 800.0}
    add(tmp_path, {"separate": about | {"files": [file], "parts": parts}})
    add(tmp_path, {"scoring": about | {"runs": [run]}})
    for name in ("report.md", PAGE):
        text = (tmp_path / name).read_text()
        assert all(part in text for part in ("Latency", "Files to stems", "321 MB", "BSSEval", "museval", "9.0 s"))
        assert "Not measured: peers" in text and "Not measured: scoring" not in text


def test_what_is_no_result(tmp_path):
    for content in ("{}", "[]", "nothing", '{"latency": {"machine": {}}}'):
        (tmp_path / RESULTS).write_text(content)
        with pytest.raises(KerasepError, match=r"not a results\.json of python -m benchmarks"):
            load(tmp_path / RESULTS)


@pytest.mark.slow
def test_all_is_quick(tmp_path, monkeypatch):
    """The bundled model, as one would begin."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", "all", "--quick", "-o", str(tmp_path)])
    start = time.perf_counter()
    assert benchmarks.main() == 0
    assert time.perf_counter() - start < 300
    result = load(tmp_path / RESULTS)
    assert result["latency"]["files"][0]["name"] == f"{DEFAULT}.onnx" and len(result["separate"]["files"]) == 2
    assert (tmp_path / PAGE).is_file()


def test_times_that_spread_are_said(measured, tmp_path):
    result = load(measured / RESULTS)
    section = result["latency"]
    for _, case in cases(section):
        case["samples"] = [0.01] * 4
    section["files"][0]["cases"][0]["samples"] = [0.01, 0.01, 0.02, 0.03]
    section["files"][0]["cases"][0]["nodes"] = {"CUDAExecutionProvider": 20, "CPUExecutionProvider": 3}
    add(tmp_path / "out", result)
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.count("(wide)") == 1 and text.count("spread widely") == 1
    assert "nodes did not all run there: 20 on CUDAExecutionProvider, 3 on CPUExecutionProvider" in text


def test_bad_input_gets_one_line(measured, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("[]")
    for call, message, code in (
        (["latency", "nothing.onnx", "-o", str(tmp_path / "out")], "nothing.onnx", 2),  # a wrong call, as everywhere
        (["compare", str(tmp_path / "file"), str(measured / RESULTS)], "file: not a results.json", 1),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *call])
        assert benchmarks.main() == code
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["benchmarks", "all", "-o", str(tmp_path / "file")])
    assert benchmarks.main() == 1  # before minutes of work
    assert "file: cannot be written" in capsys.readouterr().err
    with pytest.raises(KerasepError, match="file: cannot be written"):
        add(tmp_path / "file", load(measured / RESULTS))
    assert (tmp_path / "file").read_text() == "[]"
