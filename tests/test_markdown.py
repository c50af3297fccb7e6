"""Names in reports: whatever they are, they stay names."""

import html

import pytest

from kerasep.errors import printable
from kerasep.markdown import literal, table

NAMES = [
    "a|b",
    "<script>alert(1)</script>",
    "`a`",
    "a\nb",
    "\x1b[2J",
    "*a* _b_ __c__",
    "[a](javascript:b)",
    "$x_1^2$",
    "\\|",
    "# a",
]
NAMES += ["&lt;b&gt;", "&#124;", "1. a", "- a", "~~a~~", "a\u2028b", "a\u202eb", "\ud800", "\x9b31m", "![a](b)", "a\rb", "a\0b"]


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_names(name):
    (*_, line) = table(("song", "SDR"), [(literal(name), "1.0")])
    assert line.count("|") == 3 and line.isprintable()
    assert not set("<>`*[]$~\\") & set(line)
    assert html.unescape(literal(name)) == printable(name)  # what a reader sees


def test_usual_names_are_as_they_were():
    for name in ("Al James - Schoolboy Facination", "Promises & Lies", "M.E.R.C. Music", "model_sha256", "Café −", "Ünï 日本"):
        assert literal(name) == printable(name) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb", r"a\u001b[31mb"), ("a\tb\n", r"a\tb\n"), ("Caf\udcc3\udca9", "Café"), ("Caf\udce9", r"Caf\xe9")],
)
def test_what_a_terminal_gets(text, shown):
    assert printable(text) == shown
