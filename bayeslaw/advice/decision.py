"""The settings that are best on average over draws.

The decision minimises the posterior mean of the excess ln loss. Where overshooting the learning rate costs
more than undershooting, it lies below the median optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from bayeslaw.advice.target_surface import (
    EXTRAS,
    Settings,
    TargetSurface,
    extra_excess,
    from_coordinate,
    log_lr_at_batch,
    lr_batch_excess,
)
from bayeslaw.arrays import Floats
from bayeslaw.law import surface

TOLERANCE = 3e-4
"""Of the settings that are decided on [nats]: 0.03%."""


def decide(basin: TargetSurface) -> Settings:
    """The settings that minimise the posterior mean of the excess ln loss.

    Returns:
        ``learning_rate``, ``batch_tokens`` (the target's where it is fixed; at most D), and ``weight_decay``
        and ``momentum`` where the posterior knows of them.
    """
    return _decide_rate_and_batch(basin) | {name: _decide_extra(basin, name) for name in basin.extras}


def _decide_extra(basin: TargetSurface, name: str) -> float:
    optimum = EXTRAS[name][1](basin.p, np.float64(basin.n))
    lowest, highest = (np.log(surface.DECAY_FLOOR), np.inf) if name == "weight_decay" else (-np.inf, 0.0)
    best = minimise(
        lambda points: extra_excess(basin, name, points[:, 0]).mean(axis=0),
        np.array([np.median(optimum)]),
        np.array([_half_width(optimum)]),
        lowest,
        highest,
    )
    return float(from_coordinate(name, best[0]))


def _decide_rate_and_batch(basin: TargetSurface) -> Settings:
    fixed = basin.target.batch_tokens
    if fixed is not None:
        rates = log_lr_at_batch(basin, np.log(fixed))
        best = minimise(
            lambda points: lr_batch_excess(basin, points[:, 0], np.log(fixed)).mean(axis=0),
            np.array([np.median(rates)]),
            np.array([_half_width(rates)]),
        )
        return {"learning_rate": float(np.exp(best[0])), "batch_tokens": float(fixed)}
    limit = np.log(basin.target.tokens)
    best = minimise(
        lambda points: lr_batch_excess(basin, points[:, 0], points[:, 1]).mean(axis=0),
        np.array([np.median(basin.log_lr), np.median(basin.log_batch)]),
        np.array([_half_width(basin.log_lr), _half_width(basin.log_batch)]),
        highest=np.array([np.inf, limit]),
    )
    batch = basin.target.tokens if best[1] >= limit else float(np.exp(best[1]))
    return {"learning_rate": float(np.exp(best[0])), "batch_tokens": batch}


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
