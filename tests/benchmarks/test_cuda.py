"""What measures on a GPU, as far as a machine without one can tell: what is carried, what runs, what it writes."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT
from test_benchmarks import PEER

from benchmarks import cuda, latency, report
from export.options import ExportOptions
from export.pipeline import export

PARTS = ("waveform", "networks")


def test_pieces_make_what_they_were_cut_from(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda, "PIECE", 1000)
    files = [tmp_path / name for name in ("a.whl", "b.onnx")]
    for number, path in enumerate(files):
        path.write_bytes(bytes(range(256)) * (10 + number))
    cuda.cut(files, tmp_path / "carried")
    (tmp_path / "scratch").mkdir()
    found = cuda.joined(tmp_path / "carried", tmp_path / "scratch")
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in files]
    (tmp_path / "carried" / "b.onnx.01").unlink()
    with pytest.raises(SystemExit, match=r"b\.onnx: a piece is missing or damaged: carry it again"):
        cuda.joined(tmp_path / "carried", tmp_path / "scratch")


def test_run_measures_what_was_carried(runs, tmp_path, monkeypatch):
    """From pieces to pages, on the CPU, beside a peer that only says that it is one."""
    files = [
        next(export([*runs.values()], tmp_path, ExportOptions(graph="waveform"))),
        next(export([*runs.values()], tmp_path)),
    ]
    files = [path.rename(tmp_path / f"openunmix-{number}.onnx") for number, path in enumerate(files)]
    script = tmp_path / "peer.py"
    script.write_text(PEER.replace('["default"]', json.dumps([way for *_, way in cuda.PAIRS])))
    short = {"cuda.ROUNDS": 2, "latency.ROUNDS": 3, "cuda.SECONDS": 2, "latency.SECONDS": (1.0,), "latency.BATCHES": (1,)}
    patches = [f"{name} = {value}" for name, value in short.items()]
    patches += ["from pathlib import Path", f"cuda.SCRIPT = Path({str(script)!r})", "cuda.BATCHES = (1, 2)", "cuda.main()"]
    (tmp_path / "short.py").write_text("\n".join(["from benchmarks import cuda, latency", *patches]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    output = tmp_path / "out"
    command = [sys.executable, tmp_path / "short.py", "measure", *files, "-o", output]
    subprocess.run([*command, "--provider", "CPUExecutionProvider"], check=True, cwd=ROOT)
    report.add(output, {})
    result = json.loads((output / report.RESULTS).read_text())
    assert {case["provider"] for _, case in report.cases(result["latency"])} == {"CPUExecutionProvider"}
    whole, alone = (
        {way for _, precision, way in cuda.PAIRS if way.startswith(part) and precision == "float32"} for part in PARTS
    )
    for peer, batch, ways in zip(result["peers"]["peers"], (1, 2), (whole | alone, alone), strict=True):
        assert f"batch {batch}" in peer["name"]
        assert {way: len(sides["ours"]) for way, sides in peer["samples"].items()} == dict.fromkeys(ways, 2)
    assert "same shapes, weights made up" in (output / report.PAGE).read_text()


def test_a_provider_that_is_not_there_is_a_line(packed, tmp_path):
    section = latency.measure([str(packed)], only=cuda.CUDA)
    assert section["files"][0]["cases"] == []
    assert "CUDAExecutionProvider: not in this machine's runtime" in section["missing"]
    report.add(tmp_path, {"latency": section})
    assert "CUDAExecutionProvider: not in this" in (tmp_path / report.PAGE).read_text()


def test_running_needs_nothing_but_the_standard_library(tmp_path):
    """Up to where it has installed what it needs."""
    code = "import sys; from benchmarks import cuda; print([n for n in ('numpy', 'kerasep', 'tqdm') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
