"""A posterior brought up to date with new runs by weighting its draws: no refit, and a sign when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.linearise import absorbed_by, cells, grounded, run_draws
from bayeslaw.posterior import Floats, Posterior
from bayeslaw.priors import CRASH_IS_MACHINE, MIXED_STATUS

if TYPE_CHECKING:
    import pandas as pd

RELIABLE = 0.7
"""Pareto k up to which the weights may be used (Vehtari et al. 2024, JMLR 25, section 3)."""


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
    """ln likelihood of runs in each draw, (draw,).

    Finished runs count by the Student-t density of their ln loss and as survivors of the cliff; diverged and
    crashed ones by the cliff alone; runs that were stopped do not count. The fit besides treats runs off
    their cell's usual settings apart, and leaves the cliff out in studies without a diverged run.
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


def smoothed(log_ratios: Floats) -> tuple[Floats, float]:
    """Pareto-smoothed weights of log importance ratios, and the shape k of their tail.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25, "Pareto smoothed importance sampling", algorithm 1.

    Args:
        log_ratios: up to a constant, (draw,).

    Returns:
        Weights summing to 1, (draw,); k is infinite where the tail is too short to tell.

    >>> smoothed(np.zeros(4))[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    logs = log_ratios - log_ratios.max()
    count = int(np.ceil(min(0.2 * len(logs), 3.0 * np.sqrt(len(logs)))))
    order = np.argsort(logs, kind="stable")
    tail, k = order[-count:], np.inf
    cutoff = np.exp(logs[order[-count - 1]]) if count < len(logs) else 0.0
    excess = np.exp(logs[tail]) - cutoff
    if count > 4 and excess[0] > 0.0:
        k, scale = _pareto(excess)
        levels = (np.arange(count) + 0.5) / count
        quantiles = scale * np.expm1(-k * np.log1p(-levels)) / k if k else -scale * np.log1p(-levels)
        logs = logs.copy()
        logs[tail] = np.minimum(np.log(cutoff + quantiles), 0.0)
    elif np.ptp(logs) == 0.0:
        k = -np.inf  # equal weights: no tail at all
    weights = np.exp(logs)
    return weights / weights.sum(), float(k)


def _pareto(x: Floats) -> tuple[float, float]:
    """(k, scale) of a generalised Pareto distribution: Zhang & Stephens (2009), Technometrics 51, k
    regularised.

    Args:
        x: excesses in rising order, above 0.
    """
    n = len(x)
    m = 30 + int(np.sqrt(n))
    theta = 1.0 / x[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * x[int(n / 4 + 0.5) - 1])
    shape = np.mean(np.log1p(-theta[:, None] * x), axis=1)
    profile = n * (np.log(-theta / shape) - shape - 1.0)
    weight = 1.0 / np.sum(np.exp(np.clip(profile - profile[:, None], -700.0, 700.0)), axis=1)
    best = float(np.sum(theta * weight) / np.sum(weight))
    k = float(np.mean(np.log1p(-best * x)))
    scale = -k / best
    return (n * k + 5.0) / (n + 10.0), scale
