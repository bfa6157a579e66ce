"""What other studies say of a study to come: priors at a pivot of their own, without rows.

It stands in for the rows of those studies in a fit. A parameter of groups is Gaussian about what all
studies share, with the study's own deviation on top. Its spread is lognormal, so that the deviation has
tails about as heavy as those of a Student t with five degrees of freedom: a study's own runs win where they
disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bayeslaw.arrays import Floats, Ints

Prior = tuple[float, float]
"""Mean and standard deviation."""


@dataclass(frozen=True)
class Shared:
    """Mean (optimizer,) and covariance (optimizer, optimizer) of what the studies share of one parameter."""

    mean: Floats
    covariance: Floats

    @property
    def typical(self) -> Prior:
        """Mean and standard deviation averaged over the optimizers."""
        return float(np.mean(self.mean)), math.sqrt(float(np.mean(np.diag(self.covariance))))

    def at(self, optimizers: Ints) -> tuple[Floats, Floats]:
        """Mean (k,) and covariance (k, k) of groups with these optimizers."""
        return self.mean[optimizers], self.covariance[np.ix_(optimizers, optimizers)]


@dataclass(frozen=True)
class Population:
    """Priors of a study that is in none of the population's.

    Attributes:
        pivot: covariate -> natural value where its coordinate is 0.
        optimizers: whom the rows of ``shared`` belong to; one never seen has a row too.
        shared: group parameter -> what studies share of it.
        study, common: parameter -> (mean, sd).
        spreads: kind of spread -> group parameter -> (mean, sd) of its logarithm.
        studies: that it was fitted to.
    """

    pivot: Mapping[str, float]
    optimizers: tuple[str, ...]
    shared: dict[str, Shared]
    study: dict[str, Prior]
    common: dict[str, Prior]
    spreads: dict[str, dict[str, Prior]]
    studies: tuple[str, ...]
