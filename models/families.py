"""Families of sizes: width and depth together, or one with the other fixed."""

from __future__ import annotations

import math
from dataclasses import replace

from bayeslaw.errors import BadInput
from bayeslaw.lab.models.counts import params_nonembedding
from bayeslaw.lab.models.networks import NETWORKS
from bayeslaw.lab.models.transformer import Shape

Size = tuple[int, int, int]
"""(width, depth, heads)"""

BOTH: tuple[Size, ...] = (
    *((16, 3, 1), (24, 2, 1), (32, 2, 2), (48, 3, 2), (64, 3, 2), (96, 3, 3), (112, 4, 4), (128, 5, 4)),
    *((192, 6, 6), (256, 8, 8), (384, 10, 12), (512, 12, 16), (768, 16, 24), (1024, 20, 32)),
)
FAMILIES: dict[str, tuple[Size, ...]] = {
    "both": BOTH,
    "width": tuple((16 * k, 4, k) for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)),
    "depth": tuple((64, depth, 4) for depth in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)),
}


DECODER = Shape(1, 16, 1, 1)
"""With RMSNorm and GELU."""


def size_for(params: float, family: str = "both", like: Shape = DECODER) -> Size:
    """Find the size of a family nearest in ratio to ``params`` non-embedding parameters.

    Args:
        params: N.
        family: a key of ``FAMILIES``.
        like: a network of another size; a mixer's sizes have one head.

    >>> size_for(25e3)
    (32, 2, 2)

    Raises:
        BadInput: unknown family, or none of its sizes within a factor of 2.
    """
    if family not in FAMILIES:
        raise BadInput(f"family = {family}; expected one of {', '.join(FAMILIES)}")
    if not (math.isfinite(params) and params > 0):
        raise BadInput(f"params_nonembedding = {params:g}; expected a finite number above 0")
    heads = NETWORKS[like.model].fixed.get("heads")
    sizes = [(width, depth, heads or own) for width, depth, own in FAMILIES[family]]
    size = min(sizes, key=lambda s: abs(math.log(params_of(s, like) / params)))
    if not 0.5 <= params_of(size, like) / params <= 2:
        raise BadInput(
            f"params_nonembedding = {params:g}; the nearest size of family {family} has "
            f"{params_of(size, like):,}; give width, depth and heads instead"
        )
    return size


def params_of(size: Size, like: Shape = DECODER) -> int:
    """Non-embedding parameters of a size of a network."""
    width, depth, heads = size
    return params_nonembedding(replace(like, width=width, depth=depth, heads=heads))
