"""Part of the prior in an answer: contraction, and sensitivity by power-scaling of the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import norm

from bayeslaw.advice.target_surface import surface_at, surface_draws
from bayeslaw.arrays import Floats
from bayeslaw.law.parameters import PARAMETERS, SPREAD_LOG_SD, SPREADS
from bayeslaw.posterior.convergence import arviz_module
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.prior import known_bowls, prior_posterior
from bayeslaw.target import Target

MEASURED = 0.5
"""Contraction below which the prior decides: the runs removed less than half of its variance."""

SENSITIVE = 0.05
"""Sensitivity above which the prior pulls (Kallioinen et al. 2023)."""

EXPONENTS = ("gamma", "delta", "epsilon", "alpha", "beta")
PRIOR_DRAWS = 4000


def prior_part(posterior: Posterior, target: Target) -> list[dict[str, Any]]:
    """Contribution of the prior to the optimum at a target and to the exponents of its group.

    Args:
        posterior: the fit.
        target: target of the advice; its optimum as in ``predict``.

    Returns:
        One dict per quantity (``learning_rate``, ``batch_tokens``, then ``EXPONENTS``): ``posterior_sd`` and
        ``prior_sd`` (of the natural logarithm, exponents as they are), ``contraction`` (1 - variance of the
        posterior over that of the prior), ``sensitivity`` (the largest over the priors of single parameters),
        ``most_sensitive_to`` (that parameter), ``prior_decides`` (contraction below ``MEASURED``) and
        ``prior_pulls`` (sensitivity above ``SENSITIVE``).
    """
    before = replace(
        prior_posterior(
            known_bowls(posterior),
            PRIOR_DRAWS,
            parts=posterior.provenance.get("parts", ()),
            pivot=posterior.pivot,
        ),
        group_prior=posterior.group_prior,
        study_prior=posterior.study_prior,
    )
    after, had = quantities(posterior, target), quantities(before, target)
    pulls = power_scaling(after, log_priors(posterior, target))
    return [_part(name, after[name], had[name], pulls[name]) for name in after]


def _part(name: str, after: Floats, before: Floats, pulls: Mapping[str, float]) -> dict[str, Any]:
    contraction = float(1.0 - after.var() / before.var())
    strongest = max(pulls, key=lambda parameter: pulls[parameter])
    return {
        "quantity": name,
        "posterior_sd": float(after.std()),
        "prior_sd": float(before.std()),
        "contraction": contraction,
        "sensitivity": pulls[strongest],
        "most_sensitive_to": strongest,
        "prior_decides": contraction < MEASURED,
        "prior_pulls": pulls[strongest] > SENSITIVE,
    }


def quantities(posterior: Posterior, target: Target) -> dict[str, Floats]:
    """ln eta* and ln B* at a target, and ``EXPONENTS`` of its group; (draw,) each."""
    at = surface_at(posterior, target, independent=True)
    return {"learning_rate": at.log_lr, "batch_tokens": at.log_batch} | {
        name: at.p[name] for name in EXPONENTS
    }


def log_priors(posterior: Posterior, target: Target) -> dict[str, Floats]:
    """ln prior density of each parameter of the target's group and study in each draw, (draw,) each.

    That of a family's value is N(mean, sd^2 + between_optimizers^2 + between_studies^2), its spreads
    lognormal (``parameters.Parameter``). The values of other groups are left out: in a joint density of
    many groups chance correlations drown what is asked.
    """
    p = surface_draws(posterior, target.study, target.optimizer)
    own = posterior.common_prior | posterior.study_prior
    found = {name: norm.logpdf(p[name], *prior) for name, prior in own.items()}
    for name, (mean, sd) in posterior.group_prior.items():
        spreads = [getattr(posterior, kind)[name] for kind in SPREADS]
        found[name] = norm.logpdf(p[name], mean, np.sqrt(sd**2 + sum(s**2 for s in spreads)))
        for kind, spread in zip(SPREADS, spreads, strict=True):
            median = np.log(getattr(PARAMETERS[name], kind))
            found[name] = found[name] + norm.logpdf(np.log(spread), median, SPREAD_LOG_SD)
    return found


def power_scaling(
    draws: Mapping[str, Floats], log_prior: Mapping[str, Floats]
) -> dict[str, dict[str, float]]:
    """Sensitivity of each quantity to each prior when raised to a power near 1.

    Gradient of the cumulative Jensen-Shannon distance by log2 of the power (Kallioinen, Paananen, Bürkner &
    Vehtari 2023, arXiv:2107.14054). It is 0.05 where the mean moves by about a quarter of an sd if the power
    doubles.

    Args:
        draws: quantity -> (draw,).
        log_prior: parameter -> ln prior density, (draw,).

    Returns:
        quantity -> parameter -> sensitivity.
    """
    az = arviz_module()
    data = az.from_dict(posterior={name: values[None] for name, values in draws.items()})
    data.add_groups(log_prior={name: values[None] for name, values in log_prior.items()})
    with np.errstate(invalid="ignore"):  # 0 / 0 if a quantity does not vary
        told = {name: az.psens(data, component_var_names=[name]) for name in log_prior}
    return {
        quantity: {name: float(np.nan_to_num(told[name][quantity])) for name in log_prior}
        for quantity in draws
    }
