"""Exponents in width and depth, as exponents in size and aspect.

With N = 12 width^2 depth (a transformer's blocks) and r = width / depth, width = (N r / 12)^1/3 and
depth = (N / (12 r^2))^1/3. A family of one aspect tells the exponent in N alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Exponents(NamedTuple):
    """Of a learning rate.

    Attributes:
        size: g_N, in N at one aspect.
        aspect: g_r, in width / depth at one N.
    """

    size: float
    aspect: float


def size_exponents(width: float, depth: float) -> Exponents:
    """g_N = (e_w + e_L) / 3 and g_r = (e_w - 2 e_L) / 3, of eta going as width^e_w depth^e_L.

    Derived here, checked numerically.

    >>> [f"{x:.3f}" for x in size_exponents(-1.0, 0.0)]  # muP read in the standard parametrization
    ['-0.333', '-0.333']
    """
    return Exponents((width + depth) / 3, (width - 2 * depth) / 3)
