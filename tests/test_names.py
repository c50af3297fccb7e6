"""Names that any system takes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasep.names import LONGEST, portable, song_name


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("song.wav", "song"),
        ("a.b.c.mp3", "a.b.c"),
        ("song.stem.mp4", "song"),
        ("...wav", "_"),
        ("..mp3", "_"),
        (".wav", ".wav"),
        ("noext", "noext"),
        ("trailing. .wav", "trailing_"),
        ("CON.wav", "CON_"),
        ("lpt1.foo.wav", "lpt1.foo_"),
        ("a:b?.flac", "a_b_.flac".removesuffix(".flac")),
        ("line\nbreak.wav", "line_break"),
        ("🎵 ü.wav", "🎵 ü"),
        ("-", "stdin"),
    ],
)
def test_folders_of_songs(file, folder):
    assert song_name(Path(file)) == folder


@given(st.text(max_size=400))
def test_any_name(name):
    made = portable(name)
    assert made not in ("", ".", "..") and not made.endswith((".", " "))
    assert not set('<>:"/\\|?*\0\n') & set(made)
    assert len(made.encode("utf-8", "surrogatepass")) <= LONGEST + 9
    assert portable(made) == made


def test_long_names_stay_apart():
    one, other = portable("x" * 300 + "1"), portable("x" * 300 + "2")
    assert one != other and len(one) < 255


def test_names_that_are_not_utf8():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert portable(name) == name
