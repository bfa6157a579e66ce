"""Batch against steps at equal performance, and what a setting off its optimum costs.

All of this is for the proxy at a fixed momentum, P = C1 / (eta K) + C2 / sqrt(b) + C3 eta, with the learning
rate tuned where it is not named. Constants are those of ``lmo.proxy_constants``. Derived here, checked
numerically. The contours are the counterpart of McCandlish's (S/S_min - 1)(E/E_min - 1) = 1
(arXiv 1812.06162, from memory).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.checks import positive


class Corner(NamedTuple):
    """What no contour passes: the fewest steps and the smallest batch that reach a level.

    Attributes:
        steps: K_min, approached with ever larger batches.
        batch: b_min [samples], approached with ever more steps.
    """

    steps: Floats
    batch: Floats


def corner(level: ArrayLike, c1: ArrayLike = 1.0, c2: ArrayLike = 1.0, c3: ArrayLike = 1.0) -> Corner:
    """K_min = 4 C1 C3 / P^2 and b_min = C2^2 / P^2.

    Args:
        level: P, value of the proxy to reach.
        c1, c2, c3: constants of the proxy.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> print(*corner(0.5))
    16.0 4.0
    """
    p = positive("corner", "level", level)
    one, two, three = _constants("corner", c1, c2, c3)
    return Corner(4 * one * three / p**2, two**2 / p**2)


def contour_batch(
    level: ArrayLike, steps: ArrayLike, c1: ArrayLike = 1.0, c2: ArrayLike = 1.0, c3: ArrayLike = 1.0
) -> Floats:
    """Batch [samples] that reaches a level in so many steps; infinite where no batch does.

    b = (C2 / (P - 2 sqrt(C1 C3 / K)))^2, which is sqrt(K_min / K) + sqrt(b_min / b) = 1.

    Args:
        level: P.
        steps: K.
        c1, c2, c3: constants of the proxy.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> print(contour_batch(0.5, [16.0, 64.0]))  # K_min = 16 and b_min = 4: no batch, and 4 b_min
    [inf 16.]
    """
    p = positive("contour_batch", "level", level)
    k = positive("contour_batch", "steps", steps)
    one, two, three = _constants("contour_batch", c1, c2, c3)
    left = p - 2 * np.sqrt(one * three / k)
    return np.asarray(np.where(left > 0, (two / np.where(left > 0, left, 1.0)) ** 2, np.inf))


def fewest_samples(level: ArrayLike, c1: ArrayLike = 1.0, c2: ArrayLike = 1.0, c3: ArrayLike = 1.0) -> Corner:
    """Steps and batch that reach a level with the fewest samples: 4 K_min and 4 b_min.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> cheapest, least = fewest_samples(0.5), corner(0.5)
    >>> print(cheapest.steps / least.steps, cheapest.batch / least.batch)
    4.0 4.0
    """
    steps, batch = corner(level, c1, c2, c3)
    return Corner(4 * steps, 4 * batch)


def batch_penalty(ratio: ArrayLike) -> Floats:
    """P at b = ratio b* over P*, at equal samples and with the learning rate retuned: cosh(ln(ratio) / 2).

    Raises:
        BadInput: a ratio that is not finite and above 0.

    >>> print(batch_penalty([2.0, 4.0, 8.0]).round(2))
    [1.06 1.25 1.59]
    """
    return np.asarray(np.cosh(np.log(positive("batch_penalty", "ratio", ratio)) / 2))


def learning_rate_penalty(ratio: ArrayLike) -> Floats:
    """P at eta = ratio eta* over P*, at the best batch: 1/2 + (ratio + 1/ratio) / 4.

    Raises:
        BadInput: a ratio that is not finite and above 0.

    >>> print(learning_rate_penalty([1.0, 2.0, 4.0]))
    [1.     1.125  1.5625]
    """
    x = positive("learning_rate_penalty", "ratio", ratio)
    return np.asarray(0.5 + (x + 1 / x) / 4)


def _constants(place: str, c1: ArrayLike, c2: ArrayLike, c3: ArrayLike) -> tuple[Floats, Floats, Floats]:
    return positive(place, "c1", c1), positive(place, "c2", c2), positive(place, "c3", c3)
