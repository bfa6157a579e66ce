"""Update a posterior with new runs by weighting its draws, without a refit; a diagnostic shows failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.cells import off_settings
from bayeslaw.advice.target_surface import absorbed_by, run_draws
from bayeslaw.arrays import Floats
from bayeslaw.law.likelihood import log_density
from bayeslaw.law.observations import outcomes_of
from bayeslaw.planning.linearisation import cells
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import smoothed
from bayeslaw.posterior.pooling import ground

if TYPE_CHECKING:
    import pandas as pd


def reweight(posterior: Posterior, runs: pd.DataFrame, seed: int = 0) -> tuple[Floats, float]:
    """Weight the draws by runs that the posterior was not fitted to.

    Pareto-smoothed importance sampling with the likelihood of the new runs (``log_likelihood``).

    It fails, with k above ``RELIABLE``, if the runs are more informative than the draws can represent: after
        a
    handful of precise runs with a thousand draws, or a single surprising one. Then refit; until then, runs
    that were made but not fitted can be given to a design as pending (``conditioning.chosen``). Unseen
    shifts of cells and values of groups are drawn with ``seed``, so use the weights with ``joint_draws`` of
    the same seed and study names.

    Args:
        posterior: the fit.
        runs: a run table of runs that were not fitted.
        seed: seed of the draws.

    Returns:
        Weights, (draw,), summing to 1, and the Pareto k.
    """
    return smoothed(log_likelihood(posterior, runs, seed))


def log_likelihood(posterior: Posterior, runs: pd.DataFrame, seed: int = 0) -> Floats:
    """ln likelihood of runs in each draw, (draw,): that of the fit, ``bayeslaw.law.likelihood``.

    Outcomes count in studies that report divergences, and in those never fitted; runs that were stopped do
    not count. A run is off its cell's usual settings as compared with the other runs given.
    """
    used = runs[runs["status"] != "stopped"].reset_index(drop=True)
    total = np.zeros(posterior.draws)
    if used.empty:
        return total
    known = ground(posterior, set(zip(used["study"], used["optimizer"], strict=True)), seed)
    off = off_settings(used, posterior)
    reported = outcomes_of(used, np.array([posterior.counts_outcomes(study) for study in used["study"]]))
    for where, at in cells(known, used, seed):
        absorbed = absorbed_by(posterior, at.target, at.extras)
        m = run_draws(at, used.iloc[where], absorbed, off[where]).moments
        total += log_density(m, reported.at(where)).sum(axis=1)
    return total
