"""Two numbers of a schedule as coordinates of the law: what convex theory says of its rate and its loss.

``shift`` is 1/2 ln(X1/X2): by how much the best ln peak learning rate lies above that of a linear decay to 0
over the whole run. ``cost`` is 1/2 ln(X1 X2): the same of the bound's ln excess. Definitions, and what of it
was derived here: ``bayeslaw.theory.schedule_bounds``.

A run table tells the kind of a schedule and the share of the run in which it falls. So a cosine counts as one
to a tenth of the peak, any other schedule as constant and then linear to 0, and warm-up is left out. X2 of a
constant rate grows with ln T; here it is that of ``STEPS`` steps.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.schedule_bounds import Scalars, schedule_scalars, schedule_shape

COORDINATES = ("shift", "cost")

WSD_DECAY = 0.2
"""Share in which WSD falls where nothing else is said (Hu et al. 2024, arXiv:2404.06395, use 0.1 to 0.2)."""

STEPS = 20_000
COSINE_ENDS = 0.1
"""Last rate of a cosine over its peak: most of the fitted ones have it."""


def usual_decay_share(kind: str) -> float:
    """Decay share of a schedule of which only the kind is told.

    >>> [usual_decay_share(kind) for kind in ("constant", "wsd", "cosine")]
    [0.0, 0.2, 1.0]
    """
    return {"constant": 0.0, "wsd": WSD_DECAY}.get(kind, 1.0)


def schedule_coordinates(kind: ArrayLike, share: ArrayLike) -> dict[str, Floats]:
    """``shift`` and ``cost`` of schedules, 0 for a linear decay over the whole run.

    Args:
        kind: of each, such as ``wsd`` or ``cosine``.
        share: of the run in which the rate falls, of each; broadcasts with ``kind``.

    >>> found = schedule_coordinates(["wsd", "cosine"], [0.2, 1.0])
    >>> print(found["shift"].round(3), found["cost"].round(3))
    [-0.665 -0.209] [0.077 0.114]
    """
    kinds, shares = np.broadcast_arrays(np.asarray(kind, str), np.asarray(share, float))
    pairs = zip(kinds.ravel().tolist(), shares.ravel().tolist(), strict=True)
    found = np.array([_about_linear(word == "cosine", round(part, 3)) for word, part in pairs])
    return {name: found[:, i].reshape(kinds.shape)[()] for i, name in enumerate(COORDINATES)}


@cache
def _about_linear(is_cosine: bool, share: float) -> tuple[float, float]:
    own, linear = _scalars(is_cosine, share), _scalars(False, 1.0)
    distance, noise = math.log(own.distance / linear.distance), math.log(own.noise / linear.noise)
    return (distance - noise) / 2, (distance + noise) / 2


@cache
def _scalars(is_cosine: bool, share: float) -> Scalars:
    decay, final = ("cosine", COSINE_ENDS) if is_cosine else ("linear", 0.0)
    return schedule_scalars(schedule_shape(STEPS, decay, share=share, final=final))
