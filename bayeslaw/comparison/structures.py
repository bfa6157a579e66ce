"""Structures of the law compared by their predictions of cells larger than any fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.target_surface import surface_at
from bayeslaw.arrays import Floats
from bayeslaw.comparison.folds import Fold, future_folds
from bayeslaw.comparison.judge import Judged, judged_cells
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.scores import coverage, crps, r2_within_cells
from bayeslaw.intervals import ends
from bayeslaw.law.parameters import PARTS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.cells import cell_of, finished_runs

Fit = Callable[[pd.DataFrame, Sequence[str]], Posterior]
"""Runs and parts of the law -> posterior."""

CORE = "core"
"""The structure without parts beyond the core."""


def structure_named(text: str) -> tuple[str, ...]:
    """The parts beyond the core of a structure such as ``drift+second``.

    >>> structure_named("core"), structure_named("drift+smooth")
    ((), ('drift', 'smooth'))

    Raises:
        BadInput: for a part that the law does not have.
    """
    parts = () if text == CORE else tuple(text.split("+"))
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise BadInput(
            f"--structures {text}: no part {unknown[0]!r} of the law; expected {CORE}, or some of "
            f"{', '.join(PARTS)} joined by +; give it as drift+second"
        )
    return parts


def compare(
    runs: pd.DataFrame,
    structures: Sequence[str],
    fit: Fit,
    along: Sequence[str] = ("params", "tokens"),
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[dict[str, Any]]:
    """Score structures on cells of larger N, and of larger D, than any fitted.

    Args:
        runs: a valid run table.
        structures: texts of ``structure_named``.
        fit: a fit, approximate or not.
        along: directions of ``folds.future_folds``.
        say: receives progress.

    Returns:
        One dict per fold and structure: ``fold``, ``structure``, ``cells`` (judged), ``sizes``, ``density``
        (ln density of the measured optima, level included, cells of one size counting as one), ``crps``,
        ``r2_within_cells``, ``coverage_50``, ``coverage_90`` (of runs), ``optimum_coverage_90`` and
        ``optimum_factor`` (of learning rate and batch together), ``regret_mean`` and ``regret_max``
        (fractions).

    Raises:
        BadInput: an unknown structure, or a table without a fold that can be scored.
    """
    named = {text: structure_named(text) for text in structures}
    folds = [fold for direction in along for fold in future_folds(runs, direction)]
    scored = [(fold, cells) for fold in folds if (cells := judged_cells(fold.held_out))]
    if not scored:
        raise BadInput(
            f"compare: none of {len(folds)} future folds has a cell whose runs surround its optimum; "
            "expected four values of N or of D, and a scan of learning rates and batches in the larger "
            "cells; add runs"
        )
    for fold, cells in scored:
        for text, parts in named.items():
            say(f"{fold.name}: {text}, {len(fold.fitted)} runs fitted, {len(cells)} cells scored")
            yield {"fold": fold.name, "structure": text, **scores_of(fit(fold.fitted, parts), fold, cells)}


def scores_of(posterior: Posterior, fold: Fold, cells: Sequence[Judged]) -> dict[str, Any]:
    """What a posterior scores on the held-out runs and cells of a fold; keys as of ``compare``."""
    return loss_scores(posterior, fold) | optimum_scores(posterior, cells)


def loss_scores(posterior: Posterior, fold: Fold) -> dict[str, float]:
    """What it scores on the losses of the held-out runs."""
    finished = finished_runs(fold.held_out)
    losses, observed = PosteriorAdvisor(posterior).loss_draws(finished), finished["loss"].to_numpy(float)
    return {
        "crps": crps(losses, observed),
        "r2_within_cells": r2_within_cells(np.median(losses, axis=0), observed, cell_of(finished)),
        "coverage_50": coverage(losses, observed, 0.5),
        "coverage_90": coverage(losses, observed, 0.9),
    }


def optimum_scores(posterior: Posterior, cells: Sequence[Judged]) -> dict[str, Any]:
    """What it scores on the measured optima of the held-out cells, at least one."""
    advisor = PosteriorAdvisor(posterior)
    predicted = [_predicted(posterior, each) for each in cells]
    inside = np.array([_inside(draws, each) for draws, each in zip(predicted, cells, strict=True)])
    widths = [np.ptp(np.quantile(draws[:, 1:], ends(0.9), axis=0), axis=0) for draws in predicted]
    regret = [_regret(advisor, each) for each in cells]
    return {
        "cells": len(cells),
        "sizes": len({each.cell.key.params_nonembedding for each in cells}),
        "density": _density(predicted, cells),
        "optimum_coverage_90": float(inside.mean()),
        "optimum_factor": float(np.exp(np.median(widths))),
        "regret_mean": float(np.mean(regret)),
        "regret_max": float(np.max(regret)),
    }


def _predicted(posterior: Posterior, judged: Judged) -> Floats:
    """ln loss, ln eta* and ln B* of a cell in draws, (draw, 3)."""
    at = surface_at(posterior, judged.target)
    return np.column_stack([at.log_loss, at.log_lr, at.log_batch])


def _inside(draws: Floats, judged: Judged) -> Floats:
    """Whether 90% intervals of ln eta* and ln B*, with the judge's error, hold what was measured, (2,)."""
    noise = judged.error * np.random.default_rng(0).standard_normal(draws.shape)
    low, high = np.quantile((draws + noise)[:, 1:], ends(0.9), axis=0)
    return (low <= judged.optimum[1:]) & (judged.optimum[1:] <= high)


