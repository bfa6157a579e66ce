"""What every result can do: be read in a terminal and in a notebook, and become JSON."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import rich.table

WIDTH = 200
"""Columns of a table that is not printed on a terminal."""


class Section(NamedTuple):
    """A part of a result as a person reads it: a title, a table of finished text, and sentences."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    lines: Sequence[str] = ()


class Result(Mapping[str, Any]):
    """Base of results, frozen dataclasses that say what a person reads of them, and what they are as JSON.

    Attributes are the way to their parts. A result is also a read-only mapping over its JSON, so that
    ``result["runs"]`` is ``result.to_json()["runs"]``.
    """

    def sections(self) -> Sequence[Section]:
        """The result as a person reads it."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it with ``--json``: text, numbers, lists and dicts."""
        raise NotImplementedError

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())

    def __repr__(self) -> str:
        return "\n".join(line for section in self.sections() for line in _lines(section))

    def _repr_html_(self) -> str:
        return "".join(map(_html, self.sections()))


def _lines(section: Section) -> list[str]:
    title, header, rows, lines = section
    return [title, *([table_text(header, rows)] if rows else []), *lines]


def _html(section: Section) -> str:
    title, header, rows, lines = section
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
