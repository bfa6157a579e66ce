"""Summary of a fit: runs used, convergence, exponents, warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.diagnosis.identifiability import MIN_TRIED, fit_doubts
from bayeslaw.intervals import interval
from bayeslaw.law.parameters import derived
from bayeslaw.law.terms import COVARIATES, own_bowls
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.population import conflict_warning
from bayeslaw.target import SIZE, Target

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
    """Summarise a fit, JSON-ready: groups, convergence, level, warnings, population and prior.

    Args:
        posterior: the fit.
        runs: run table that it was fitted to.
        level: level of the equal-tailed intervals.

    Returns:
        Each of ``groups`` holds study, optimizer, counts of runs, cells and statuses, the ranges of N and D,
        and ``exponents``: gamma (-d ln lr*/d ln N), delta (-d ln lr*/d ln D), epsilon (d ln B*/d ln D).
        ``population`` is None, or names the studies that took the place of the literature's priors.
        ``prior`` is whose the exponents' is: ``literature``, ``theory`` or ``population``.
    """
    messages = [str(text) for text in posterior.diagnostics.get("messages", [])]
    return {
        "groups": [_group(posterior, runs, i, level) for i in range(len(posterior.groups))],
        "convergence": {name: posterior.diagnostics.get(name) for name in REPORTED},
        "level": level,
        "warnings": [
            *messages,
            *conflict_warning(posterior.diagnostics.get("conflicts", {})),
            *fit_doubts(runs),
            *_beyond_the_scan(posterior, runs),
            *schedule_left_out(posterior, runs),
            *_lengths_unsaid(posterior, runs),
        ],
        "population": posterior.provenance.get("population"),
        "prior": _prior_of_exponents(posterior),
    }


def _prior_of_exponents(posterior: Posterior) -> str:
    if "population" in posterior.provenance:
        return "population"
    return "theory" if "theory" in posterior.provenance.get("parts", []) else "literature"


def schedule_left_out(posterior: Posterior, runs: pd.DataFrame) -> list[str]:
    """Warn of groups whose cells mix schedules or decay shares, where the fit does not tell them apart."""
    if any(part.startswith("schedule") for part in posterior.provenance.get("parts", [])):
        return []
    columns = [name for name in ("schedule", "decay_share") if name in runs]
    used = runs[runs["status"] != "stopped"]
    found = []
    for (study, optimizer), group in used.groupby(["study", "optimizer"]):
        cells = group.groupby(["params_nonembedding", "tokens"])[columns]
        mixed = [name for name in columns if cells.nunique()[name].max() > 1]
        if mixed:
            found.append(
                f"{study}, {optimizer}: runs of one cell differ in {' and '.join(mixed)}: those off the "
                "usual value count as departures, with a scatter of their own; fit them with --parts schedule"
            )
    return found


def _lengths_unsaid(posterior: Posterior, runs: pd.DataFrame) -> list[str]:
    """Warn of studies that do not say how long their sequences are, where the law counts batches in them."""
    if "sequence" not in posterior.provenance.get("parts", []):
        return []
    lengths = runs["sequence_length"] if "sequence_length" in runs else pd.Series(np.nan, runs.index)
    unsaid = sorted(runs["study"][lengths.isna()].unique())
    if not unsaid:
        return []
    usual = COVARIATES["sequence"].reference
    return [
        f"{', '.join(unsaid)}: no sequence_length: the prior of the best batch is that of {usual:,.0f} "
        "tokens a sequence, nine times that of 128; add the column, or import with "
        "--set sequence_length=TOKENS"
    ]


def _beyond_the_scan(posterior: Posterior, runs: pd.DataFrame) -> list[str]:
    """Warn of a fitted best momentum or weight decay outside the values tried, in most cells of a group.

    Warnings on learning rate and batch, which every sweep scans, are in ``identifiability``.
    """
    used = runs[runs["status"] != "stopped"]
    found = []
    for (study, optimizer), group in used.groupby(["study", "optimizer"]):
        for name in [name for name in own_bowls() if name in used]:
            sides = [
                _side_of_the_scan(posterior, Target(float(n), float(d), optimizer, study), cell[name])
                for (n, d), cell in group.groupby(list(SIZE))
                if cell[name].nunique() >= MIN_TRIED
            ]
            found += [
                f"{study}, {optimizer}: in {sides.count(side)} of {len(sides)} cells the fitted best "
                f"{name.replace('_', ' ')} lies {side} all values tried: it is extrapolated; extend the scan"
                for side in ("below", "above")
                if 2 * sides.count(side) > len(sides)
            ]
    return found


def _side_of_the_scan(posterior: Posterior, target: Target, tried: pd.Series) -> str:
    """``below``, ``above`` or ``inside``, by the median of the fitted optimum."""
    best = optimum_draws(surface_at(posterior, target)).get(str(tried.name))
    if best is None or tried.min() <= np.median(best) <= tried.max():
        return "inside"
    return "below" if np.median(best) < tried.min() else "above"


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
        "cells": int(own.groupby(list(SIZE)).ngroups),
        "params_nonembedding": [float(n.min()), float(n.max())],
        "tokens": [float(d.min()), float(d.max())],
        "exponents": {name: interval(values[name][:, index], level).to_json() for name in EXPONENTS},
    }
