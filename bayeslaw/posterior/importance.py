"""Pareto-smoothed importance weights, and the diagnostic of their failure."""

from __future__ import annotations

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.posterior.convergence import arviz_module

RELIABLE = 0.7
"""Largest Pareto k at which the weights are reliable (Vehtari et al. 2024, JMLR 25, section 3)."""


def smoothed(log_ratios: Floats) -> tuple[Floats, float]:
    """Smooth log importance ratios to weights; also return the shape k of their tail.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25, "Pareto smoothed importance sampling", algorithm 1.

    Args:
        log_ratios: log importance ratios up to a constant, (draw,).

    Returns:
        Weights summing to 1, (draw,), and k, which is infinite if the tail is too short to fit, and minus
        infinity if all ratios are equal.

    >>> smoothed(np.zeros(4))[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    if np.ptp(log_ratios) == 0.0:
        return np.full(len(log_ratios), 1.0 / len(log_ratios)), -np.inf
    log_weights, k = arviz_module().psislw(np.array(log_ratios, float))
    return np.exp(log_weights), float(k)
