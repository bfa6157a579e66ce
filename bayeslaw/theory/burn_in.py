"""Where burn-in ends: the bound at a fixed momentum, with the term that early training cannot ignore.

Momentum averages 1 / alpha steps. Until many times as many have passed, it still holds the noise of the
first gradient, and the best batch is the smallest. All closed forms here are exact for the full bound of
``lmo``; they are derived here and checked numerically. That the best batch is one sample until
T ~ 4 / alpha^2 with unit constants: found in a secondary source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.checks import positive, share
from bayeslaw.theory.lmo import UNIT, Coefficients, Optimum, bound, checked_coefficients, tune_learning_rate


def tune_with_burn_in(
    samples: ArrayLike, alpha: ArrayLike, c: Coefficients = UNIT, smallest: float = 1.0
) -> Optimum:
    """Best learning rate and batch at a fixed momentum, burn-in included.

    b* = noise sqrt(alpha) / (2 sqrt(gap (lag/alpha + drift) / T) + burn_in / (alpha T)), or ``smallest``
    where that is larger. For large T this is Theorem 1, with unit constants b* = (alpha/2) sqrt(T).

    Args:
        samples: T.
        alpha: 1 - momentum.
        c: coefficients.
        smallest: batch that can be run [samples].

    Raises:
        BadInput: an argument outside its range.

    >>> print(tune_with_burn_in([1e6, 1e8], 0.001).batch.round(2))  # Theorem 1 alone says 0.5 and 5
    [1.   4.99]
    """
    place = "tune_with_burn_in"
    t, a = positive(place, "samples", samples), share(place, "alpha", alpha)
    c = checked_coefficients(place, c)
    per_root = 2 * np.sqrt(c.gap * (c.lag / a + c.drift) / t) + c.burn_in / (a * t)
    batch = np.maximum(c.noise * np.sqrt(a) / per_root, positive(place, "smallest", smallest))
    rate = tune_learning_rate(batch, a, t, c)
    return Optimum(rate, batch, np.broadcast_to(a, batch.shape), bound(rate, batch, a, t, c))


def burn_in_samples(alpha: ArrayLike, c: Coefficients = UNIT) -> Floats:
    """Samples until which the best batch is one sample.

    sqrt(T) = (sqrt(gap h) + sqrt(gap h + noise burn_in / sqrt(alpha))) / (noise sqrt(alpha)) with
    h = lag/alpha + drift. With unit constants (1 + sqrt(1 + sqrt(alpha)))^2 / alpha^2, near 4 / alpha^2.

    Raises:
        BadInput: alpha outside (0, 1].

    >>> print([f"{burn_in_samples(alpha):.4g} {4 / alpha**2:.4g}" for alpha in (0.001, 0.066)])
    ['4.063e+06 4e+06', '1033 918.3']
    """
    a = share("burn_in_samples", "alpha", alpha)
    c = checked_coefficients("burn_in_samples", c)
    slow = c.gap * (c.lag / a + c.drift)
    root = (np.sqrt(slow) + np.sqrt(slow + c.noise * c.burn_in / np.sqrt(a))) / (c.noise * np.sqrt(a))
    return np.asarray(root**2)
