"""Exponents of the optima tied by one latent q, as LMO convergence bounds have them: two parts of the law.

With learning rate and momentum tuned, the bounds are to leading order the same along every path B ~ D^q with
0 <= q <= 1/2, on which 1 - m ~ D^(q - 1/2) and eta ~ D^(q - 3/4) (``bayeslaw.theory.paths``). In the words of
``parameters``: epsilon = q, delta = 3/4 - q and, since the law's momentum depends on N alone, kappa = 1/2 - q
as along a fixed D/N. With one momentum theory has q = 1/2, which is the same line.

The part ``theory`` is a prior: all groups' populations lie about these lines, with a residual that runs can
overrule. It says nothing of N, whose exponents keep their priors. The part ``lmo`` is the rival: the lines
hold exactly and N is in none of them. Prior of q and residuals: chosen in this project, wide since its runs
refute the momentum's line (docs/theory.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

from bayeslaw.law.parameters import Parameter
from bayeslaw.law.terms import Array, special_of

NORMAL = NormalDist(0.45, 0.12)
RANGE = (0.0, 0.5)
"""q is Gaussian within this range: beyond it the momentum cannot follow the batch."""

EXACT = 1e-3
"""Residual, and spreads between groups, of exponents that follow their line."""


class Line(NamedTuple):
    """Population mean of an exponent: ``intercept + slope q``, with a Gaussian residual.

    Attributes:
        intercept, slope: of the line.
        sd: of the residual.
    """

    intercept: float
    slope: float
    sd: float


@dataclass(frozen=True)
class Tie:
    """Exponents on lines in one q.

    Attributes:
        score: common parameter with the standard normal score of q (``path_exponent``).
        lines: group parameter -> its line.
        spread: prior median of its spreads between optimizers and studies; None for the row's own.
    """

    score: str
    lines: Mapping[str, Line]
    spread: float | None = None


TIES = {
    "theory": Tie(
        "theory_path",
        {"delta": Line(0.75, -1, 0.25), "epsilon": Line(0, 1, 0.1), "kappa": Line(0.5, -1, 0.2)},
    ),
    "lmo": Tie(
        "lmo_path",
        {
            "gamma_path": Line(0.75, -1, EXACT),  # gamma + delta with gamma = 0
            "delta": Line(0.75, -1, EXACT),
            "epsilon": Line(0, 1, EXACT),
            "epsilon_n": Line(0, 0, EXACT),
            "kappa": Line(0.5, -1, EXACT),
        },
        EXACT,
    ),
}
"""Part of the law -> what it ties."""


def tie_of(parts: Collection[str]) -> Tie | None:
    """The tie among some parts of the law; the first, if there are two."""
    return next((tie for part, tie in TIES.items() if part in parts), None)


def path_exponent(score: Array) -> Array:
    """q of its standard normal score, NumPy or JAX: the quantile of the truncated Gaussian.

    >>> import numpy as np
    >>> path_exponent(np.array([-9.0, 0.0, 9.0])).round(3)
    array([0.   , 0.397, 0.5  ])
    """
    special = special_of(score)
    low, high = (NORMAL.cdf(end) for end in RANGE)
    return NORMAL.mean + NORMAL.stdev * special.ndtri(low + (high - low) * special.ndtr(score))


def path_moments() -> tuple[float, float]:
    """Mean and standard deviation of q before any run: those of a truncated Gaussian.

    >>> [round(x, 4) for x in path_moments()]
    [0.3837, 0.0816]
    """
    low, high = ((end - NORMAL.mean) / NORMAL.stdev for end in RANGE)
    unit = NormalDist()
    mass = unit.cdf(high) - unit.cdf(low)
    first = (unit.pdf(low) - unit.pdf(high)) / mass
    second = 1 + (low * unit.pdf(low) - high * unit.pdf(high)) / mass
    return NORMAL.mean + NORMAL.stdev * first, NORMAL.stdev * math.sqrt(second - first**2)


def tied(row: Parameter, tie: Tie) -> Parameter:
    """The row of an exponent with its prior on the line, q integrated out; any other row as it is.

    >>> from bayeslaw.law.parameters import PARAMETERS
    >>> row = tied(PARAMETERS["delta"], TIES["theory"])
    >>> round(row.mean, 3), round(row.sd, 3)
    (0.366, 0.263)
    """
    if row.name not in tie.lines:
        return row
    line, (mean, sd) = tie.lines[row.name], path_moments()
    return replace(
        row,
        mean=line.intercept + line.slope * mean,
        sd=math.hypot(line.sd, line.slope * sd),
        between_optimizers=tie.spread or row.between_optimizers,
        between_studies=tie.spread or row.between_studies,
    )
