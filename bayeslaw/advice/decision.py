"""The settings that are best on average over draws.

The decision minimises the posterior mean of the excess ln loss. Where overshooting the learning rate costs
more than undershooting, it lies below the median optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from bayeslaw.advice.target_surface import (
    Settings,
    TargetSurface,
    extra_excess,
    log_lr_at_batch,
    lr_batch_excess,
)
from bayeslaw.arrays import Floats
from bayeslaw.law.terms import OPTIMA, from_coordinate

MAX_EXCESS = 1.5
"""Cap of one draw's excess ln loss: 2.6 nats become 11.6, the loss of a network that has learnt nothing."""

ALLOWANCE = math.log(4.0)
"""How far beyond what was tried advice may go [nats]."""

TOLERANCE = 3e-4
"""Of the settings that are decided on [nats]: 0.03%."""


def decide(at: TargetSurface) -> Settings:
    """The settings that minimise the posterior mean of the excess ln loss.

    Returns:
        ``learning_rate``, ``batch_tokens`` (the target's where it is fixed; at most D), and the other
        hyperparameters that the posterior knows of.
    """
    return _decide_rate_and_batch(at) | {name: _decide_extra(at, name) for name in at.extras}


def capped(excess: Floats) -> Floats:
    """Excess ln loss of each draw, at most ``MAX_EXCESS``."""
    return np.minimum(excess, MAX_EXCESS)


def _decide_extra(at: TargetSurface, name: str) -> float:
    optimum = at.optima[name]
    best = minimise(
        lambda points: capped(extra_excess(at, name, points[:, 0])).mean(axis=0),
        np.array([np.median(optimum)]),
        np.array([_half_width(optimum)]),
        *OPTIMA[name].transform.at_zero,
    )
    return float(from_coordinate(name, best[0]))


def _decide_rate_and_batch(at: TargetSurface) -> Settings:
    fixed = at.target.batch_tokens
    if fixed is not None:
        rates = log_lr_at_batch(at, np.log(fixed))
        low, high = within_reach(at, "learning_rate", rates)
        best = minimise(
            lambda points: capped(lr_batch_excess(at, points[:, 0], np.log(fixed))).mean(axis=0),
            np.array([np.median(rates)]),
            np.array([_half_width(rates)]),
            low,
            high,
        )
        return {"learning_rate": float(np.exp(best[0])), "batch_tokens": float(fixed)}
    limit = np.log(at.target.tokens)
    both = {"learning_rate": at.log_lr, "batch_tokens": at.log_batch}
    low, high = np.array([within_reach(at, name, best) for name, best in both.items()]).T
    best = minimise(
        lambda points: capped(lr_batch_excess(at, points[:, 0], points[:, 1])).mean(axis=0),
        np.array([np.median(at.log_lr), np.median(at.log_batch)]),
        np.array([_half_width(at.log_lr), _half_width(at.log_batch)]),
        np.minimum(low, [np.inf, limit]),
        np.minimum(high, [np.inf, limit]),
    )
    batch = at.target.tokens if best[1] >= limit else float(np.exp(best[1]))
    return {"learning_rate": float(np.exp(best[0])), "batch_tokens": batch}


def within_reach(at: TargetSurface, name: str, best: Floats) -> tuple[float, float]:
    """Range of a setting's logarithm that advice keeps to: ``ALLOWANCE`` beyond what the group's runs tried.

    What was tried is carried to the target by the median of the best setting. The range holds however sure
    the draws are that the best setting lies beyond: how far beyond is what the law's shape says, and no run.

    Args:
        at: surface of the target.
        name: ``learning_rate`` or ``batch_tokens``.
        best: draws of the logarithm of the best setting, (draw,).

    Returns:
        Its ends; infinite where nobody knows what was tried.
    """
    if name not in at.tried:
        return -math.inf, math.inf
    middle = float(np.median(best))
    lowest, highest = at.tried[name]
    return middle + lowest - ALLOWANCE, middle + highest + ALLOWANCE


def _half_width(draws: Floats) -> float:
    low, high = np.quantile(draws, [0.1, 0.9])
    return max(0.5 * float(high - low), 0.05)


def minimise(
    objective: Callable[[Floats], Floats],
    start: Floats,
    width: Floats,
    lowest: Floats | float = -np.inf,
    highest: Floats | float = np.inf,
    tolerance: float = TOLERANCE,
) -> Floats:
    """Minimum of a smooth bowl by a grid of five points a dimension that moves, then halves.

    Args:
        objective: (point, dimension) -> (point,).
        start: shape (dimension,).
        width: half-width of the first grid, shape (dimension,).
        lowest, highest: bounds, shape (dimension,).
        tolerance: half-width of the grid at which to stop.

    >>> best = minimise(lambda x: ((x - [1.0, -2.0]) ** 2).sum(axis=1), np.zeros(2), np.ones(2))
    >>> [float(x) for x in best.round(3)]
    [1.0, -2.0]
    """
    steps = np.array(list(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=len(start))))
    steps = steps[np.argsort(np.abs(steps).sum(axis=1), kind="stable")]  # the centre first: it wins ties
    point, width = np.clip(start, lowest, highest), width.copy()
    for _ in range(200):
        candidates = np.clip(point + steps * width, lowest, highest)
        chosen = int(np.argmin(objective(candidates)))
        point = candidates[chosen]
        width = np.where(np.abs(steps[chosen]) == 1.0, width, 0.5 * width)
        if width.max() < tolerance:
            break
    return point
