"""Folds of a sweep that leave out the future: the next size, the next number of tokens, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

ALONG = {"params": "params_nonembedding", "tokens": "tokens"}
FITTED_LEAST = 3
"""Values of N, or of D, below the one left out: fewer measure no curvature."""


class Fold(NamedTuple):
    """Runs to fit, and the cells beyond them."""

    name: str
    fitted: pd.DataFrame
    held_out: pd.DataFrame


def future_folds(runs: pd.DataFrame, along: str) -> Iterator[Fold]:
    """Each value of N, or of D, from the fourth on, predicted from all runs below it.

    Folds are disjoint in what they score. Values within a factor of 1.3 count as one.

    Args:
        runs: a valid run table.
        along: ``params`` or ``tokens``.

    >>> runs = pd.DataFrame({"tokens": [1.0, 2.0, 4.0, 8.0, 16.0]})
    >>> [(fold.name, len(fold.fitted), len(fold.held_out)) for fold in future_folds(runs, "tokens")]
    [('tokens >= 8', 3, 1), ('tokens >= 16', 4, 1)]
    """
    column = runs[ALONG[along]]
    values = sorted(column.unique())
    starts = [value for i, value in enumerate(values) if i == 0 or value > 1.3 * values[i - 1]]
    for number, start in enumerate(starts[FITTED_LEAST:], start=FITTED_LEAST):
        end = starts[number + 1] if number + 1 < len(starts) else float("inf")
        below, here = column < start, (column >= start) & (column < end)
        yield Fold(
            f"{along} >= {start:.3g}", runs[below].reset_index(drop=True), runs[here].reset_index(drop=True)
        )
