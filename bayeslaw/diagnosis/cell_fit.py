"""Fit of the surface to its runs: each run as predicted from the others, then cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, norm, t

from bayeslaw.diagnosis.fitted_runs import CellRuns, log_density, log_loss, moments
from bayeslaw.diagnosis.identifiability import MIN_TRIED, SETTINGS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import smoothed
from bayeslaw.target import Cell

FALSE_ALARMS = 0.05
"""Chance that any cell of a faultless posterior is called off."""

FEW = 5
"""Number of finished runs below which a cell is not judged."""

SHARED = (
    (
        "off",
        "have settings unusual for their cell",
        "leave them out, or give them a study name of their own",
    ),
    (
        "edge",
        "lie at the edge of the scan",
        "scan closer to the best run; far from it the surface is rough",
    ),
)
"""Features that runs outside their intervals may share, and those inside lack: column, reason, action."""


@dataclass(frozen=True)
class WorstRun:
    """The run furthest from its prediction, and ln loss minus that [percent]."""

    run_id: str
    residual_percent: float


@dataclass(frozen=True)
class CellFit:
    """How well a cell is fitted.

    Attributes:
        place: the cell.
        runs: number of its runs.
        finished: number of those that finished; without one the next four are None.
        residual_percent: mean of ln loss minus its prediction.
        inside_50, inside_90: share of finished runs inside intervals of 50% and 90%.
        worst_run: the run furthest from its prediction.
        reason, action: where too few runs lie inside, or too many on one side, the likely reason and what to
            do; else empty.
    """

    place: Cell
    runs: int
    finished: int
    residual_percent: float | None = None
    inside_50: float | None = None
    inside_90: float | None = None
    worst_run: WorstRun | None = None
    reason: str = ""
    action: str = ""

    @property
    def off(self) -> bool:
        """Whether there is a reason to doubt its fit."""
        return bool(self.reason)

    def to_json(self) -> dict[str, Any]:
        """A mapping of ``cells`` in ``bayeslaw diagnose --json``; reason and action only where it is off."""
        left_out = ("place",) if self.off else ("place", "reason", "action")
        told = {name: value for name, value in asdict(self).items() if name not in left_out}
        return self.place.to_json() | told | {"off": self.off}


@dataclass(frozen=True)
class RunsFit:
    """How well all runs are fitted.

    Attributes:
        as_fitted: whether the table is, row by row, the one that was fitted.
        not_fitted: number of runs in other cells, left out.
        finished: number of finished runs.
        inside_50, inside_90: share of these inside intervals of 50% and 90%.
        cells: the same cell by cell.
    """

    as_fitted: bool
    not_fitted: int
    finished: int
    inside_50: float
    inside_90: float
    cells: tuple[CellFit, ...]

    def to_json(self) -> dict[str, Any]:
        """``cells`` of ``bayeslaw diagnose --json``."""
        return vars(self) | {"cells": [cell.to_json() for cell in self.cells]}


def run_checks(cells: Sequence[CellRuns]) -> pd.DataFrame:
    """Predict each run from the others by PSIS-LOO (Vehtari, Gelman & Gabry 2017, Stat Comput 27).

    Returns:
        One row per run: ``cell`` (of the posterior), run_id, learning_rate, batch_tokens, ``pareto_k``,
        ``residual`` (ln loss minus its mean without the run) and ``pit`` (the share of predictions below it),
        NaN if it did not finish; ``off`` (the cell's usual settings) and ``edge`` (smallest or largest
        learning rate or batch tried in the cell).
    """
    return pd.concat([_checked(cell) for cell in cells], ignore_index=True)


def _checked(cell: CellRuns) -> pd.DataFrame:
    told = moments(cell, cell.surface)
    smooth = [smoothed(-density) for density in log_density(cell, told).T]
    weights = np.column_stack([w for w, _ in smooth])
    observed = log_loss(cell)
    below = t.cdf((observed - told.mean) / told.scale, told.dof)
    return cell.rows[["run_id", *SETTINGS]].assign(
        cell=cell.index,
        pareto_k=[k for _, k in smooth],
        residual=observed - np.sum(weights * told.mean, axis=0),
        pit=np.sum(weights * below, axis=0),
        off=cell.off > 0,
        edge=np.any([_at_edge(cell.rows[name]) for name in SETTINGS], axis=0),
    )


def _at_edge(values: pd.Series) -> pd.Series:
    return values.isin([values.min(), values.max()]) & (values.nunique() >= MIN_TRIED)


def cell_checks(posterior: Posterior, cells: Sequence[CellRuns], checks: pd.DataFrame) -> list[CellFit]:
    """Judge how well each cell is fitted, and the likely reason if it is not.

    A cell is off if too few of its runs lie inside their 90% intervals, or too many on one side, by more
    than chance explains in any cell (``FALSE_ALARMS``, Bonferroni).

    Args:
        posterior: the fit.
        cells: its runs (``fitted_runs.fitted_runs``).
        checks: checks of the same runs (``run_checks``).
    """
    chance = FALSE_ALARMS / (2 * len(cells))
    usual = _usual_conventions(posterior, cells)
    found = []
    for cell in cells:
        own = checks[checks["cell"] == cell.index]
        finished = own[own["pit"].notna()]
        told = _fit_of(cell.place, len(own), finished)
        side = _side(finished["pit"], chance)
        if side or _too_few_inside(finished["pit"], chance):
            reason, action = _why(finished, side, _unusual(cell, usual))
            told = replace(told, reason=reason, action=action)
        found.append(told)
    return found


def inside(pit: pd.Series, level: float) -> pd.Series:
    """Whether each value lies inside the equal-tailed interval of its prediction.

    >>> inside(pd.Series([0.02, 0.5]), 0.9).tolist()
    [False, True]
    """
    return (pit - 0.5).abs() <= 0.5 * level


def _fit_of(place: Cell, runs: int, finished: pd.DataFrame) -> CellFit:
    if finished.empty:
        return CellFit(place, runs, 0)
    worst = finished.loc[(finished["pit"] - 0.5).abs().idxmax()]
    return CellFit(
        place,
        runs,
        len(finished),
        residual_percent=100.0 * float(finished["residual"].mean()),
        inside_50=float(inside(finished["pit"], 0.5).mean()),
        inside_90=float(inside(finished["pit"], 0.9).mean()),
        worst_run=WorstRun(str(worst["run_id"]), 100.0 * float(worst["residual"])),
    )


def _too_few_inside(pit: pd.Series, chance: float) -> bool:
    return bool(len(pit) and binom.cdf(inside(pit, 0.9).sum(), len(pit), 0.9) < chance)


def _side(pit: pd.Series, chance: float) -> str:
    """Side of the expected losses on which the runs lie by their mean: ``above``, ``below`` or neither."""
    lean = float(np.sqrt(12.0 * len(pit)) * (pit.mean() - 0.5)) if len(pit) else 0.0
    return "" if abs(lean) <= norm.isf(0.5 * chance) else "above" if lean > 0.0 else "below"


def _usual_conventions(posterior: Posterior, cells: Sequence[CellRuns]) -> dict[str, dict[str, Any]]:
    """Most common value of each convention that is mixed in its study, if the runs record it."""
    rows = pd.concat([cell.rows for cell in cells])
    usual: dict[str, dict[str, Any]] = {}
    for study, told in posterior.conventions.items():
        mixed = [name for name, value in told.items() if value == "mixed" and name in rows]
        modes = {name: rows.loc[rows["study"] == study, name].mode() for name in mixed}
        usual[study] = {name: mode.iloc[0] for name, mode in modes.items() if len(mode)}
    return usual


def _unusual(cell: CellRuns, usual: dict[str, dict[str, Any]]) -> list[str]:
    """Conventions that none of the cell's runs shares with most of its study."""
    study = usual.get(str(cell.surface.target.study), {})
    return [name for name, value in study.items() if not (cell.rows[name] == value).any()]


def _why(finished: pd.DataFrame, side: str, unusual: list[str]) -> tuple[str, str]:
    """Likely reason why a cell is off, and what to do."""
    if unusual:
        names = ", ".join(name.replace("_", " ") for name in unusual)
        return f"other conventions than its study: {names}", "import its runs under a study name of their own"
    if len(finished) < FEW:
        return f"{len(finished)} finished runs only", "add runs there, or leave the cell out"
    is_inside = inside(finished["pit"], 0.9)
    for name, reason, action in SHARED:
        outside = finished.loc[~is_inside, name]
        if 2 * outside.sum() > len(outside) and 2 * finished.loc[is_inside, name].sum() < is_inside.sum():
            return f"{outside.sum()} of the {len(outside)} runs outside {reason}", action
    if side:
        return (
            f"its runs lie {side} what the others let expect",
            "check N, D, the kind of loss and the tokenizer of these runs",
        )
    return (
        "the surface has another shape here, or a setting that the table lacks was changed",
        "look at its worst runs; add such a setting as a column extra_NAME and fit again",
    )
