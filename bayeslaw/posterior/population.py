"""The population of a posterior as the prior of another fit, and what then disagrees with it.

Moments of the posterior, in the coordinates of the fit and at the posterior's own pivot, so that nothing has
to be moved: a study far from it has the uncertainty of every slope in its prior. Group parameters hardly
correlate there (docs/model.md), so each has its own Gaussian over optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import SPREADS
from bayeslaw.law.population import Population, Prior, Shared
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import same_labels, seen_groups, usual_rates

COMMON_TO_STUDIES = 0.5
"""Share of the prior variance of a study's parameter (level, noise, spreads of cells) that all studies have
in common: the fit itself treats studies as independent, so the runs cannot tell it."""

FAR = 1.0
"""Decades beyond a population's runs up to which it may be a prior."""

SURPRISING = 3.0
"""Prior standard deviations by which a parameter must leave its prior to be named."""


def population_of(posterior: Posterior, optimizers: Sequence[str], new: Sequence[str] = ()) -> Population:
    """What a posterior says of studies that it does not hold.

    Args:
        posterior: of other studies.
        optimizers: those of the runs to come; one that the posterior never saw is drawn from its population.
        new: names of the studies to come.

    Raises:
        BadInput: the posterior holds one of these studies, whose runs would count twice, or no runs.
    """
    twice = [study for study in new if study in posterior.studies]
    if twice:
        raise BadInput(
            f"--population: holds the study {twice[0]}, whose runs would count twice; expected other studies "
            "only; leave the population out with --population none, or name your study otherwise"
        )
    if not posterior.groups:
        raise BadInput("--population: holds no runs; expected a posterior written by `bayeslaw fit`")
    return Population(
        pivot=posterior.pivot,
        optimizers=tuple(optimizers),
        shared={name: _shared(posterior, name, optimizers) for name in posterior.group},
        study={name: _of_new_study(posterior, name) for name in posterior.study},
        common={name: _moments(values) for name, values in posterior.common.items()},
        spreads={
            kind: {name: _moments(np.log(values)) for name, values in getattr(posterior, kind).items()}
            for kind in SPREADS
        },
        studies=posterior.studies,
    )


def refuse_far(posterior: Posterior, params: Floats, tokens: Floats) -> None:
    """Refuse a population for runs far beyond its own, where its laws mislead more than they tell.

    Networks of thousands of parameters, fitted with a population of hundreds of millions, had none of their
    best learning rates inside the 90% intervals (docs/benchmarks.md).

    Args:
        posterior: of the population.
        params, tokens: N and D of the cells to come, (cell,).

    Raises:
        BadInput: their middle lies more than ``FAR`` decades beyond the posterior's cells.
    """
    if (decades := decades_beyond(posterior, params, tokens)) > FAR:
        raise BadInput(
            f"--population: these runs lie {decades:.1f} decades of N and D beyond its own; expected at most "
            f"{FAR:g}, since its laws mislead so far out; fit with --population none"
        )


def decades_beyond(posterior: Posterior, params: Floats, tokens: Floats) -> float:
    """How far the middle of some cells lies beyond a posterior's, in decades of N and D together.

    Args:
        posterior: whose cells span a range of N and one of D.
        params, tokens: N and D of the cells, (cell,).
    """
    fitted = np.log10([(cell.params_nonembedding, cell.tokens) for cell in posterior.cells])
    middle = np.mean(np.log10(np.column_stack([params, tokens])), axis=0)
    beyond = np.maximum(0.0, np.maximum(middle - fitted.max(axis=0), fitted.min(axis=0) - middle))
    return float(np.linalg.norm(beyond))


