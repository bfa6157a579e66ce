"""Counts that differ by rounding: N and D of one cell brought to one value."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WIDTH = 0.02
"""Spread of a cluster, as a share of its smallest value: grids of N and D are coarser, rounding is finer."""

SAME_MODEL = ("study", "width", "depth")
SAME_SIZE = ("study", "params_nonembedding")


def merge_rounded(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Bring N and D that differ by rounding to one value, so that their runs share a cell.

    N is compared within a study and a shape (width, depth), D within a study and N. Values within ``WIDTH``
    of the smallest of their cluster become the one that most of its runs have. What was given is kept in
    ``params_nonembedding_as_given`` and ``tokens_as_given``.

    Args:
        table: a valid run table.

    Returns:
        The table, and a note for each column that changed.
    """
    notes = []
    for name, shared in (("params_nonembedding", SAME_MODEL), ("tokens", SAME_SIZE)):
        keys = [table[column] for column in shared if column in table]
        merged = table[name].groupby(keys, dropna=False).transform(_usual_of_cluster)
        if name == "tokens":
            merged = merged.where(merged >= table["batch_tokens"], table[name])
        changed = merged != table[name]
        if changed.any():
            example = changed.idxmax()
            notes.append(
                f"{name} within {WIDTH:.0%} of each other made one, so that runs share a cell: "
                f"{changed.sum()} runs, such as {table[name][example]:.10g} to {merged[example]:.10g}; "
                f"given: {name}_as_given"
            )
            kept = table.get(f"{name}_as_given", table[name])
            table = table.assign(**{name: merged, f"{name}_as_given": kept})
    return table, notes


def _usual_of_cluster(values: pd.Series) -> pd.Series:
    """Each value's cluster by its most frequent value; of several, the one nearest the median."""
    if values.nunique() < 2:
        return values
    cluster = clusters(values.to_numpy(float))
    return values.groupby(cluster).transform(_usual)


def _usual(values: pd.Series) -> float:
    modes = values.mode().to_numpy()
    return float(modes[np.abs(modes - values.median()).argmin()])


def clusters(values: NDArray[np.float64], width: float = WIDTH) -> NDArray[np.int64]:
    """Number the clusters of positive values, none wider than ``width`` times its smallest.

    A wider range is cut at its largest gap in ratios, of equal ones at the middle one, until its parts are
    narrow enough.

    >>> clusters(np.array([100.0, 100.4, 103.0, 99.9])).tolist()
    [0, 0, 1, 0]
    """
    distinct, place = np.unique(values, return_inverse=True)
    starts = np.zeros(len(distinct), np.int64)
    waiting = [(0, len(distinct))]
    while waiting:
        first, end = waiting.pop()
        starts[first] = 1
        if distinct[end - 1] > (1 + width) * distinct[first]:
            gaps = np.diff(np.log(distinct[first:end])).round(6)
            largest = np.flatnonzero(gaps == gaps.max())
            cut = first + 1 + int(largest[len(largest) // 2])
            waiting += [(first, cut), (cut, end)]
    return (starts.cumsum() - 1)[place]