def _regret(advisor: PosteriorAdvisor, judged: Judged) -> float:
    """Excess loss of the advice over the cell's smoothed minimum, a fraction."""
    advice = advisor.recommend(judged.target)
    return float(judged.cell.regret(advice["learning_rate"], advice["batch_tokens"])[0])


def _density(predicted: Sequence[Floats], cells: Sequence[Judged]) -> float:
    """Sum over sizes of the mean over their cells of the ln density of what was measured.

    Gaussian, with the draws' mean and covariance and the judge's variance: cells of one size share their
    fate, so that more of them are no more evidence.
    """
    by_size: dict[float, list[float]] = {}
    for draws, judged in zip(predicted, cells, strict=True):
        covariance = np.cov(draws.T) + np.diag(judged.error**2)
        off = judged.optimum - draws.mean(axis=0)
        _, log_det = np.linalg.slogdet(2.0 * np.pi * covariance)
        value = -0.5 * (off @ np.linalg.solve(covariance, off) + log_det)
        by_size.setdefault(judged.cell.key.params_nonembedding, []).append(float(value))
    return sum(float(np.mean(values)) for values in by_size.values())


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One dict per structure over its folds, in the order of their first appearance.

    ``density`` is the sum; ``gain`` that over the first structure, with ``gain_sd``, the standard deviation
    of the sum of the folds' differences; ``folds_won`` of ``folds``; the rest are means, ``regret_max`` the
    largest.
    """
    table = pd.DataFrame(rows)
    first = table["structure"].iloc[0]
    reference = table[table["structure"] == first].set_index("fold")["density"]
    result = []
    for text, own in table.groupby("structure", sort=False):
        gains = own.set_index("fold")["density"] - reference
        count = len(gains)
        spread = float(gains.std(ddof=1) * np.sqrt(count)) if count > 1 and text != first else 0.0
        means = {name: float(own[name].mean()) for name in MEANS}
        result.append(
            {
                "structure": str(text),
                "folds": count,
                "density": float(own["density"].sum()),
                "gain": float(gains.sum()),
                "gain_sd": spread,
                "folds_won": int((gains > 0).sum()),
                **means,
                "regret_max": float(own["regret_max"].max()),
            }
        )
    return result


MEANS = (
    "crps",
    "r2_within_cells",
    "coverage_50",
    "coverage_90",
    "optimum_coverage_90",
    "optimum_factor",
    "regret_mean",
)
"""Scores that are averaged over folds."""
