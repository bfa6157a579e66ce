"""Texts that a spreadsheet would run as formulas, kept as texts in CSV files."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

FORMULA = re.compile(r"'*[=+\-@\t\r]")
ESCAPED = re.compile(r"'(?='*[=+\-@\t\r])")


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts no spreadsheet runs: an apostrophe stands before ``=``, ``+``, ``-`` and ``@``.

    owasp.org/www-community/attacks/CSV_Injection. Numbers stay, also those that are texts.

    >>> escaped(pd.DataFrame({"run_id": ["=cmd|' /C calc'!A0", "a", "-1"]}))["run_id"].tolist()
    ["'=cmd|' /C calc'!A0", 'a', '-1']
    """
    return _changed(table, _escape)


def restored(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `escaped` was given.

    >>> restored(escaped(pd.DataFrame({"run_id": ["=1+1", "'-"], "=x": [2, 3]}))).to_dict("list")
    {'run_id': ['=1+1', "'-"], '=x': [2, 3]}
    """
    return _changed(table, lambda value: ESCAPED.sub("", value, count=1) if ESCAPED.match(value) else value)


def _changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    texts = [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]

    def each(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    return table.assign(**{name: table[name].map(each) for name in texts}).rename(columns=each)


def _escape(value: str) -> str:
    if not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
