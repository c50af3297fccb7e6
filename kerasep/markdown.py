"""Markdown, as reports and benchmark pages have it."""

import re
from collections.abc import Iterable, Sequence

from kerasep.errors import printable

# What means something to Markdown, mathematics or HTML, anywhere or at the start of a line; "_" does not inside words.
_MARKS = re.compile(r"[<>|`*\[\]\\$~]|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|^[#+=-]|^\d(?=\d*[.)])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table. Its cells are Markdown: names from files go through `literal` first.

    Example:
        >>> table(("target", "SDR"), [("vocals", "4.76")])
        ['| target | SDR |', '| --- | --- |', '| vocals | 4.76 |']
    """
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def literal(text: str) -> str:
    """Text from files as Markdown that shows it as it is, in one line.

    Example:
        >>> literal("<b> | _a_b")
        '&#60;b&#62; &#124; &#95;a_b'
    """
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", printable(text))
