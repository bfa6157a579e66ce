"""Which parameters a fit has, and their priors at its pivot: the law's table as one set of runs sees it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslaw.arrays import Floats, Ints
from bayeslaw.law.observations import Observations
from bayeslaw.law.parameters import INTERCEPT, SPREAD_LOG_SD, SPREADS, Parameter, of_level, usual_shifts
from bayeslaw.law.population import Population, Prior, Shared
from bayeslaw.law.terms import OPTIMA, QUANTITIES, blocks, covariates_in, moved_priors
from bayeslaw.law.ties import Tie, tie_of, tied


@dataclass(frozen=True)
class Structure:
    """Parameters of a fit; priors have their intercepts moved to the pivot.

    Attributes:
        blocks: ``surface``, or a hyperparameter -> its group parameters.
        members: the same keys -> groups that have them, (k,).
        group: group parameter -> its row, with the moved mean and sd.
        study, common: parameter -> (mean, sd).
        spreads: kind of spread -> group parameter -> (mean, sd) of its logarithm.
        shared: group parameter -> what a population of other studies says of it; the row holds for the rest.
        usual: ln of each optimizer's usual rate over AdamW's, by which the means of alpha are apart; 0 where
            none is usual or the part is not in the fit, (optimizer,).
        tie: what ties exponents, if anything does; their rows have its latent q integrated out.
    """

    blocks: dict[str, tuple[str, ...]]
    members: dict[str, Ints]
    group: dict[str, Parameter]
    study: dict[str, Prior]
    common: dict[str, Prior]
    spreads: dict[str, dict[str, Prior]]
    shared: dict[str, Shared]
    usual: Floats
    tie: Tie | None = None


def structure_of(observed: Observations) -> Structure:
    """The parameters that some runs have."""
    everywhere = np.arange(len(observed.group_study))
    members = {"surface": everywhere} | observed.groups_with
    known = {name: index for name, index in members.items() if len(index)}
    return structure(known, observed.pivot, observed.parts, observed.population, observed.optimizers)


def structure(
    members: Mapping[str, Ints],
    pivot: Mapping[str, float],
    parts: Collection[str] = (),
    population: Population | None = None,
    optimizers: Sequence[str] = (),
) -> Structure:
    """The parameters of blocks that have groups, or may have some.

    Args:
        members: ``surface``, or a hyperparameter -> groups that have its parameters.
        pivot: covariate -> natural value where its coordinate is 0; names those that the fit knows.
        parts: of the law, beyond its core (``parameters.PARTS``).
        population: takes the place of the rows' priors, where it knows a parameter; at the same pivot.
        optimizers: names, in the order in which indices count them.
    """
    unknown = _of_unknown_covariates(pivot)
    named = {
        block: tuple(name for name in rows if name not in unknown)
        for block, rows in blocks().items()
        if block in members
    }
    tie = tie_of(parts)
    rows = {
        name: tied(row, tie) if tie else row
        for name, row in of_level("group", parts).items()
        if any(name in names for names in named.values())
    }
    study = {name: row for name, row in of_level("study", parts).items() if name not in unknown}
    common = {name: row for name, row in of_level("common", parts).items() if name not in unknown}
    moved = moved_priors({name: (row.mean, row.sd) for name, row in (rows | study | common).items()}, pivot)
    group = {name: replace(row, mean=moved[name][0], sd=moved[name][1]) for name, row in rows.items()}
    spreads: dict[str, dict[str, Prior]] = {
        kind: {name: (math.log(getattr(row, kind)), SPREAD_LOG_SD) for name, row in rows.items()}
        for kind in SPREADS
    }
    found = Structure(
        blocks=named,
        members={block: members[block] for block in named},
        group=group,
        study={name: moved[name] for name in study},
        common={name: moved[name] for name in common},
        spreads=spreads,
        shared={},
        usual=usual_shifts(INTERCEPT, optimizers, parts),
        tie=tie,
    )
    return found if population is None else _informed(found, population)


def centred_study_priors(known: Structure, observed: Observations, study: int) -> dict[str, Prior]:
    """The priors of a study's parameters, with the level's moved to the centre of that study."""
    way = {name: float(values[study]) for name, values in observed.centres.items()}
    if not any(way.values()):
        return known.study
    pivot = {name: at * math.exp(way.get(name, 0.0)) for name, at in observed.pivot.items()}
    rows = of_level("study", observed.parts)
    moved = moved_priors({name: (rows[name].mean, rows[name].sd) for name in known.study}, pivot)
    return {name: moved[name] for name in known.study}


def _informed(known: Structure, by: Population) -> Structure:
    """The structure with a population's priors where it has them; those of rates as of AdamW's."""
    shared = {name: by.shared[name] for name in known.group if name in by.shared}
    typical = {name: each.typical for name, each in shared.items()}
    if INTERCEPT in typical:
        mean, sd = typical[INTERCEPT]
        typical[INTERCEPT] = mean - float(known.usual.mean()), sd
    return replace(
        known,
        group={
            name: replace(row, mean=typical[name][0], sd=typical[name][1]) if name in typical else row
            for name, row in known.group.items()
        },
        study={name: by.study.get(name, prior) for name, prior in known.study.items()},
        common={name: by.common.get(name, prior) for name, prior in known.common.items()},
        spreads={
            kind: {name: by.spreads[kind].get(name, prior) for name, prior in priors.items()}
            for kind, priors in known.spreads.items()
        },
        shared=shared,
    )


def shared_moments(known: Structure, names: Iterable[str], optimizers: Ints) -> tuple[Floats, Floats, Floats]:
    """What groups of different studies share of some parameters, before any run.

    Args:
        known: the structure.
        names: group parameters.
        optimizers: index of each group's optimizer, shape (k,).

    Returns:
        Mean, (name, k); covariance, (name, k, k); and 1 where the spread between optimizers comes on top,
        0 where a population has it in the covariance, (name,). Of a tied exponent at the mean of q, and
        without the variance that q adds.
    """
    k = len(optimizers)
    lines = known.tie.lines if known.tie else {}
    moments = []
    for name in names:
        if name in known.shared:
            mean, covariance = known.shared[name].at(optimizers)
            moments.append((mean, covariance, 0.0))
        else:
            row = known.group[name]
            sd = lines[name].sd if name in lines else row.sd
            usual = known.usual[optimizers] if name == INTERCEPT else 0.0
            moments.append((np.full(k, row.mean) + usual, np.full((k, k), sd**2), 1.0))
    means, covariances, on_top = zip(*moments, strict=True)
    return np.stack(means), np.stack(covariances), np.array(on_top)


def _of_unknown_covariates(pivot: Iterable[str]) -> set[str]:
    """Parameters of terms whose covariates the fit does not know: nothing could tell them."""
    known = set(pivot)
    terms = [term for terms in (*(o.terms for o in OPTIMA.values()), *QUANTITIES.values()) for term in terms]
    return {term.parameter for term in terms if not covariates_in([term]) <= known}
