"""Which parameters a fit has, and their priors at its pivot: the law's table as one set of runs sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayeslaw.arrays import Ints
from bayeslaw.law.observations import Observations
from bayeslaw.law.parameters import Parameter, of_level
from bayeslaw.law.terms import OPTIMA, QUANTITIES, blocks, covariates_in, moved_priors

Prior = tuple[float, float]


@dataclass(frozen=True)
class Structure:
    """Parameters of a fit; priors have their intercepts moved to the pivot.

    Attributes:
        blocks: ``surface``, or a hyperparameter -> its group parameters.
        members: the same keys -> groups that have them, (k,).
        group: group parameter -> its row, with the moved mean and sd.
        study, common: parameter -> (mean, sd).
    """

    blocks: dict[str, tuple[str, ...]]
    members: dict[str, Ints]
    group: dict[str, Parameter]
    study: dict[str, Prior]
    common: dict[str, Prior]


def structure_of(observed: Observations) -> Structure:
    """The parameters that some runs have."""
    everywhere = np.arange(len(observed.group_study))
    members = {"surface": everywhere} | observed.groups_with
    known = {name: index for name, index in members.items() if len(index)}
    return structure(known, observed.pivot, observed.parts)


def structure(
    members: Mapping[str, Ints], pivot: Mapping[str, float], parts: Collection[str] = ()
) -> Structure:
    """The parameters of blocks that have groups, or may have some.

    Args:
        members: ``surface``, or a hyperparameter -> groups that have its parameters.
        pivot: covariate -> natural value where its coordinate is 0; names those that the fit knows.
        parts: of the law, beyond its core (``parameters.PARTS``).
    """
    unknown = _of_unknown_covariates(pivot)
    named = {
        block: tuple(name for name in rows if name not in unknown)
        for block, rows in blocks().items()
        if block in members
    }
    rows = {
        name: row
        for name, row in of_level("group", parts).items()
        if any(name in names for names in named.values())
    }
    study = {name: row for name, row in of_level("study", parts).items() if name not in unknown}
    common = {name: row for name, row in of_level("common", parts).items() if name not in unknown}
    moved = moved_priors({name: (row.mean, row.sd) for name, row in (rows | study | common).items()}, pivot)
    return Structure(
        blocks=named,
        members={block: members[block] for block in named},
        group={name: replace(row, mean=moved[name][0], sd=moved[name][1]) for name, row in rows.items()},
        study={name: moved[name] for name in study},
        common={name: moved[name] for name in common},
    )


def _of_unknown_covariates(pivot: Iterable[str]) -> set[str]:
    """Parameters of terms whose covariates the fit does not know: nothing could tell them."""
    known = set(pivot)
    terms = [term for terms in (*(o.terms for o in OPTIMA.values()), *QUANTITIES.values()) for term in terms]
    return {term.parameter for term in terms if not covariates_in([term]) <= known}
