"""A posterior as the start of a search with Optuna: trials to begin with, and the range to search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.advice.prediction import predict
from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import check_count
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.posterior.pooling import keyed_rng
from bayeslaw.target import Target

MOST_TRIALS = 10_000


def first_trials(
    target: Target, count: int = 8, posterior: Posterior | str | Path | None = None, seed: int = 0
) -> list[dict[str, float]]:
    """Settings to try first: the recommendation, then draws of the best settings, equally likely.

    Args:
        target: the run to tune.
        count: number of trials.
        posterior: a fit or its file; by default the shipped one.
        seed: of the choice of draws.

    Returns:
        A dict per trial: ``learning_rate``, ``batch_tokens`` [tokens] and whatever else was fitted.

    Raises:
        BadInput: no count of trials, or a target that the posterior cannot answer.
    """
    check_count("count", count, 1, MOST_TRIALS)
    fit = posterior if isinstance(posterior, Posterior) else read_posterior(posterior or POSTERIOR)
    advised = predict(fit, target)["recommendation"]
    draws = optimum_draws(surface_at(fit, target))
    rows = keyed_rng(seed, "trials").choice(len(draws["learning_rate"]), count - 1, replace=False)
    return [advised, *({name: float(values[row]) for name, values in draws.items()} for row in rows)]


def search_ranges(
    target: Target, level: float = 0.9, posterior: Posterior | str | Path | None = None
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each setting that holds the best with this probability.

    They are ``low`` and ``high`` of ``trial.suggest_float(name, low, high, log=True)``.

    Raises:
        BadInput: no level, or a target that the posterior cannot answer.
    """
    fit = posterior if isinstance(posterior, Posterior) else read_posterior(posterior or POSTERIOR)
    optimum = predict(fit, target, level)["optimum"]
    return {name: (span["lower"], span["upper"]) for name, span in optimum.items()}


def enqueue(study: Any, trials: list[dict[str, float]], ranges: dict[str, tuple[float, float]]) -> None:
    """Queue trials in an Optuna study, each setting moved into its range, which a sampler then searches.

    Args:
        study: an ``optuna.Study``; the objective suggests parameters of the names in ``ranges``.
        trials: of ``first_trials``.
        ranges: of ``search_ranges``; settings outside these names are left to the sampler.
    """
    for trial in trials:
        settings = {
            name: float(np.clip(trial[name], *span)) for name, span in ranges.items() if name in trial
        }
        study.enqueue_trial(settings, user_attrs={"from": "bayeslaw"})
