"""SQLite stores of trackers, opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bayeslaw.errors import BadInput

MAGIC = b"SQLite format 3\0"


@contextmanager
def opened(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """A store whose rows are read by column name; nothing in it is changed.

    Args:
        path: of the file.
        what: it should be, for messages.

    Raises:
        BadInput: no such file, no SQLite, or tables that are not there.
    """
    if not path.is_file():
        raise BadInput(f"{path}: does not exist; expected {what}; check the path (now in {Path.cwd()})")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            store.row_factory = sqlite3.Row
            yield store
    except (sqlite3.Error, IndexError) as error:
        raise BadInput(f"{path}: not readable ({error}); expected {what}; name its file") from None


def rows_of(store: sqlite3.Connection, table: str) -> Iterator[sqlite3.Row]:
    """Rows of a table in the order they were written; ``table`` is a name in the code, never of the user."""
    return iter(store.execute(f"SELECT * FROM {table} ORDER BY rowid"))


def tables_of(path: Path) -> set[str]:
    """Names of the tables of an SQLite file; none of any other file."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return set()
    with opened(path, "an SQLite store") as store:
        return {row["name"] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
