"""Pareto-smoothed importance weights, and the sign that they fail."""

from __future__ import annotations

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.posterior.convergence import arviz_module

RELIABLE = 0.7
"""Pareto k up to which the weights may be used (Vehtari et al. 2024, JMLR 25, section 3)."""


def smoothed(log_ratios: Floats) -> tuple[Floats, float]:
    """Pareto-smoothed weights of log importance ratios, and the shape k of their tail.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25, "Pareto smoothed importance sampling", algorithm 1.

    Args:
        log_ratios: up to a constant, (draw,).

    Returns:
        Weights summing to 1, (draw,); k is infinite where the tail is too short to tell, and minus infinity
        where all ratios are equal.

    >>> smoothed(np.zeros(4))[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    if np.ptp(log_ratios) == 0.0:
        return np.full(len(log_ratios), 1.0 / len(log_ratios)), -np.inf
    log_weights, k = arviz_module().psislw(np.array(log_ratios, float))
    return np.exp(log_weights), float(k)
