"""The rival law of LMO convergence bounds: three levels and one latent exponent q, fitted to best runs.

With learning rate and momentum tuned, the bounds of ``bayeslaw.theory`` are to leading order the same for
every batch B ~ D^q, 0 <= q <= 1/2; then 1 - m ~ D^(q - 1/2) and eta ~ D^(q - 3/4) (``theory.paths``). Where a
sweep has one momentum, eta at a given batch goes as sqrt(B / D) (``theory.lmo.tune_learning_rate``), so as
D^((q - 1)/2) along B ~ D^q; theory then has q = 1/2 (Theorem 1), and q is left free in favour of the law. N
is in neither. A baseline that can be refuted, and is: docs/theory.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats, Ints
from bayeslaw.evaluation.baselines import (
    BATCH_ON,
    DRAWS,
    PowerLaw,
    PowerLawAdvisor,
    best_runs,
    design,
    determined,
    resample_counts,
)
from bayeslaw.law.observations import varied_settings

STEEPEST = 0.5
"""Largest q: beyond it the momentum cannot follow (``theory.paths``)."""

RATE_ON_BATCH = 0.5
"""d ln eta* / d ln B at a given momentum and D; with ``RATE_ON_ALPHA`` and ``RATE_ON_TOKENS`` from
eta*^2 = gap alpha B / (2 L D), the bound's optimum for alpha = 1 - momentum << 1 (derived there)."""

RATE_ON_ALPHA, RATE_ON_TOKENS = 0.5, -0.5
ALPHA_ON_TOKENS = -0.5


class Legs(NamedTuple):
    """Best settings of cells, each (cell,), with what the bounds say of their dependence on D taken out.

    Attributes:
        tokens: ln D.
        batch: ln B, of slope q in ln D.
        alpha: ln(1 - momentum) + ln D / 2, of slope q too; zeros where the momentum is not tuned.
        rate: ln eta - ln B / 2 - ln(1 - momentum) / 2 + ln D / 2, a constant.
        tuned: whether the sweep compares momenta.
    """

    tokens: Floats
    batch: Floats
    alpha: Floats
    rate: Floats
    tuned: bool


def fit_lmo(
    runs: pd.DataFrame, optimizer: str | None = None, draws: int = DRAWS, seed: int = 0
) -> PowerLawAdvisor:
    """Fit levels and q to the best run of each cell by least squares.

    Draws resample cells, and have the scatter of single cells about the law. A fixed batch moves the learning
    rate as sqrt(B).

    Args:
        runs: run table.
        optimizer: whose runs; None takes the table's most common.
        draws: number of draws.
        seed: of the draws.

    Returns:
        The advisor, with a law of ``momentum`` if the sweep compares momenta. ``report["path"]`` holds q, the
        slope that least squares would give without the bounds 0 and 1/2, and the number of cells.

    Raises:
        BadInput: with too few cells, or one D.
    """
    best = best_runs(runs, optimizer)
    x, _ = design(best, "batch_tokens", BATCH_ON, "lmo")
    name = str(best["optimizer"].iloc[0])
    legs = _legs(best, "momentum" in varied_settings(runs[runs["optimizer"] == name]))
    counts = resample_counts(best["cell"].to_numpy(), draws, "cell", seed)
    counts = np.vstack([np.ones(len(best), np.int64), counts[determined(x, counts)]])
    levels = _levels(legs, counts)
    noise = _scatter(legs, levels[0], np.random.default_rng(seed), len(counts) - 1)
    (free,) = _slope(legs, counts[:1])
    advisor = PowerLawAdvisor(
        f"LMO bounds, q = {levels[0, 3]:.2f}", name, _laws(legs, levels, noise), {}, RATE_ON_BATCH
    )
    advisor.report["path"] = {"q": float(levels[0, 3]), "q_free": float(free), "cells": len(best)}
    return advisor


def _legs(best: pd.DataFrame, compared: bool) -> Legs:
    d, batch, rate = (
        np.log(best[name].to_numpy(float)) for name in ("tokens", "batch_tokens", "learning_rate")
    )
    alpha = 1 - best["momentum"].to_numpy(float) if compared else np.full(len(d), np.nan)
    tuned = bool(np.isfinite(alpha).all())
    log_alpha = np.log(alpha) if tuned else np.zeros(len(d))
    rest = RATE_ON_BATCH * batch + RATE_ON_ALPHA * log_alpha + RATE_ON_TOKENS * d
    return Legs(d, batch, log_alpha - ALPHA_ON_TOKENS * d if tuned else log_alpha, rate - rest, tuned)


def _slope(legs: Legs, counts: Ints) -> Floats:
    """The slope that batch and momentum share, of resamples (draw, cell); shape (draw,)."""
    total = counts.sum(axis=1)
    off = legs.tokens - (counts @ legs.tokens / total)[:, None]
    width = np.sum(counts * off**2, axis=1)
    y = legs.batch + legs.alpha if legs.tuned else legs.batch
    return np.asarray(np.sum(counts * off * y, axis=1) / width / (2 if legs.tuned else 1))


def _levels(legs: Legs, counts: Ints) -> Floats:
    """Intercepts of batch, momentum and rate at ln D = 0, and q within its bounds; (draw, 4)."""
    q = np.clip(_slope(legs, counts), 0.0, STEEPEST)
    means = np.stack([legs.batch, legs.alpha, legs.rate, legs.tokens]) @ counts.T / counts.sum(axis=1)
    batch, alpha, rate, tokens = means
    return np.column_stack([batch - q * tokens, alpha - legs.tuned * q * tokens, rate, q])


def _scatter(legs: Legs, level: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Draws of what single cells add to batch, momentum and rate, (draw, 3)."""
    batch, alpha, rate, q = level
    residuals = [
        legs.batch - batch - q * legs.tokens,
        legs.alpha - alpha - legs.tuned * q * legs.tokens,
        legs.rate - rate,
    ]
    sd = np.sqrt(np.sum(np.square(residuals), axis=1) / (len(legs.tokens) - 1))
    return np.asarray(sd * rng.standard_normal((draws, 3)))


def _laws(legs: Legs, levels: Floats, noise: Floats) -> dict[str, PowerLaw]:
    """The settings as powers of D: the first row of ``levels`` is the fit, the others are its draws."""
    batch, alpha, _, q = levels.T
    share = np.array([RATE_ON_BATCH, RATE_ON_ALPHA, 1.0])
    slope = RATE_ON_BATCH * q + RATE_ON_TOKENS
    if legs.tuned:
        slope = slope + RATE_ON_ALPHA * (q + ALPHA_ON_TOKENS)
    lines = {
        "learning_rate": (levels[:, :3] @ share, slope, noise @ share),
        "batch_tokens": (batch, q, noise[:, 0]),
    }
    if legs.tuned:
        lines["momentum"] = (alpha, q + ALPHA_ON_TOKENS, noise[:, 1])
    return {
        name: PowerLaw(BATCH_ON, coefs[0], coefs[1:], scatter, one_minus=name == "momentum")
        for name, (intercept, exponent, scatter) in lines.items()
        for coefs in [np.column_stack([intercept, exponent])]
    }
