"""`kerasep separate` on whatever people name: one line for what cannot be, and the rest is done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kerasep.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(packed, tmp_path, capsys):
    """Runs the command on names in a folder: its exit code, what it printed on both streams, and the files it left."""

    def separate(*arguments):
        code = main(["separate", *map(str, arguments), "-o", str(tmp_path / "out"), "--model", str(packed)])
        captured = capsys.readouterr()
        left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
        return code, captured.out.splitlines(), captured.err.splitlines(), left

    return separate


@pytest.fixture
def song_in(tmp_path, mixture):
    def write(name, seconds=0.5):
        path = tmp_path / name
        with path.open("wb") as file:  # soundfile takes no name that is not UTF-8
            soundfile.write(file, 0.5 * mixture[: int(seconds * 44100)], 44100, format="WAV")
        return path

    return write


def bytes_name(raw: bytes) -> str:
    return os.fsdecode(raw)


@pytest.mark.parametrize("bad", ["nothing.wav", ".", "x.raw", "y" * 300 + ".wav", "nul\0.wav"])
def test_a_bad_name_does_not_end_the_batch(run, song_in, tmp_path, bad):
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    code, out, err, left = run(tmp_path / bad, song_in("good.wav"))
    assert code == 1
    assert len(err) == 1 and err[0].startswith("kerasep: ")
    assert left == ["good/drums.wav", "good/vocals.wav"] and len(out) == 2


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        (bytes_name(b"caf\xe9.wav"), bytes_name(b"caf\xe9")),
        ("🎵.wav", "🎵"),
        ("%d.wav", "%d"),
        ("-x.wav", "-x"),
        ("z" * 251 + ".wav", None),
        ("...wav", "_"),
        ("con.wav", "con_"),
        ("a:b.wav", "a_b"),
        ("dots. .wav", "dots_"),
    ],
)
def test_names_of_songs(run, song_in, name, folder):
    code, out, err, left = run(song_in(name))
    assert code == 0 and len(out) == 2
    folders = {Path(path).parent.name for path in left}
    assert folders == {folder} if folder else len(folders) == 1
    # Told once, where it is not the file's own.
    changed = name.removesuffix(".wav") not in folders
    assert ["not every system takes the name" in line for line in err] == [True] * changed


def test_pipes(packed, song_in, tmp_path):
    """Standard input, a FIFO."""
    song = song_in("song.wav")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "kerasep", "separate", "-", str(fifo), "-o", str(tmp_path / "out"), "--model", str(packed)]
    with song.open("rb") as standard, subprocess.Popen(command, cwd=ROOT, stdin=standard) as process:
        fifo.write_bytes(song.read_bytes())
    assert process.returncode == 0
    one, other = (soundfile.read(tmp_path / "out" / name / "vocals.wav")[0] for name in ("stdin", "fifo"))
    assert len(one) == 22050 and np.array_equal(one, other)


def test_jobs_change_nothing(run, song_in, tmp_path, packed):
    songs = [song_in(f"{number}.wav", seconds=0.2) for number in range(3)]
    missing = tmp_path / "missing.wav"
    code, out, err, left = run(*songs, missing, "--jobs", "2")
    assert code == 1 and len(out) == 6 and len(err) == 1 and "no such file" in err[0]
    stems = {path: (tmp_path / "out" / path).read_bytes() for path in left}
    assert run(*songs, "--overwrite")[0] == 0
    assert {path: (tmp_path / "out" / path).read_bytes() for path in left} == stems


SIGNALS = [("SIGINT", 130, 1), ("SIGTERM", 143, 1), ("SIGTERM", 143, 2), ("SIGKILL", -9, 2)]


def heeding() -> None:
    """A shell that runs tests in the background has its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code", "jobs"), [("SIGINT", 130, 1), ("SIGTERM", 143, 1), ("SIGTERM", 143, 2), ("SIGKILL", -9, 2)]
)
def test_signals_leave_nothing(packed, song_in, tmp_path, number, code, jobs):
    song, other = song_in("long.wav", seconds=4), song_in("other.wav")
    with soundfile.SoundFile(song, "r+") as file:  # so long that the signal comes before the end
        tune = file.read()
        for _ in range(400):
            file.write(tune)
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "kerasep", "separate", str(other), str(song), "-o", str(out), "--model", str(packed)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [*command, "--jobs", str(jobs)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heeding,
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / "other").exists() or not list(out.glob(".kerasep-*/new/*.wav")):
            assert process.poll() is None and time.monotonic() < deadline
            os.sched_yield()
        process.send_signal(getattr(signal, number))
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    if number != "SIGKILL":
        assert said.decode().splitlines()[-1] in ("kerasep: stopped", "kerasep: ended")
        assert [path.name for path in out.iterdir()] == ["other"]
        assert not [path for path in temporary.iterdir() if path.name.startswith(".kerasep")]
    while True:  # until nobody of its session is left
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline
        os.sched_yield()


def test_nobody_reads_the_output():
    with subprocess.Popen([sys.executable, "-m", "kerasep", "models"], cwd=ROOT, stdout=-1, stderr=-1) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == b"" and process.returncode == 141


def test_ascii_terminals(packed, song_in, tmp_path):
    song = song_in("🎵.wav")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "kerasep", "separate", str(song), "-o", str(tmp_path / "out"), "--model", str(packed)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b""
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 2


@pytest.mark.slow
def test_hundreds_of_songs_leave_nothing(packed, song_in, tmp_path):
    """Memory and open files of one process stay what they were."""
    song = song_in("song.wav", seconds=0.2)
    songs = [song.rename(tmp_path / "0.wav")]
    for number in range(1, 300):
        songs.append(tmp_path / f"{number}.wav")
        os.link(songs[0], songs[-1])
    state = Path("/proc/self")
    model = ["--model", str(packed), "-o", str(tmp_path / "out")]

    def used() -> tuple[int, int]:
        resident = int((state / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return resident, len(list((state / "fd").iterdir()))

    assert main(["separate", *map(str, songs[:100]), *model]) == 0
    memory, files = used()
    assert main(["separate", *map(str, songs[100:]), *model]) == 0
    later, still = used()
    assert still <= files and later < memory + 10e6
    assert len(list((tmp_path / "out").iterdir())) == 300
