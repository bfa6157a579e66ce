"""Paired comparisons over tasks and seeds: Student's t, a bootstrap in two stages, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from tests.studies.validation.scores import by_task

Row = dict[str, Any]
DRAWS, LEVEL = 5000, 0.95
SEEDLESS = ("nothing", "sweep")
"""Places of methods that draw nothing."""


class Comparison(NamedTuple):
    """Gap of ``method`` less gap of the other, tasks weighing the same [fraction of the best loss].

    ``p`` is of the paired t-test over task means, two-sided; ``holm`` after Holm's correction; NaN below
    three tasks. ``lower`` and ``upper`` bound the mean by a bootstrap of tasks, then of seeds within them.
    """

    other: str
    tasks: int
    mean: float
    lower: float
    upper: float
    p: float
    holm: float = np.nan


def compare(rows: Sequence[Row], method: str, others: Sequence[str], seed: int = 0) -> list[Comparison]:
    """Compare a method with each of the others on the tasks that both have advice for, with seeds of both.

    A method that draws nothing has one row, which is compared with all seeds.
    """
    mine, found = by_task(rows, method), []
    for other in others:
        theirs = by_task(rows, other)
        pairs = [_paired(mine[task], theirs[task]) for task in mine if task in theirs]
        pairs = [pair for pair in pairs if len(pair[0]) and len(pair[1])]
        if pairs:
            found.append(_compared(other, pairs, seed))
    corrected = holm([each.p for each in found])
    return [each._replace(holm=p) for each, p in zip(found, corrected, strict=True)]


def _paired(mine: Sequence[Row], theirs: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of one task, by seed."""
    here, there = ({r["seed"]: r["gap"] for r in rows if r["gap"] is not None} for rows in (mine, theirs))
    if theirs[0]["place"] in SEEDLESS:
        return np.array(list(here.values())), np.array(list(there.values()))
    both = sorted(set(here) & set(there))
    return np.array([here[k] for k in both]), np.array([there[k] for k in both])


def _compared(other: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> Comparison:
    differences = np.array([a.mean() - b.mean() for a, b in pairs])
    p = (
        float(stats.ttest_1samp(differences, 0.0).pvalue)
        if len(pairs) > 2 and np.ptp(differences)
        else np.nan
    )
    low, high = np.quantile(bootstrap(pairs, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Comparison(other, len(pairs), float(differences.mean()), float(low), float(high), p)


def bootstrap(pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int, draws: int = DRAWS) -> np.ndarray:
    """Draws of the mean difference: tasks with replacement, then seeds within each, those of a pair together.

    >>> ends = bootstrap([(np.array([1.0, 1.0]), np.array([3.0]))] * 3, 0, 10)
    >>> ends.min(), ends.max()
    (np.float64(-2.0), np.float64(-2.0))
    """
    rng = np.random.default_rng(seed)
    means = np.empty((len(pairs), draws))
    for k, (mine, theirs) in enumerate(pairs):
        drawn = rng.integers(len(mine), size=(len(mine), draws))
        other = theirs[drawn] if len(theirs) == len(mine) else theirs.mean()
        means[k] = (mine[drawn] - other).mean(axis=0)
    tasks = rng.integers(len(pairs), size=(len(pairs), draws))
    return np.take_along_axis(means, tasks, axis=0).mean(axis=0)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979); NaN stays and does not count.

    >>> [round(q, 3) for q in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    adjusted = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0)
    result = np.full(len(values), np.nan)
    result[order] = adjusted
    return result.tolist()
