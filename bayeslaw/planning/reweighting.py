"""Update a posterior with new runs by weighting its draws, without a refit; a diagnostic shows failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.target_surface import absorbed_by, run_draws
from bayeslaw.arrays import Floats
from bayeslaw.law.parameters import CRASH_IS_MACHINE, MIXED_STATUS
from bayeslaw.planning.linearisation import cells, grounded
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import smoothed

if TYPE_CHECKING:
    import pandas as pd


def reweighted(posterior: Posterior, runs: pd.DataFrame, seed: int = 0) -> tuple[Floats, float]:
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
    """ln likelihood of runs in each draw, (draw,).

    Finished runs count by the Student-t density of their ln loss and as survivors of the cliff, diverged and
    crashed runs by the cliff alone, and stopped runs not at all. Unlike here, the fit treats off-usual runs
    separately, and ignores the cliff in studies without a diverged run.
    """
    from scipy.special import gammaln

    known = grounded(posterior, set(zip(runs["study"], runs["optimizer"], strict=True)), seed)
    status = runs["status"].to_numpy(str)
    log_loss = np.log(np.where(status == "finished", runs["loss"].to_numpy(float), 1.0))
    total = np.zeros(posterior.draws)
    for where, basin in cells(known, runs, seed):
        absorbed = absorbed_by(posterior, basin.target, basin.extras)
        run = run_draws(basin, runs.iloc[where], absorbed)
        here, dof = status[where], run.dof
        x = (log_loss[where] - run.log_loss) / run.scale
        density = (
            gammaln(0.5 * (dof + 1.0)) - gammaln(0.5 * dof) - 0.5 * np.log(np.pi * dof) - np.log(run.scale)
        )
        density = density - 0.5 * (dof + 1.0) * np.log1p(x * x / dof)
        fall = MIXED_STATUS + (1.0 - 2.0 * MIXED_STATUS) * run.diverges
        crash = CRASH_IS_MACHINE + (1.0 - CRASH_IS_MACHINE) * fall
        total += np.sum(np.where(here == "finished", density + np.log(1.0 - fall), 0.0), axis=1)
        total += np.sum(np.where(here == "diverged", np.log(fall), 0.0), axis=1)
        total += np.sum(np.where(here == "crashed", np.log(crash), 0.0), axis=1)
    return total
