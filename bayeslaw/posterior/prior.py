"""Posterior of no runs, drawn from the priors with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.law.parameters import (
    CELL_SHIFTS,
    DEFAULT_PARTS,
    SIZE_SHIFTS,
    SPREAD_LOG_SD,
    SPREADS,
    belongs,
)
from bayeslaw.law.structure import structure
from bayeslaw.law.terms import COVARIATES, own_bowls, reference
from bayeslaw.posterior.draws import Posterior

if TYPE_CHECKING:
    import pandas as pd

Fit = Callable[["pd.DataFrame", int], Posterior]
"""A function that refits: (runs, seed) -> posterior. Needs at least one finished run."""

DRAWS = 1000


def prior_posterior(
    varied: Iterable[str] = (),
    draws: int = DRAWS,
    seed: int = 0,
    parts: Collection[str] = DEFAULT_PARTS,
    pivot: Mapping[str, float] | None = None,
) -> Posterior:
    """A posterior without groups, studies or cells: whatever is asked of it is drawn from the priors.

    Args:
        varied: hyperparameters with a bowl of their own that the runs to come will vary; others are not
            decided on.
        draws: how many.
        seed: of the spreads between groups and of what all groups share; all else is drawn where it is
            asked for.
        parts: of the law, beyond its core (``parameters.PARTS``).
        pivot: covariate -> natural value about which the law is stated, to be near the runs to come; by
            default where the priors of intercepts are (``terms.reference``).

    >>> prior_posterior(draws=5).groups
    ()
    """
    rng = np.random.default_rng(seed)
    nobody = np.zeros(0, np.int64)
    if pivot is None:
        pivot = reference(
            name
            for name, row in COVARIATES.items()
            if not row.optional or (row.part and belongs(row.part, parts))
        )
    known = structure(dict.fromkeys(("surface", *varied), nobody), pivot, parts)
    spreads = {
        kind: {
            name: getattr(row, kind) * np.exp(SPREAD_LOG_SD * rng.standard_normal(draws))
            for name, row in known.group.items()
        }
        for kind in SPREADS
    }
    return Posterior(
        group={name: np.empty((draws, 0)) for name in known.group},
        study={name: np.empty((draws, 0)) for name in known.study},
        common={name: mean + sd * rng.standard_normal(draws) for name, (mean, sd) in known.common.items()},
        between_optimizers=spreads["between_optimizers"],
        between_studies=spreads["between_studies"],
        cell={name: np.empty((draws, 0)) for name in CELL_SHIFTS},
        group_prior={name: (row.mean, row.sd) for name, row in known.group.items()},
        study_prior=known.study,
        common_prior=known.common,
        groups=(),
        studies=(),
        optimizers=(),
        cells=(),
        pivot=dict(pivot),
        conventions={},
        provenance={"sources": [], "rows": 0, "method": "prior", "seed": seed, "parts": list(parts)},
        diagnostics={"converged": True, "messages": []},
        size={name: np.empty((draws, 0)) for name in SIZE_SHIFTS},
    )


def known_bowls(posterior: Posterior) -> list[str]:
    """Hyperparameters with a bowl of their own that a posterior knows."""
    return [name for name, optimum in own_bowls().items() if optimum.curvature in posterior.group]
