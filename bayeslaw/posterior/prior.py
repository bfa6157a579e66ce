"""Posterior of no runs, drawn from the priors with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.law import parameters
from bayeslaw.posterior.draws import CELL_EFFECTS, SIZE_SHIFTS, SPREADS, Posterior

if TYPE_CHECKING:
    import pandas as pd

Fit = Callable[["pd.DataFrame", int], Posterior]
"""A function that refits: (runs, seed) -> posterior. Needs at least one finished run."""

DRAWS = 1000


def prior_posterior(
    weight_decay: bool = False, momentum: bool = False, draws: int = DRAWS, seed: int = 0
) -> Posterior:
    """Make a posterior without groups, studies or cells: every answer is drawn from the priors.

    The pivot is the scale at which the priors are stated (``parameters.REFERENCE_SCALE``).

    Args:
        weight_decay: whether future runs will vary it; otherwise it is not part of the advice.
        momentum: likewise.
        draws: number of draws.
        seed: seed of the spreads between groups and of the bend; everything else is drawn on demand.

    >>> prior_posterior(draws=5).groups
    ()
    """
    rng = np.random.default_rng(seed)
    families = dict(parameters.LR_BATCH)
    families |= parameters.DECAY if weight_decay else {}
    families |= parameters.MOMENTUM if momentum else {}
    spreads = {
        kind: {
            name: getattr(family, kind) * np.exp(parameters.SPREAD_LOG_SD * rng.standard_normal(draws))
            for name, family in families.items()
        }
        for kind in SPREADS
    }
    mean, sd, _ = parameters.BEND
    return Posterior(
        group={name: np.empty((draws, 0)) for name in families},
        study={name: np.empty((draws, 0)) for name in parameters.STUDY},
        bend=mean + sd * rng.standard_normal(draws),
        between_optimizers=spreads["between_optimizers"],
        between_studies=spreads["between_studies"],
        cell={name: np.empty((draws, 0)) for name in CELL_EFFECTS},
        family_prior={name: (float(family.mean), float(family.sd)) for name, family in families.items()},
        study_prior={name: (float(mean), float(sd)) for name, (mean, sd, _) in parameters.STUDY.items()},
        groups=(),
        studies=(),
        optimizers=(),
        cells=(),
        pivot=parameters.REFERENCE_SCALE,
        conventions={},
        provenance={"sources": [], "rows": 0, "method": "prior", "seed": seed},
        diagnostics={"converged": True, "messages": []},
        size={name: np.empty((draws, 0)) for name in SIZE_SHIFTS},
    )
