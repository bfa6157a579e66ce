"""The bound with a tuned momentum: to leading order, batches may grow at any rate up to sqrt(T).

With learning rate and momentum tuned, the bound of ``lmo`` is the same for every b up to
``lmo.largest_batch``. Along b = T^q any q from 0 to 1/2 gives F of order T^-1/4 (Corollary 2 and Remark 4,
by secondary sources; derived here and checked numerically). What picks a batch is the next order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative, positive
from bayeslaw.theory.lmo import (
    UNIT,
    Coefficients,
    Optimum,
    bound,
    checked_coefficients,
    tune_at_batch,
    tune_learning_rate,
)

HALVINGS = 80
"""Of the interval of ln alpha, 100 wide: its end is below the precision of a float."""


class Exponents(NamedTuple):
    """Powers of T along a path.

    Attributes:
        batch: of b.
        alpha: of 1 - momentum.
        learning_rate: of eta.
        bound: of F.
    """

    batch: float
    alpha: float
    learning_rate: float
    bound: float


def path_exponents(q: float) -> Exponents:
    """Powers of T along b = T^q with momentum and learning rate tuned: q, q - 1/2, q - 3/4, -1/4.

    q = 0 is Theorem 2, q = 1/6 Theorem 3, q = 1/2 the rates of Theorem 1 at a fixed momentum. Derived here,
    checked numerically; the three special cases: found in a secondary source.

    Raises:
        BadInput: q outside 0 to 1/2, where the momentum cannot follow.

    >>> path_exponents(0.25)
    Exponents(batch=0.25, alpha=-0.25, learning_rate=-0.5, bound=-0.25)
    """
    if not_negative("path_exponents", "q", q) > 0.5:
        raise BadInput(f"path_exponents: q = {q!r}; expected 0 to 0.5; beyond, alpha would exceed 1; lower q")
    return Exponents(float(q), q - 0.5, q - 0.75, -0.25)


def tune_all(samples: ArrayLike, c: Coefficients) -> Optimum:
    """Theorem 3: learning rate, batch and momentum tuned, to the order that fixes the batch.

    The leading order is flat in b. Drift and burn-in, evaluated on it, are least at
    b* = (burn_in sqrt(lag) / (2 drift sqrt(gap)))^2/3 T^1/6 / k with k = 2 sqrt(gap lag) / noise; in the
    bound's constants ((rho sigma)^5/2 / (3.5 2^1/4 (L gap)^5/4))^2/3 T^1/6. The other settings follow as in
    ``lmo.tune_at_batch``, so that alpha goes as T^-1/3 and eta as T^-7/12.

    Exponents: found in a secondary source. Constants: derived here, checked numerically. They are
    asymptotic: the full bound's own best batch is 1.1% smaller at T = 1e6, for unit constants.

    Args:
        samples: T.
        c: coefficients; ``burn_in`` and ``drift`` must be above 0, or nothing fixes the batch.

    Raises:
        BadInput: an argument outside its range.

    >>> from bayeslaw.theory.lmo import bound_coefficients
    >>> f"{tune_all(1.0, bound_coefficients()).batch:.4f}"
    '0.3865'
    """
    t = positive("tune_all", "samples", samples)
    c = checked_coefficients("tune_all", c)
    positive("tune_all", "burn_in", c.burn_in)
    positive("tune_all", "drift", c.drift)
    per_batch = 2 * np.sqrt(c.gap * c.lag) / c.noise
    balance = c.burn_in * np.sqrt(c.lag) / (2 * c.drift * np.sqrt(c.gap))
    return tune_at_batch(t, balance ** (2 / 3) / per_batch * t ** (1 / 6), c)


def next_order(samples: ArrayLike, batch: ArrayLike, c: Coefficients) -> Floats:
    """Drift and burn-in at the optimum of the leading order: what ``tune_all`` makes least in b.

    drift eta + burn_in sqrt(b) / (alpha T), with eta and alpha of ``lmo.tune_at_batch``. Derived here.

    Raises:
        BadInput: an argument outside its range.

    >>> from bayeslaw.theory.lmo import bound_coefficients
    >>> print(next_order(1e6, [1.0, 4.0, 16.0], bound_coefficients()).round(5))
    [0.00151 0.00108 0.00184]
    """
    best = tune_at_batch(samples, batch, c)
    burn_in = c.burn_in * np.sqrt(best.batch) / (best.alpha * np.asarray(samples, float))
    return np.asarray(c.drift * best.learning_rate + burn_in)


def tune_given_batch(samples: ArrayLike, batch: ArrayLike, c: Coefficients = UNIT) -> Optimum:
    """Best learning rate and momentum of the full bound at given batches: numerical, nothing dropped.

    With the learning rate of ``lmo.tune_learning_rate`` the bound is convex in ln alpha, so its slope is
    bisected. Derived here, checked numerically.

    Args:
        samples: T; broadcasts against ``batch``.
        batch: b [samples].
        c: coefficients.

    Raises:
        BadInput: an argument outside its range.

    >>> from bayeslaw.theory.lmo import bound_coefficients
    >>> best = tune_given_batch(1e12, [1e2, 1e4, 1e6], bound_coefficients())
    >>> print((best.bound / best.bound[0]).round(3))
    [1.    1.006 1.404]
    """
    t, b = np.broadcast_arrays(
        positive("tune_given_batch", "samples", samples), positive("tune_given_batch", "batch", batch)
    )
    c = checked_coefficients("tune_given_batch", c)
    low, high = np.full(t.shape, -100.0), np.zeros(t.shape)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rising = _slope(np.exp(middle), b, t, c) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    alpha = np.exp(high)
    rate = tune_learning_rate(b, alpha, t, c)
    return Optimum(rate, b.copy(), alpha, bound(rate, b, alpha, t, c))


def _slope(alpha: Floats, batch: Floats, samples: Floats, c: Coefficients) -> Floats:
    """Derivative of the bound in ln alpha, learning rate tuned."""
    lag = c.lag / alpha
    falls = np.sqrt(c.gap * batch / samples / (lag + c.drift)) * lag
    falls = falls + c.burn_in * np.sqrt(batch) / (alpha * samples)
    return np.asarray(c.noise / 2 * np.sqrt(alpha / batch) - falls)
