"""What export is asked for: checked before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from export.options import ExportOptions, Format, Precision
from kerasep.errors import UsageError
from kerasep.inference.graphs import Kind


def test_strings_will_do_and_each_choice_counts_once():
    options = ExportOptions(formats=["tflite", "onnx", "tflite"], precisions=["float16", "float16"], graph="waveform")
    assert options.formats == (Format.TFLITE, Format.ONNX)
    assert options.precisions == (Precision.FLOAT16,) and options.graph is Kind.WAVEFORM


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"formats": ["coreml"]}, "unknown format 'coreml': choose from onnx, tflite"),
        ({"precisions": ["int4"]}, "unknown precision 'int4': choose from float32, float16, int8, int8-dynamic, int8-tensorrt"),
        (
            {"precisions": ["int8-tensorrt"], "formats": ["onnx", "tflite"], "root": Path("x")},
            "int8-tensorrt is for ONNX files: leave --format tflite out",
        ),
        ({"graph": "stream"}, "unknown graph 'stream': choose from spectrogram, step, waveform"),
        ({"precisions": ["int8-dynamic"]}, "int8-dynamic is calibrated on real music: name MUSDB18's folder with --root"),
        ({"precisions": ["int8"], "graph": "step", "root": Path("x")}, "int8: a step graph is exported in float32 or float16"),
        ({"graph": "step", "frames": 3}, "a step graph takes one frame of one song: leave --frames and --batch out"),
    ],
)
def test_what_cannot_be_had(given, said):
    with pytest.raises(UsageError) as caught:
        ExportOptions(**given)
    assert str(caught.value) == said


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["run", "-o", "out", "--precision", "int8"], 2)])
def test_help_and_wrong_calls_import_nothing_heavy(arguments, code):
    program = (
        "import runpy, sys\n"
        "try:\n    runpy.run_module('export', run_name='__main__')\n"
        "finally:\n    assert not {'tensorflow', 'keras', 'onnx'} & set(sys.modules), 'too much'\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "too much" not in done.stderr
