"""What a fit found, for a person or a program: runs used, convergence, exponents, doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.fit_doubts import fit_doubts
from bayeslaw.posterior import Posterior, derived

EXPONENTS = ("gamma", "delta", "epsilon")
LEVEL = 0.9
REPORTED = (
    "converged",
    "rhat_max",
    "ess_bulk_min",
    "ess_tail_min",
    "divergences",
    "chains",
    "draws",
    "seconds",
)


def fit_summary(posterior: Posterior, runs: pd.DataFrame, level: float = LEVEL) -> dict[str, Any]:
    """JSON-ready: ``groups``, ``convergence``, ``level`` and ``warnings``.

    Args:
        posterior: the fit.
        runs: the run table it was fitted to.
        level: of the equal-tailed intervals.

    Returns:
        Each of ``groups`` holds study, optimizer, counts of runs, cells and statuses, the ranges of N and D,
        and ``exponents``: gamma (-d ln lr*/d ln N), delta (-d ln lr*/d ln D), epsilon (d ln B*/d ln D).
    """
    messages = [str(text) for text in posterior.diagnostics.get("messages", [])]
    return {
        "groups": [_group(posterior, runs, i, level) for i in range(len(posterior.groups))],
        "convergence": {name: posterior.diagnostics.get(name) for name in REPORTED},
        "level": level,
        "warnings": [*messages, *fit_doubts(runs)],
    }


def _group(posterior: Posterior, runs: pd.DataFrame, index: int, level: float) -> dict[str, Any]:
    study, optimizer = posterior.groups[index]
    own = runs[(runs["study"] == study) & (runs["optimizer"] == optimizer) & (runs["status"] != "stopped")]
    n, d = own["params_nonembedding"], own["tokens"]
    values = posterior.group | derived(posterior.group)
    return {
        "study": study,
        "optimizer": optimizer,
        "runs": len(own),
        "status": {str(name): int(count) for name, count in own["status"].value_counts().items()},
        "cells": int(own.groupby(["params_nonembedding", "tokens"]).ngroups),
        "params_nonembedding": [float(n.min()), float(n.max())],
        "tokens": [float(d.min()), float(d.max())],
        "exponents": {name: interval(values[name][:, index], level) for name in EXPONENTS},
    }


def interval(draws: np.ndarray, level: float) -> dict[str, float]:
    """Median and equal-tailed interval of draws.

    >>> interval(np.arange(5.0), 0.5)
    {'median': 2.0, 'lower': 1.0, 'upper': 3.0}
    """
    lower, median, upper = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return {"median": float(median), "lower": float(lower), "upper": float(upper)}
