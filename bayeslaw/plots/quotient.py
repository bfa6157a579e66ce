"""What a group's own runs say of a parameter, with the other groups' say divided out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import group_draws

Group = tuple[str, str]


def unpooled_normal(
    posterior: Posterior, name: str, group: Group, seed: int = 0
) -> tuple[float, float] | None:
    """Mean and standard deviation of a group's parameter from its own runs alone, approximately.

    The group's posterior, N(m, V), over the prior that the other groups give it, N(m0, V0), as a quotient of
    Gaussians: precision 1/V - 1/V0, mean (m/V - m0/V0) / precision. N(m0, V0) has the moments of the
    conditional of ``bayeslaw.posterior.pooling`` given the other groups, over the draws. Approximate, since
    neither is quite Gaussian, the draws of the others have seen this group's runs too, and other parameters
    of the group, which the quotient leaves as they are, remain pooled.

    Args:
        posterior: the fit.
        name: of a group parameter, or ``gamma``.
        group: (study, optimizer), with values of its own.
        seed: of the conditional draws.

    Returns:
        None where the quotient has no positive precision: the runs say less than the noise of the draws.
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
