"""What the laws of a schedule need of its learning rates, computed once for all losses of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats, Ints
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative
from bayeslaw.theory.schedule_bounds import schedule_scalars

BLOCKS = 64
"""Changes of the rate after the peak are taken together in at most so many blocks of consecutive steps."""

FINER_LAST = 3
"""Blocks become finer towards the end, as this power of the changes left: there the laws are steepest."""

SMALLEST = 1e-8
"""Of the peak: least rate after a change, which the laws raise to negative powers."""


SCALARS = 6
"""How many features of a schedule are one number."""


class Features(NamedTuple):
    """Features of schedules up to the steps where losses were measured.

    Rates are peak rates in the optimizer's unit; areas are rate times steps. Warm-up counts in ``area``, and
    changes of the rate count from its peak on.

    Attributes:
        steps: number of steps so far, shape (loss,).
        area: sum of the rates so far, shape (loss,).
        peak: largest rate so far, shape (loss,).
        area_since_peak: sum of the rates from the peak on, shape (loss,).
        distance: X1 over the peak rate (``theory.schedule_bounds``), shape (loss,).
        noise: peak rate times X2, shape (loss,).
        drop: falls of the rate, negative where it rises, 0 for padding; shape (loss, block).
        rate: rate after each fall, shape (loss, block).
        area_since: sum of the rates from the fall on, shape (loss, block).
        age: steps from the fall on, shape (loss, block).
    """

    steps: Floats
    area: Floats
    peak: Floats
    area_since_peak: Floats
    distance: Floats
    noise: Floats
    drop: Floats
    rate: Floats
    area_since: Floats
    age: Floats


def schedule_features(schedules: Iterable[ArrayLike]) -> Features:
    """Features of whole schedules, one row each.

    Args:
        schedules: rates at each step up to where a loss was measured, shape (steps,) each.

    Raises:
        BadInput: a schedule without rates, with rates that are negative or not finite, or all 0.

    >>> f = schedule_features([[1.0, 1.0, 0.5]])
    >>> float(f.area[0]), f.drop[0].tolist(), f.area_since[0].tolist(), f.age[0].tolist()
    (2.5, [0.5], [0.5], [1.0])
    """
    rows = [_of_one(each) for each in schedules]
    if not rows:
        raise BadInput("schedule_features: no schedules; expected at least one; give the rates at each step")
    width = max(len(row[SCALARS]) for row in rows)
    padding = (0.0, 1.0, 1.0, 1.0)
    blocks = [
        np.array([_padded(row[SCALARS + place], width, value) for row in rows])
        for place, value in enumerate(padding)
    ]
    scalars = np.array([row[:SCALARS] for row in rows], dtype=np.float64).T
    return Features(*scalars, *blocks)


def _of_one(learning_rates: ArrayLike) -> tuple[Any, ...]:
    rates = not_negative("schedule", "learning_rates", learning_rates)
    if rates.ndim != 1 or not rates.any():
        raise BadInput(
            f"schedule: learning_rates of shape {rates.shape}, {np.count_nonzero(rates)} of them above 0; "
            "expected the rate at each step, shape (steps,), at least one above 0; give the whole schedule"
        )
    x = schedule_scalars(rates)
    peak = int(np.argmax(rates))
    sizes = float(rates.sum()), float(rates[peak]), float(rates[peak:].sum())
    return len(rates), *sizes, x.distance, x.noise, *_drops(rates)


def _drops(rates: Floats) -> tuple[Floats, ...]:
    """Changes after the peak: drop, rate, area since and age, in blocks."""
    falls = -np.diff(rates)
    falls[: int(np.argmax(rates))] = 0.0  # warm-up
    at = np.flatnonzero(falls) + 1
    if not len(at):
        empty = np.empty(0)
        return empty, empty, empty, empty
    since = np.cumsum(rates[::-1])[::-1][at]
    after = np.maximum(rates[at], SMALLEST * rates.max())
    edges = _edges(len(at))
    count = np.diff([*edges, len(at)])
    drop = np.add.reduceat(falls[at - 1], edges)
    means = (np.add.reduceat(x, edges) / count for x in (after, since, len(rates) - at * 1.0))
    return drop, *means


def _edges(count: int) -> Ints:
    """First change of each block."""
    if count <= BLOCKS:
        return np.arange(count)
    left = np.linspace(1, 0, BLOCKS + 1) ** FINER_LAST
    return np.unique((count * (1 - left)).round().astype(np.int64))[:-1]


def _padded(values: Floats, width: int, value: float) -> Floats:
    return np.concatenate([values, np.full(width - len(values), value)])
