"""What every result can do: be read in a terminal and in a notebook, and become JSON."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import rich.table

WIDTH = 200
"""Columns of a table that is not printed on a terminal."""


class Shown(NamedTuple):
    """A result as a person reads it: a title, one table of finished text, and sentences."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    lines: Sequence[str]


class Result:
    """Base of results: a subclass says what it shows, and what it is as JSON."""

    def shown(self) -> Shown:
        """The result as a person reads it."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it with ``--json``: text, numbers, lists and dicts."""
        raise NotImplementedError

    def __repr__(self) -> str:
        title, header, rows, lines = self.shown()
        return "\n".join([title, *([table_text(header, rows)] if rows else []), *lines])

    def _repr_html_(self) -> str:
        title, header, rows, lines = self.shown()
        table = html_table(header, rows) if rows else ""
        return f"<p><b>{escape(title)}</b></p>{table}" + "".join(f"<p>{escape(line)}</p>" for line in lines)


def rich_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> rich.table.Table:
    """A table for a terminal; what its cells hold is shown as it is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    return table


def table_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as text, without the blank lines around it."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=WIDTH).print(rich_table(header, rows))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    return "\n".join(line for line in lines if line)


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in HTML.

    >>> html_table(["", "use"], [["batch", "<1M"]])
    '<table><tr><th></th><th>use</th></tr><tr><td>batch</td><td>&lt;1M</td></tr></table>'
    """

    def row(values: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values) + "</tr>"

    return f"<table>{row(header, 'th')}{''.join(row(values, 'td') for values in rows)}</table>"
