"""Part of the prior in an answer: contraction, and sensitivity by power-scaling of the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from bayeslaw.advice.target_surface import surface_at, surface_draws
from bayeslaw.arrays import Floats
from bayeslaw.law.parameters import PARAMETERS, SPREAD_LOG_SD, SPREADS, usual_shifts
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


@dataclass(frozen=True)
class PriorPart:
    """Contribution of the prior to one quantity.

    Attributes:
        quantity: its name.
        posterior_sd, prior_sd: of the natural logarithm of an optimum; of an exponent as it is.
        contraction: 1 - variance of the posterior over that of the prior.
        sensitivity: the largest over the priors of single parameters.
        most_sensitive_to: that parameter.
    """

    quantity: str
    posterior_sd: float
    prior_sd: float
    contraction: float
    sensitivity: float
    most_sensitive_to: str

    @property
    def prior_decides(self) -> bool:
        """Whether the contraction is below ``MEASURED``."""
        return self.contraction < MEASURED

    @property
    def prior_pulls(self) -> bool:
        """Whether the sensitivity is above ``SENSITIVE``."""
        return self.sensitivity > SENSITIVE

    @property
    def measured(self) -> float:
        """Contraction, at least 0."""
        return max(self.contraction, 0.0)

    def to_json(self) -> dict[str, Any]:
        """A mapping of ``quantities`` in ``bayeslaw diagnose --json``."""
        return asdict(self) | {"prior_decides": self.prior_decides, "prior_pulls": self.prior_pulls}


def prior_part(posterior: Posterior, target: Target) -> list[PriorPart]:
    """Contribution of the prior to the optimum at a target and to the exponents of its group.

    Args:
        posterior: the fit.
        target: target of the advice; its optimum as in ``predict``.

    Returns:
        One per quantity: ``learning_rate``, ``batch_tokens``, then ``EXPONENTS``.
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


def _part(name: str, after: Floats, before: Floats, pulls: Mapping[str, float]) -> PriorPart:
    strongest = max(pulls, key=lambda parameter: pulls[parameter])
    contraction = float(1.0 - after.var() / before.var())
    return PriorPart(name, float(after.std()), float(before.std()), contraction, pulls[strongest], strongest)


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
    parts = posterior.provenance.get("parts", ())
    for name, (mean, sd) in posterior.group_prior.items():
        (usual,) = usual_shifts(name, [target.optimizer], parts)
        spreads = [getattr(posterior, kind)[name] for kind in SPREADS]
        found[name] = norm.logpdf(p[name], mean + usual, np.sqrt(sd**2 + sum(s**2 for s in spreads)))
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
