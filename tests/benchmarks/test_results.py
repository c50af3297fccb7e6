"""Results: a page that shows them, and what got slower. What is shown was measured once and is committed."""

import copy
import json
import sys

import pytest
from conftest import CHROMIUM, ROOT

from benchmarks import __main__ as benchmarks
from benchmarks.pages.committed import MACHINES, measured
from benchmarks.pages.compare import compare
from benchmarks.pages.report import PAGE, add, markdown, page
from benchmarks.pages.results import RESULTS, cases, load
from kerasep.errors import KerasepError


@pytest.fixture
def latency():
    """Committed results of latency alone, of two files."""
    section = measured("latency")
    return {"latency": section | {"files": section["files"][:2]}}


@pytest.mark.parametrize("machine", MACHINES)
def test_committed_reports_are_those_of_their_results(machine):
    folder = ROOT / "benchmarks" / "results" / machine
    assert markdown(load(folder / RESULTS)) == (folder / "report.md").read_text(), f"python -m benchmarks pages {folder}"


@pytest.mark.slow
def test_the_page_shows_charts_and_asks_nothing(latency, tmp_path):
    text = page(latency)
    (tmp_path / PAGE).write_text(text)
    assert text.count("<svg") == 2
    assert text.count("<tr>") == 1 + sum(1 for _ in cases(latency["latency"]))
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown, said, asked = browser.new_page(), [], []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto((tmp_path / PAGE).as_uri())
        for chart in shown.locator("svg").all():
            box = chart.bounding_box()
            assert box["width"] > 200 and box["height"] > 50
        assert not said and asked == [(tmp_path / PAGE).as_uri()]
        browser.close()


def test_what_got_slower(latency, tmp_path):
    old = latency
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


def test_all_parts_on_one_page(latency, tmp_path):
    """One section after the other joins what is there."""
    add(tmp_path, latency)
    about = {key: latency["latency"][key] for key in ("machine", "versions", "commit")}
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


def test_times_that_spread_are_said(latency):
    section = latency["latency"]
    for _, case in cases(section):
        case["samples"] = [0.01] * 4
    section["files"][0]["cases"][0]["samples"] = [0.01, 0.01, 0.02, 0.03]
    section["files"][0]["cases"][0]["nodes"] = {"CUDAExecutionProvider": 20, "CPUExecutionProvider": 3}
    text = markdown(latency)
    assert text.count("(wide)") == 1 and text.count("spread widely") == 1
    assert "nodes did not all run there: 20 on CUDAExecutionProvider, 3 on CPUExecutionProvider" in text


def test_bad_input_gets_one_line(latency, tmp_path, monkeypatch, capsys):
    add(tmp_path / "good", latency)
    (tmp_path / "file").write_text("[]")
    for call, message, code in (
        (["latency", "nothing.onnx", "-o", str(tmp_path / "out")], "nothing.onnx", 2),  # a wrong call, as everywhere
        (["compare", str(tmp_path / "file"), str(tmp_path / "good" / RESULTS)], "file: not a results.json", 1),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *call])
        assert benchmarks.main() == code
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["benchmarks", "all", "-o", str(tmp_path / "file")])
    assert benchmarks.main() == 1  # before minutes of work
    assert "file: cannot be written" in capsys.readouterr().err
    with pytest.raises(KerasepError, match="file: cannot be written"):
        add(tmp_path / "file", latency)
    assert (tmp_path / "file").read_text() == "[]"
