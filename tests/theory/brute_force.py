"""The bound once more, in plain floats, and minimisation that knows nothing of a closed form."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt

import numpy as np
from scipy.optimize import minimize


def lmo_bound(eta: float, b: float, alpha: float, samples: float, c: tuple[float, ...]) -> float:
    """The bound of arXiv 2503.12645 by steps, as the docstring of ``lmo`` has it by samples."""
    gap, noise, burn_in, lag, drift = c
    steps = samples / b
    return (
        gap / (eta * steps)
        + burn_in / (alpha * steps * sqrt(b))
        + noise * sqrt(alpha / b)
        + drift * eta
        + lag * eta / alpha
    )


def least(value: Callable[..., float], start: list[float]) -> tuple[np.ndarray, float]:
    """Where a function of logarithms is least, and its value there: Nelder and Mead, begun anew once."""
    place = np.array(start, float)
    options = {"xatol": 1e-10, "fatol": 0.0, "maxiter": 5000, "maxfev": 5000}
    for _ in range(2):
        found = minimize(lambda x: log(value(*x.tolist())), place, method="Nelder-Mead", options=options)
        place = found.x
    return place, exp(found.fun)


def slope(values: np.ndarray, places: np.ndarray) -> float:
    """Of ln values in ln places, by least squares."""
    return float(np.polyfit(np.log(places), np.log(values), 1)[0])
