"""A search at one target: the settings to try next, given the trials that have ended.

The first suggestion is the advice. Each later one is the best setting of one draw of the posterior, drawn
with the weight that the trials give it (Thompson 1933, Biometrika 25). Trials move these weights and not the
draws; a refit with the trials among the runs (``bayeslaw fit``) says more.

The level of the loss is taken as unknown: only differences between trials count, so a loss of another data
set, or smoothed otherwise, serves as well. One trial alone therefore tells nothing, unless it diverges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.target_surface import (
    Settings,
    TargetSurface,
    at_draws,
    optimum_draws,
    run_draws,
    surface_at,
)
from bayeslaw.arrays import Floats
from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import BadInput
from bayeslaw.law.likelihood import Outcomes, log_density
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.posterior.pooling import keyed_rng
from bayeslaw.runs.schema import DIVERGED_RATIO
from bayeslaw.target import Target

LEAST_DRAWS = 20.0
"""Effective number of draws that trials leave: their mean is then known to a quarter of their spread."""

Move = Callable[[float], Any]
"""From a setting to the nearest one that a search space allows."""


@dataclass(frozen=True)
class Trial:
    """One trial that has ended.

    Attributes:
        settings: ``learning_rate``, ``batch_tokens`` [tokens] unless the target fixes it, and others that the
            posterior knows; further names count for nothing.
        loss: at the end, in nats per token up to a factor that all trials share; infinite or NaN if it
            diverged, as a loss far above the least of the trials says too (``runs.schema.DIVERGED_RATIO``);
            None if it crashed.
    """

    settings: Mapping[str, float]
    loss: float | None


def search_at(target: Target, posterior: Posterior | str | Path | None = None) -> TargetSurface:
    """What a posterior says of a target, for ``suggested``.

    Args:
        target: the run to tune.
        posterior: a fit or its file; by default the shipped one.

    Raises:
        BadInput: no posterior.
    """
    fit = posterior if isinstance(posterior, Posterior) else read_posterior(posterior or POSTERIOR)
    return surface_at(fit, target, independent=True)


def suggested(
    at: TargetSurface, trials: Sequence[Trial], moves: Mapping[str, Move], number: int, seed: int = 0
) -> dict[str, Any]:
    """Settings of the next trial.

    The learning rate is the best one at the batch as moved. A setting that was tried is passed over where
    others are left.

    Args:
        at: of ``search_at``.
        trials: that have ended.
        moves: by name of the settings that are searched; others than the posterior's are left out.
        number: of the trial, from 0; the same number gives the same settings.
        seed: of the choice of draws.

    Returns:
        The settings in ``moves``, as moved.

    Raises:
        BadInput: a batch that is searched though the target fixes it, or a trial's loss that is not above 0.
    """
    if "batch_tokens" in moves and at.target.batch_tokens is not None:
        raise BadInput(
            f"target: batch_tokens = {at.target.batch_tokens:g}, but the search space has batch_tokens too; "
            "expected one of them; leave it out of the target to search it"
        )
    if number == 0:
        return _moved(at, moves, decide)
    chance = weights(at, trials)
    count = min(int(LEAST_DRAWS), int(np.count_nonzero(chance)))
    rows = keyed_rng(seed, "search", number).choice(len(chance), count, replace=False, p=chance)
    tried = [{name: trial.settings.get(name) for name in moves} for trial in trials]
    options = (_moved(at_draws(at, rows[k : k + 1]), moves, _best) for k in range(count))
    first = next(options)
    return next((each for each in (first, *options) if each not in tried), first)


def weights(at: TargetSurface, trials: Sequence[Trial]) -> Floats:
    """Weights of the draws given trials at the target, summing to 1, (draw,).

    In proportion to the likelihood of the trials (``law.likelihood``) with the level of ln loss integrated
    out by Laplace's method under a flat prior. Where that would leave fewer than ``LEAST_DRAWS`` effective
    draws, its logarithm is multiplied by the power that leaves as many: what is learnt then is less than the
    trials tell.

    Raises:
        BadInput: a loss that is not above 0.
    """
    known = [trial for trial in trials if _placed(at, trial)]
    if not known:
        return np.full(len(at.log_loss), 1.0 / len(at.log_loss))
    columns = {
        name: np.array([trial.settings.get(name, math.nan) for trial in known], float) for name in at.optima
    }
    if at.target.batch_tokens is not None:
        columns["batch_tokens"] = np.full(len(known), float(at.target.batch_tokens))
    runs = _outcomes(known)
    m = run_draws(at, columns).moments
    information = np.where(runs.finished, (m.dof + 1.0) / (m.dof * m.scale**2), 0.0)
    total = np.maximum(information.sum(axis=1), 1e-300)
    level = ((runs.log_loss - m.mean) * information).sum(axis=1) / total
    likelihood = log_density(m._replace(mean=m.mean + level[:, None]), runs).sum(axis=1)
    return tempered(likelihood - 0.5 * np.log(total) if runs.finished.any() else likelihood)


def tempered(log_ratios: Floats, least: float = LEAST_DRAWS) -> Floats:
    """Weights exp(power log_ratios), summing to 1, with the largest power up to 1 that leaves enough draws.

    The effective number of draws is 1 / sum of squared weights (Kish 1965); a power as in annealed
    importance sampling (Neal 2001, Statistics and Computing 11).

    Args:
        log_ratios: ln of the weights up to a constant, (draw,).
        least: effective number of draws that must remain; at most half of them are asked for.

    >>> tempered(np.array([0.0, -1e9, 0.0, -1e9]), 2.0).round(6)
    array([0.5, 0. , 0.5, 0. ])
    """
    from scipy.optimize import brentq

    asked = min(least, 0.5 * len(log_ratios))
    if _effective(_normalised(log_ratios, 1.0)) >= asked * (1 - 1e-9):
        return _normalised(log_ratios, 1.0)
    power = brentq(lambda power: _effective(_normalised(log_ratios, power)) - asked, 0.0, 1.0)
    return _normalised(log_ratios, power)


def within(low: float, high: float, step: float | None = None, whole: bool = False) -> Move:
    """A move into a range, both ends included, in steps from its lower end.

    >>> within(1e-4, 1e-2)(0.5), within(0.0, 1.0, 0.25)(0.6), within(16, 64, 16, whole=True)(50.0)
    (0.01, 0.5, 48)
    """

    def move(value: float) -> float | int:
        inside = min(max(value, low), high)
        if step is not None:
            inside = min(low + step * round((inside - low) / step), high)
        return round(inside) if whole else float(inside)

    return move


def nearest(choices: Iterable[Any]) -> Move | None:
    """A move to the nearest of some choices, by ratio where all are above 0; None unless all are numbers.

    >>> move = nearest([65536, 131072, 262144])
    >>> move(1e5), nearest(["adamw", "muon"])
    (131072, None)
    """
    listed = list(choices)
    if not listed or any(isinstance(x, bool) or not isinstance(x, int | float) for x in listed):
        return None
    scale = math.log if min(listed) > 0 else float

    def move(value: float) -> Any:
        return min(listed, key=lambda choice: abs(scale(choice) - scale(max(value, 1e-300))))

    return move


# ------------------------------------------------------------------------------------------ one suggestion


def _moved(
    at: TargetSurface, moves: Mapping[str, Move], best: Callable[[TargetSurface], Settings]
) -> dict[str, Any]:
    """The best settings as moved, with the learning rate that suits the batch."""
    settings = best(at)
    if "batch_tokens" in moves:
        batch = float(moves["batch_tokens"](settings["batch_tokens"]))
        settings = best(replace(at, target=replace(at.target, batch_tokens=batch))) | {"batch_tokens": batch}
    return {name: moves[name](settings[name]) for name in moves if name in settings}


def _best(at: TargetSurface) -> Settings:
    """The best settings of the first draw."""
    return {name: float(values[0]) for name, values in optimum_draws(at).items()}


# ---------------------------------------------------------------------------------------- what trials say


def _placed(at: TargetSurface, trial: Trial) -> bool:
    """Whether learning rate and batch of a trial are known."""
    batch = trial.settings.get("batch_tokens", at.target.batch_tokens or math.nan)
    return all(0 < value < math.inf for value in (trial.settings.get("learning_rate", math.nan), batch))


def _outcomes(trials: Sequence[Trial]) -> Outcomes:
    """How trials ended, as the likelihood takes it, (trial,) each."""
    crashed = np.array([trial.loss is None for trial in trials])
    loss = np.array([math.inf if trial.loss is None else trial.loss for trial in trials])
    if (wrong := loss[np.isfinite(loss) & (loss <= 0)]).size:
        raise BadInput(
            f"search: a trial's loss is {wrong[0]:g}; expected one above 0 in nats per token, "
            "to be minimised; return the loss of the language model"
        )
    finite = np.isfinite(loss)
    finished = finite & (loss <= DIVERGED_RATIO * np.min(loss, initial=math.inf, where=finite))
    log_loss = np.log(np.where(finished, loss, 1.0))
    return Outcomes(log_loss, finished, ~finished & ~crashed, crashed, np.ones(len(loss), bool))


def _normalised(log_ratios: Floats, power: float) -> Floats:
    found = np.exp(power * (log_ratios - log_ratios.max()))
    return found / found.sum()


def _effective(found: Floats) -> float:
    return float(1.0 / np.sum(found**2))
