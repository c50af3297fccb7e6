"""Markdown, as reports and benchmark pages have it."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table.

    Example:
        >>> table(("target", "SDR"), [("vocals", "4.76")])
        ['| target | SDR |', '| --- | --- |', '| vocals | 4.76 |']
    """
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
