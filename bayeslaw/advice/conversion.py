"""The same run by another optimizer, batch or schedule: the ratio of its settings, with intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayeslaw.advice.prediction import about_fit, about_group
from bayeslaw.advice.target_surface import TargetSurface, log_lr_at_batch, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.intervals import check_level, interval
from bayeslaw.law.terms import check_covariates
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import ground
from bayeslaw.runs.optimizer_families import convention_of
from bayeslaw.target import NEVER_SEEN, Target


def convert(
    posterior: Posterior, source: Target, target: Target, level: float = 0.9, seed: int = 0
) -> dict[str, Any]:
    """Ratios of the best settings of two runs of one set-up.

    What a set-up never seen does to its rates it does to both optimizers', so it cancels in the ratio.

    Args:
        posterior: the fit.
        source, target: runs of one N, D and study that differ in optimizer, batch or covariates. Where the
            batch is fixed, the rate is the best one at that batch.
        level: of the equal-tailed intervals.
        seed: of draws of what was never seen.

    Returns:
        JSON-ready: ``from`` and ``to`` (the runs, and the convention of each rate), ``ratio`` (``to`` over
        ``from``: of ``learning_rate``, and of ``batch_tokens`` where neither is fixed), ``level`` and
        ``warnings``.

    Raises:
        BadInput: a level outside (0, 1), runs of different N, D or study, or an unknown covariate.
    """
    check_level(level)
    for name in ("params_nonembedding", "tokens", "study"):
        one, other = getattr(source, name), getattr(target, name)
        if one != other:
            raise BadInput(f"convert: {name} = {one} and {other}; expected one run; predict each instead")
    check_covariates({**source.covariates, **target.covariates})
    known, study = ground(posterior, {(source.study, source.optimizer)}, seed), source.study or NEVER_SEEN
    first, second = (surface_at(known, replace(run, study=study), seed) for run in (source, target))
    ratio = {"learning_rate": _log_rate(second) - _log_rate(first)}
    if source.batch_tokens is None and target.batch_tokens is None:
        ratio["batch_tokens"] = second.log_batch - first.log_batch
    return {
        "from": _told(source),
        "to": _told(target),
        "ratio": {name: interval(np.exp(draws), level).to_json() for name, draws in ratio.items()},
        "level": level,
        "warnings": list(
            dict.fromkeys(
                [*about_fit(posterior), *about_group(posterior, source), *about_group(posterior, target)]
            )
        ),
    }


def _log_rate(surface: TargetSurface) -> Floats:
    """ln of the best rate at the run's batch, or at the best one."""
    fixed = surface.target.batch_tokens
    return surface.log_lr if fixed is None else log_lr_at_batch(surface, np.log(fixed))


def _told(run: Target) -> dict[str, Any]:
    return {
        "params_nonembedding": run.params_nonembedding,
        "tokens": run.tokens,
        "optimizer": run.optimizer,
        "study": run.study,
        "batch_tokens": run.batch_tokens,
        "covariates": dict(run.covariates),
        "convention": convention_of(run.optimizer),
    }
