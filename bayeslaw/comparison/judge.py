"""Measured optima of held-out cells, with the error of the smoother that finds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.law.places import measured_at
from bayeslaw.runs.cells import finished_runs, group_cells
from bayeslaw.target import Cell, Target

RESAMPLES = 30
JUMPS = 0.2
"""Standard deviation of a smoothed ln optimum above which the cell judges nothing: its minimum jumps."""


@dataclass(frozen=True)
class Judged:
    """A cell and what its runs say about its optimum.

    Attributes:
        cell: the smoothed cell.
        optimum: ln loss, ln eta*, ln B* at its minimum, (3,).
        error: their standard deviations, by resampling, (3,).
        measured: covariates measured on the cell's runs, natural values by name.
    """

    cell: SmoothedCell
    optimum: Floats
    error: Floats
    measured: dict[str, float]

    @property
    def target(self) -> Target:
        """A run in the cell, of a batch that is free."""
        return Target.of_cell(self.cell.key, measured=self.measured)


def judged_cells(runs: pd.DataFrame, seed: int = 0) -> list[Judged]:
    """Cells whose runs surround a minimum in learning rate and batch that does not jump when they change."""
    found = [_judged(key, rows, seed) for key, rows in group_cells(runs)]
    return [each for each in found if each is not None]


def _judged(key: Cell, rows: pd.DataFrame, seed: int) -> Judged | None:
    measured, rows = measured_at(rows), finished_runs(rows)
    cell = smooth_cell(key, rows)
    if not cell.scorable or cell.axis != "both":
        return None
    rng = np.random.default_rng(seed)
    others = [
        smooth_cell(key, rows.sample(frac=1.0, replace=True, random_state=rng)) for _ in range(RESAMPLES)
    ]
    resampled = np.array(
        [_optimum(each) for each in others if each.axis == "both" and np.isfinite(each.loss)]
    )
    if len(resampled) < RESAMPLES // 2:
        return None
    error = resampled.std(axis=0)
    return None if max(error[1:]) > JUMPS else Judged(cell, _optimum(cell), error, measured)


def _optimum(cell: SmoothedCell) -> Floats:
    return np.log([cell.loss, cell.learning_rate, cell.batch_tokens])
