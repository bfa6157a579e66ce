"""A parameter from a group's own runs alone, with the other groups' information divided out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import group_draws

Group = tuple[str, str]


def unpooled_normal(
    posterior: Posterior, name: str, group: Group, seed: int = 0
) -> tuple[float, float] | None:
    """Approximate mean and standard deviation of a group's parameter from its own runs alone.

    The quotient of the group's posterior, N(m, V), and its prior given the other groups, N(m0, V0), as
    Gaussians: precision 1/V - 1/V0, mean (m/V - m0/V0) / precision. N(m0, V0) has the moments of the
    conditional of ``bayeslaw.posterior.pooling`` given the other groups, over the draws. It is an
    approximation: neither is quite Gaussian, the draws of the other groups have seen this group's runs too,
        and
    the group's other parameters remain pooled.

    Args:
        posterior: the fit.
        name: of a group parameter, or ``gamma``.
        group: (study, optimizer), with values of its own.
        seed: seed of the conditional draws.

    Returns:
        None if the quotient has no positive precision: the runs are less informative than the noise of the
            draws.
    """
    own = posterior.groups.index(group)
    others = replace(
        posterior,
        groups=tuple(other for other in posterior.groups if other != group),
        group={name: np.delete(values, own, axis=1) for name, values in posterior.group.items()},
    )
    pooled = group_draws(posterior, *group, seed)[name]
    given = group_draws(others, *group, seed)[name]
    precision = 1 / pooled.var() - 1 / given.var()
    if not precision > 0:
        return None
    mean = (pooled.mean() / pooled.var() - given.mean() / given.var()) / precision
    return float(mean), float(precision**-0.5)
