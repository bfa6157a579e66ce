"""The fitted runs in posterior draws: mean, scatter and likelihood of each, as the fit had them.

``reweight.log_likelihood`` is for runs never fitted. Here the shifts of cells are the fitted ones, runs off
their cell's usual settings scatter by themselves, and outcomes count where the study reports divergences, as
in ``model.surface_model``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayeslaw.advice.target_surface import TargetSurface, absorbed_by, fitted_cell, run_draws, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import CRASH_IS_MACHINE, MIXED_STATUS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CellRuns:
    """The runs of one fitted cell.

    Attributes:
        index: of the cell in ``Posterior.cells``.
        rows: its runs, stopped ones left out.
        basin: its surface, the cell's shifts included.
        absorbed: hyperparameters whose effect its group has in its level.
        off: 1 where a hyperparameter outside the model departs from the cell's usual value, (run,).
        outcomes: whether its study reports diverged runs, so that outcomes count.
    """

    index: int
    rows: pd.DataFrame
    basin: TargetSurface
    absorbed: list[str]
    off: Floats
    outcomes: bool


class Moments(NamedTuple):
    """Mean, scale and degrees of freedom of ln loss, and the chance to diverge; (draw, run) each."""

    mean: Floats
    scale: Floats
    dof: Floats
    fall: Floats


def fitted_runs(posterior: Posterior, runs: pd.DataFrame) -> tuple[list[CellRuns], int]:
    """The runs of each fitted cell, and how many runs lie in cells that were not fitted.

    Args:
        posterior: the fit.
        runs: the run table that it was fitted to.

    Raises:
        BadInput: none of the cells was fitted.
    """
    from bayeslaw.law.observations import prepare
    from bayeslaw.runs.schema import CELL

    used = runs[runs["status"] != "stopped"].reset_index(drop=True)
    sweep = prepare(used, posterior.pivot)
    known: list[CellRuns] = []
    for (study, optimizer, n, d), rows in used.groupby(list(CELL), sort=True):
        target = Target(float(n), float(d), str(optimizer), str(study))
        index = fitted_cell(posterior, target)
        if index is not None:
            basin = surface_at(posterior, target)
            absorbed = absorbed_by(posterior, target, basin.extras)
            outcomes = bool(sweep.cliff_studies[sweep.studies.index(target.study)])
            known.append(CellRuns(index, rows, basin, absorbed, sweep.off[rows.index], outcomes))
    if not known:
        raise _not_fitted(used.groupby(list(CELL)).ngroups)
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


def moments(cell: CellRuns, basin: TargetSurface) -> Moments:
    """What a cell's runs are expected to do.

    Args:
        cell: the runs.
        basin: their surface: ``cell.basin``, or the same moved.
    """
    run = run_draws(basin, cell.rows, cell.absorbed, cell.off)
    fall = MIXED_STATUS + (1.0 - 2.0 * MIXED_STATUS) * run.diverges
    return Moments(run.log_loss, run.scale, run.dof, fall)


def log_density(cell: CellRuns, told: Moments) -> Floats:
    """ln likelihood of each run in each draw, (draw, run): Student-t of ln loss, and the outcome."""
    from scipy.stats import t

    finished = has_status(cell, "finished")
    total = np.zeros(told.mean.shape)
    total[:, finished] = t.logpdf(
        log_loss(cell)[finished], told.dof[:, finished], told.mean[:, finished], told.scale[:, finished]
    )
    if cell.outcomes:
        total += np.where(finished, np.log1p(-told.fall), 0.0)
        total += np.where(has_status(cell, "diverged"), np.log(told.fall), 0.0)
        total += np.where(
            has_status(cell, "crashed"), np.log(CRASH_IS_MACHINE + (1.0 - CRASH_IS_MACHINE) * told.fall), 0.0
        )
    return total


def log_loss(cell: CellRuns) -> Floats:
    """ln loss [nats/token] of the runs, NaN where they did not finish; (run,)."""
    return np.log(np.where(has_status(cell, "finished"), cell.rows["loss"].to_numpy(float), np.nan))


def has_status(cell: CellRuns, status: str) -> NDArray[np.bool_]:
    """Which of the runs ended so, (run,)."""
    return (cell.rows["status"] == status).to_numpy(bool)


def labels(cell: CellRuns) -> dict[str, Any]:
    """Study, optimizer, N and D of the cell, for a table or JSON."""
    target = cell.basin.target
    names = ("study", "optimizer", "params_nonembedding", "tokens")
    return {name: getattr(target, name) for name in names}
