"""The fitted runs in posterior draws: mean, scatter and likelihood, with the fitted shifts of cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.target_surface import (
    TargetSurface,
    absorbed_by,
    fitted_cell,
    lr_batch_excess,
    run_draws,
    surface_at,
)
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.likelihood import Moments, Outcomes
from bayeslaw.law.likelihood import log_density as run_log_density
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Cell, Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CellRuns:
    """Runs of one fitted cell.

    Attributes:
        index: index of the cell in ``Posterior.cells``.
        place: that cell.
        rows: its runs, without stopped ones.
        surface: its surface, including the cell's shifts.
        absorbed: hyperparameters whose effect is part of its group's level.
        off: 1 where a hyperparameter outside the model departs from the cell's usual value, (run,).
        outcomes: what the runs did.
        least: the least excess by learning rate and batch of all runs of its group, (draw,).
    """

    index: int
    place: Cell
    rows: pd.DataFrame
    surface: TargetSurface
    absorbed: list[str]
    off: Floats
    outcomes: Outcomes
    least: Floats


def fitted_runs(posterior: Posterior, runs: pd.DataFrame) -> tuple[list[CellRuns], int]:
    """Group the runs by fitted cell; also count runs in cells that were not fitted.

    Args:
        posterior: the fit.
        runs: the run table that it was fitted to.

    Raises:
        BadInput: none of the cells was fitted.
    """
    from bayeslaw.law.observations import prepare

    used = runs[runs["status"] != "stopped"].reset_index(drop=True)
    observed = prepare(used, posterior.pivot, list(posterior.factor_values))
    known: list[CellRuns] = []
    least: dict[tuple[str, str], Floats] = {}
    for number, cell in enumerate(observed.cells):
        target = Target.of_cell(cell)
        index = fitted_cell(posterior, target)
        if index is not None:
            where = np.flatnonzero(observed.cell == number)
            at = surface_at(posterior, target)
            absorbed = absorbed_by(posterior, target, at.extras)
            outcomes = observed.outcomes.at(where)
            rows, off = used.iloc[where], observed.off[where]
            rate, batch = (np.log(rows[name].to_numpy(float)) for name in ("learning_rate", "batch_tokens"))
            own = lr_batch_excess(at, rate, batch).min(axis=1)
            group = cell.study, cell.optimizer
            least[group] = np.minimum(least.get(group, np.inf), own)
            known.append(CellRuns(index, cell, rows, at, absorbed, off, outcomes, own))
    if not known:
        raise _not_fitted(len(observed.cells))
    known = [replace(cell, least=least[cell.place.study, cell.place.optimizer]) for cell in known]
    return known, len(used) - sum(len(cell.rows) for cell in known)


def as_fitted(posterior: Posterior, runs: pd.DataFrame) -> bool:
    """Whether a run table is, row by row, the one that was fitted."""
    from bayeslaw.runs.io import table_sha256

    return bool(posterior.provenance.get("table_sha256") == table_sha256(runs))


def fitted_notes(posterior: Posterior, runs: pd.DataFrame) -> list[str]:
    """How a run table differs from the one that was fitted, one sentence each; empty where it does not.

    Raises:
        BadInput: none of its cells was fitted.
    """
    from bayeslaw.runs.schema import CELL

    if as_fitted(posterior, runs):
        return []
    sizes = runs.groupby(list(CELL)).size()
    foreign = [
        count
        for (study, optimizer, n, d), count in sizes.items()
        if fitted_cell(posterior, Target(float(n), float(d), str(optimizer), str(study))) is None
    ]
    if len(foreign) == len(sizes):
        raise _not_fitted(len(sizes))
    notes = ["the run table is not, row by row, the one that was fitted: read what is said of runs with care"]
    if foreign:
        notes.append(f"{sum(foreign)} of {len(runs)} runs lie in cells that were not fitted")
    return notes


def _not_fitted(cells: int) -> BadInput:
    return BadInput(
        f"runs: none of their {cells} cells is in the posterior; expected the "
        "runs that it was fitted to; name their table (`bayeslaw evaluate` is for others)"
    )


def moments(cell: CellRuns, at: TargetSurface) -> Moments:
    """Expected outcomes of a cell's runs.

    Args:
        cell: the runs.
        at: their surface: ``cell.surface``, or a shifted copy.
    """
    return run_draws(at, cell.rows, cell.absorbed, cell.off, cell.least).moments


def log_density(cell: CellRuns, told: Moments) -> Floats:
    """ln likelihood of each run in each draw, (draw, run), as in the fit."""
    return np.asarray(run_log_density(told, cell.outcomes))


def log_loss(cell: CellRuns) -> Floats:
    """ln loss [nats/token] of the runs, NaN where they did not finish; (run,)."""
    return np.where(cell.outcomes.finished, cell.outcomes.log_loss, np.nan)
