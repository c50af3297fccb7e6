"""Scores read back, after anything may have happened to them."""

import json
import math

import pytest

from kerasep.errors import KerasepError
from kerasep.evaluation import records
from kerasep.evaluation.records import SHAPE, read_json, read_scores, read_song

SONG = {
    "targets": [{"name": "bass", "frames": [{"metrics": {"SDR": 1.5}}, {"metrics": {"SDR": math.nan}}], "whole": {"SDR": 2}}]
}


def one_line(path, read) -> str:
    with pytest.raises(KerasepError) as caught:
        read()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_song_as_it_was_written(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(SONG), encoding="utf-8")
    assert json.dumps(read_song(tmp_path / "a.json", ["bass"], ("SDR",))) == json.dumps(SONG)
    assert "other targets" in one_line(tmp_path, lambda: read_song(tmp_path / "a.json", ["drums"], ("SDR",)))
    assert "other targets" in one_line(tmp_path, lambda: read_song(tmp_path / "a.json", ["bass"], ("SDR", "SIR")))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("targets", {}),
        ("targets", [[]]),
        ("name", 1),
        ("frames", []),
        ("frames", None),
        ("metrics", []),
        ("SDR", "1"),
        ("SDR", None),
        ("SDR", True),
        ("SDR", math.inf),
        ("SDR", 1e300),
        ("SDR", -(10**400)),
    ],
)
def test_a_song_of_another_shape(tmp_path, place, value):
    def changed(part):
        if isinstance(part, list):
            return [changed(one) for one in part]
        return {k: value if k == place else changed(v) for k, v in part.items()} if isinstance(part, dict) else part

    (tmp_path / "a.json").write_text(json.dumps(changed(SONG)), encoding="utf-8")
    one_line(tmp_path / "a.json", lambda: read_song(tmp_path / "a.json", ["bass"], ("SDR",)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"{} {}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 25 + b"]" * 25,
        b"9" * 5000,
        b"[]",
        b"1e999",
        b'"\\ud800"',
    ],
)
def test_files_that_are_no_summaries(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    one_line(tmp_path / "a.json", lambda: read_json(tmp_path / "a.json", SHAPE))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    assert "No such file" in one_line(tmp_path / "a", lambda: read_json(tmp_path / "a"))
    assert "no file" in one_line(tmp_path, lambda: read_json(tmp_path))
    (tmp_path / "link").symlink_to("link")
    one_line(tmp_path / "link", lambda: read_json(tmp_path / "link"))
    monkeypatch.setattr(records, "LARGEST", 10)
    (tmp_path / "large").write_bytes(b" " * 11)
    assert "larger" in one_line(tmp_path / "large", lambda: read_json(tmp_path / "large"))


def test_a_table_as_it_was_written(tmp_path):
    (tmp_path / "a.csv").write_text('track,target,SDR\n"a\x1b, b",bass,1.5\nc,bass,nan\n', encoding="utf-8")
    found = read_scores(tmp_path / "a.csv")
    assert found["bass"]["a\\u001b, b"] == {"SDR": 1.5} and math.isnan(found["bass"]["c"]["SDR"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "track,target,SDR\n",
        "track,target\na,bass\n",
        "song,target,SDR\na,bass,1\n",
        "track,target,SDR\na,bass\n",
        "track,target,SDR\na\n",
        "track,target,SDR\n\n",
        "track,target,SDR\na,bass,1,2\n",
        "track,target,SDR\na,bass,loud\n",
        "track,target,SDR\na,bass,\n",
        "track,target,SDR\na,bass,inf\n",
        "track,target,SDR\na,bass,1e300\n",
        'track,target,SDR\n"a,bass,1\n',
        "track,target,SDR\na\0,bass,x\n",
        f"track,target,SDR\n{'a' * 200_000},bass,1\n",
        "track,target,SDR\n" + "".join(f"a,{number},1\n" for number in range(100)),
    ],
)
def test_files_that_are_no_tables(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    one_line(tmp_path / "a.csv", lambda: read_scores(tmp_path / "a.csv"))
