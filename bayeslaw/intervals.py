"""Medians and equal-tailed intervals of draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.errors import BadInput


class Interval(NamedTuple):
    """An equal-tailed interval about the median, in the unit of the draws."""

    median: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float]:
        """``median``, ``lower`` and ``upper`` by name."""
        return self._asdict()


def interval(draws: ArrayLike, level: float = 0.9) -> Interval:
    """Median and equal-tailed interval of draws, (draw,), which hold a share ``level`` of them.

    Raises:
        BadInput: for a level outside (0, 1).

    >>> interval([0.0, 1.0, 2.0, 3.0, 4.0], 0.5)
    Interval(median=2.0, lower=1.0, upper=3.0)
    """
    low, high = ends(level)
    lower, median, upper = np.quantile(np.asarray(draws, float), [low, 0.5, high])
    return Interval(float(median), float(lower), float(upper))


def ends(level: float) -> tuple[float, float]:
    """Probabilities at the ends of an equal-tailed interval.

    Raises:
        BadInput: for a level outside (0, 1).

    >>> ends(0.5)
    (0.25, 0.75)
    """
    check_level(level)
    return (1 - level) / 2, (1 + level) / 2


def check_level(level: float) -> None:
    """Refuse a level that is no probability.

    Raises:
        BadInput: outside (0, 1).
    """
    if not 0 < level < 1:
        raise BadInput(f"level = {level!r}; expected a probability between 0 and 1; give 0.9 for 90%")
