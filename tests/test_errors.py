"""What a program says of errors: one line each, and nothing in it that a terminal would obey."""

import errno
import json

import pytest

from kerasep.errors import KerasepError, UsageError, first_line, printable
from kerasep.program import reporting


def reported(error: BaseException, capsys) -> tuple[int, str]:
    """The exit code and what is said where a program raises this error."""

    @reporting("program")
    def main():
        raise error

    return main(), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KerasepError("a.onnx: damaged: export it again"), 1, "a.onnx: damaged: export it again"),
        (UsageError("no such thing"), 2, "no such thing"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "/x: No space left on device: make room or rights for it"),
        (OSError(errno.EMFILE, "Too many open files"), 1, "Too many open files"),
        (OSError("only text"), 1, "only text"),
        (MemoryError("Unable to allocate 5 GiB"), 1, "out of memory (Unable to allocate 5 GiB)"),
        (MemoryError(), 1, "out of memory (MemoryError)"),
    ],
)
def test_errors_are_one_line(error, code, said, capsys):
    found, text = reported(error, capsys)
    assert found == code and text.startswith(f"program: {said}") and text.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "a\nb", "\b", "\u202e", "\ud800", "\x00", "\u2028", "\U000e0041"]
)
def test_nothing_in_an_error_is_an_order(text, capsys):
    _, said = reported(KerasepError(f"name {text}: é Ω 音"), capsys)
    line = said.removesuffix("\n")
    assert line.isprintable() and line.endswith(": é Ω 音")
    assert json.loads(f'"{printable(text)}"') == text


def test_a_missing_key_is_named():
    assert first_line(KeyError("graph")) == "graph is missing"
