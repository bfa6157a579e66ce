"""A posterior brought up to date with new runs by weighting its draws: no refit, and a sign when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.cells import off_settings
from bayeslaw.advice.target_surface import absorbed_by, run_draws
from bayeslaw.arrays import Floats
from bayeslaw.law.likelihood import log_density
from bayeslaw.law.observations import outcomes_of
from bayeslaw.planning.linearisation import cells, grounded
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import smoothed

if TYPE_CHECKING:
    import pandas as pd


def reweighted(posterior: Posterior, runs: pd.DataFrame, seed: int = 0) -> tuple[Floats, float]:
    """Weights of the draws given runs that the posterior was not fitted to.

    Pareto-smoothed importance sampling with the likelihood of the new runs (``log_likelihood``).

    It fails, with k above ``RELIABLE``, where the runs say more than the draws hold: after a handful of
    precise runs with a thousand draws, or a single one far from what was expected. Then fit again; until
    then, runs made but not fitted can still be told to a design as pending (``joint.chosen``). Shifts of
    cells, and values of groups, that were never seen are those drawn with ``seed``: use the weights with
    ``joint_draws`` of the same seed and study names.

    Args:
        posterior: the fit.
        runs: a run table, none of it fitted before.
        seed: of what must be drawn.

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
    known = grounded(posterior, set(zip(used["study"], used["optimizer"], strict=True)), seed)
    off = off_settings(used, posterior)
    reported = outcomes_of(used, np.array([posterior.counts_outcomes(study) for study in used["study"]]))
    for where, at in cells(known, used, seed):
        absorbed = absorbed_by(posterior, at.target, at.extras)
        m = run_draws(at, used.iloc[where], absorbed, off[where]).moments
        total += log_density(m, reported.at(where)).sum(axis=1)
    return total
