"""Nothing is sent anywhere, and nothing is left behind on the user's machine."""

import os
import shutil
import subprocess
import sys

import pytest
import soundfile
from signals import noise

from kerasep.inference.ort import onnxruntime

VARIABLE = "ORT_DISABLE_TELEMETRY"
CALLS = {
    "separate": ["-m", "kerasep", "separate", "song.wav", "-o", "stems"],
    "demo": ["-m", "kerasep", "demo", "-o", "demo"],
    "load": ["-c", "import kerasep; kerasep.load()"],
}


def test_telemetry_is_off_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    onnxruntime()
    assert os.environ[VARIABLE] == "1"
    monkeypatch.setenv(VARIABLE, "0")
    assert onnxruntime().InferenceSession and os.environ[VARIABLE] == "0"


@pytest.fixture(scope="module")
def traced() -> list[str]:
    """What writes down the sockets that a program opens, native code's too; nothing where it cannot."""
    command = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", "sockets.txt"]
    there = shutil.which("strace") and not subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode
    return command if there else []


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_sent_and_nothing_left_behind(call, traced, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    soundfile.write(tmp_path / "song.wav", noise(44100), 44100)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE and not name.startswith("XDG_")}
    # Matplotlib keeps the names of the machine's fonts, of which this says where.
    environment |= {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "fonts")}
    command = [*traced, sys.executable, *CALLS[call]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [path for path in home.rglob("*") if path.is_file()]
    if not traced:
        pytest.skip("no strace that works here: files alone were looked at")
    assert "AF_INET" not in (tmp_path / "sockets.txt").read_text()
