"""The smooth discrepancy between the law and its cells: a Gaussian process in ln N and ln D.

Kennedy & O'Hagan (2001, JRSS B 63): what a law lacks is a smooth function of where it is asked, so a cell
near fitted ones shares their deviation, and one far away has a fresh one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayeslaw.arrays import Floats

LENGTHS = {"n": 1.0, "d": 1.5}
"""Distances [nats] over which deviations of cells change: halving and doubling both costs little."""


def correlation(x: Mapping[str, Floats], y: Mapping[str, Floats]) -> Floats:
    """Matern-5/2 correlation of deviations between places, (place of x, place of y).

    Rasmussen & Williams (2006), equation 4.17.

    Args:
        x, y: covariates about the pivot, shape (place,) each.

    >>> here, there = {"n": np.zeros(1), "d": np.zeros(1)}, {"n": np.array([0.0, 9.0]), "d": np.zeros(2)}
    >>> correlation(here, there).round(3).tolist()
    [[1.0, 0.0]]
    """
    squares = [
        ((np.atleast_1d(x[k])[:, None] - np.atleast_1d(y[k])[None]) / by) ** 2 for k, by in LENGTHS.items()
    ]
    r = np.sqrt(5.0 * sum(squares))
    return np.asarray((1.0 + r + r * r / 3.0) * np.exp(-r))
