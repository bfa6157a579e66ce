"""Metrics of rows of the table of trials: closed forms of what each row says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]

FLOPS_PER_SECOND = 312e12 * 0.4
"""An A100's peak in bfloat16, at 40% utilisation: assumed."""
WATTS = 400.0 * 1.2
"""Its power limit, with a data centre's overhead of 20%: assumed."""
GRAMS_PER_KWH = 400.0
"""As ``train.energy`` assumes."""
JOULES_PER_KWH = 3.6e6
GAP_MOST = 20
"""Random trials, of which the table has runs."""


def kwh(flops: float) -> float:
    """Energy, derived from FLOPs by the assumptions above, not measured.

    >>> round(kwh(FLOPS_PER_SECOND * 3600), 3)  # an hour of one device
    0.48
    """
    return flops / FLOPS_PER_SECOND * WATTS / JOULES_PER_KWH


def co2e_kg(flops: float) -> float:
    """CO2 equivalent, derived in the same way [kg]."""
    return kwh(flops) * GRAMS_PER_KWH / 1000


def reached(row: Row, tolerance: float) -> tuple[float, float]:
    """FLOPs and optimizer steps until the gap is at most ``tolerance``; infinite where it never is.

    A search at the target gets there at the run after which the best so far stays good enough; advice from
    elsewhere when the target has been trained once with it.

    >>> row = {"gap": 0.01, "curve": [(1.0, 5.0, None), (2.0, 10.0, 0.03), (3.0, 15.0, 0.01)]}
    >>> reached(row, 0.02), reached(row, 0.001)
    ((3.0, 15.0), (inf, inf))
    >>> reached({"gap": 0.01, "curve": None, "total_flops": 7.0, "total_steps": 8.0}, 0.02)
    (7.0, 8.0)
    """
    if row["gap"] is None or row["gap"] > tolerance:
        return math.inf, math.inf
    if row["curve"] is None:
        return row["total_flops"], row["total_steps"]
    good = [gap is not None and gap <= tolerance for _, _, gap in row["curve"]]
    first = len(good) - good[::-1].index(False) if False in good else 0
    return row["curve"][first][0], row["curve"][first][1]


def relative_compute(row: Row, trials: int = GAP_MOST) -> float:
    """FLOPs of search and target run over those of ``trials`` target runs.

    >>> relative_compute({"total_flops": 5.0, "target_flops": 1.0})
    0.25
    """
    return row["total_flops"] / (trials * row["target_flops"])


def mean_curve(random: Iterable[Row]) -> list[float]:
    """Mean gap of random search's best after 1, 2, ... runs, over its seeds; failures count as infinite."""
    gaps = [[math.inf if g is None else g for _, _, g in row["curve"]] for row in random]
    return [float(np.mean(column)) for column in zip(*gaps, strict=True)]


def trials_saved(row: Row, curve: Sequence[float]) -> float:
    """Target runs that random search needs, in the mean, for this gap, less what the row cost in them.

    Where it needs more than it has made, that number: a lower bound.

    >>> trials_saved({"gap": 0.1, "total_flops": 1.5, "target_flops": 1.0}, [0.9, 0.3, 0.2, 0.05])
    2.5
    """
    if row["gap"] is None:
        return math.nan
    needed = next((k for k, gap in enumerate(curve, start=1) if gap <= row["gap"]), len(curve))
    return needed - row["total_flops"] / row["target_flops"]


def by_task(rows: Iterable[Row], method: str) -> dict[tuple[str, str], list[Row]]:
    """Rows of a method, by family and task."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["method"] == method:
            found[row["family"], row["task"]].append(row)
    return dict(found)


def gaps(rows: Iterable[Row]) -> list[float]:
    """Gaps of the rows that have one."""
    return [row["gap"] for row in rows if row["gap"] is not None]


def best_of(losses: Sequence[float], trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Distribution of the lowest of ``trials`` losses drawn without replacement: (values, probabilities).

    P(best is the k-th lowest of n) = C(n - k, trials - 1) / C(n, trials), k from 1.

    >>> values, chance = best_of([3.0, 1.0, 2.0], 2)
    >>> values.tolist(), chance.round(3).tolist()
    ([1.0, 2.0, 3.0], [0.667, 0.333, 0.0])
    """
    ordered, n = np.sort(np.asarray(losses, float)), len(losses)
    chance = [math.comb(n - k, trials - 1) / math.comb(n, trials) for k in range(1, n + 1)]
    return ordered, np.array(chance)