def _shared(posterior: Posterior, name: str, optimizers: Sequence[str]) -> Shared:
    """Mean and optimizer effects of a parameter given the fitted groups (``pooling``), over all draws."""
    mean, sd = posterior.group_prior[name]
    values, covariance, index = seen_groups(posterior, name)
    seen = [posterior.groups[i][1] for i in index]
    spread = posterior.between_optimizers[name][:, None, None] ** 2
    cross = sd**2 + spread * same_labels(optimizers, seen)
    weights = np.linalg.solve(covariance, np.swapaxes(cross, 1, 2))  # (draw, seen, optimizer)
    centre = mean + np.einsum("dso,ds->do", weights, values - mean)
    for column, optimizer in enumerate(optimizers):
        own, others = usual_rates(posterior, name, optimizer, seen)
        centre[:, column] += own - weights[:, :, column] @ others
    remaining = sd**2 + spread * same_labels(optimizers, optimizers) - cross @ weights
    between = np.atleast_2d(np.cov(centre, rowvar=False))
    return Shared(centre.mean(axis=0), _positive(remaining.mean(axis=0) + between))


def _positive(covariance: Floats) -> Floats:
    """Symmetric, without what rounding leaves below 0."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return np.asarray((vectors * np.maximum(values, 1e-10)) @ vectors.T)


def _of_new_study(posterior: Posterior, name: str) -> Prior:
    """Moments of a study's parameter given those of the fitted studies (``COMMON_TO_STUDIES``)."""
    mean, sd = posterior.study_prior[name]
    values = posterior.study[name]
    count = values.shape[1]
    weight = COMMON_TO_STUDIES / (COMMON_TO_STUDIES * count + 1.0 - COMMON_TO_STUDIES)
    centre = mean + weight * (values - mean).sum(axis=1)
    remaining = sd**2 * (1.0 - weight * COMMON_TO_STUDIES * count)
    return float(centre.mean()), float(np.sqrt(remaining + centre.var()))


def _moments(values: Floats) -> Prior:
    return float(values.mean()), max(float(values.std()), 1e-6)


def conflicts(posterior: Posterior, population: Population) -> dict[str, float]:
    """Parameters that the runs moved away from the population, and by how many standard deviations.

    The distance of the posterior mean from the prior's, over the standard deviation that the prior foretells
    for it, the root of prior minus posterior variance (Evans & Moshonov 2006, Bayesian Analysis 1, for
    Gaussians). Those beyond ``SURPRISING``, by ``parameter (study, optimizer)``.
    """
    found = {}
    for name, shared in population.shared.items():
        if name in posterior.group:
            spread = float(np.mean(posterior.between_studies[name] ** 2))
            for i, (study, optimizer) in enumerate(posterior.groups):
                row = population.optimizers.index(optimizer)
                prior = (float(shared.mean[row]), float(np.sqrt(shared.covariance[row, row] + spread)))
                found[f"{name} ({study}, {optimizer})"] = _surprise(posterior.group[name][:, i], prior)
    for name, prior in population.study.items():
        if name in posterior.study:
            for i, study in enumerate(posterior.studies):
                found[f"{name} ({study})"] = _surprise(posterior.study[name][:, i], prior)
    return {name: value for name, value in found.items() if abs(value) > SURPRISING}


def _surprise(draws: Floats, prior: Prior) -> float:
    mean, sd = prior
    if np.isnan(draws).any():
        return 0.0
    foretold = np.sqrt(max(sd**2 - float(draws.var()), 1e-2 * sd**2))
    return float((draws.mean() - mean) / foretold)


def conflict_warning(found: Mapping[str, float]) -> list[str]:
    """One sentence on what disagrees with the population, the worst first; none where nothing does."""
    if not found:
        return []
    ranked = sorted(found, key=lambda name: -abs(found[name]))
    named = ", ".join(f"{name} by {found[name]:+.1f} sd" for name in ranked[:5])
    more = f" and {len(ranked) - 5} more" if len(ranked) > 5 else ""
    return [
        f"these runs disagree with the population: {named}{more}; they win, but compare with a fit "
        "without it (--population none)"
    ]
