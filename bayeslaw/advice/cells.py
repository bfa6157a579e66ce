"""Runs of a table by cell, as a posterior divides them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.target_surface import usual_settings
from bayeslaw.arrays import Floats, Ints
from bayeslaw.law.observations import departs, off_usual
from bayeslaw.law.places import cell_labels, cell_of, group_by_cell
from bayeslaw.law.terms import COVARIATES, own_bowls
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import borrowed
from bayeslaw.runs.curvature import of_cells
from bayeslaw.target import Cell

if TYPE_CHECKING:
    import pandas as pd


def cells_of(runs: pd.DataFrame, posterior: Posterior) -> Iterator[tuple[Ints, Cell]]:
    """Positions of the runs of each cell, and the cell with what a posterior knows of it.

    An optional covariate that the table does not tell has the usual value of the runs' study, and one
    measured on each network, where it was not, that of the pivot.
    """
    for name in posterior.pivot:
        covariate = COVARIATES[name]
        if covariate.measured and name not in runs:
            measured = of_cells(runs, covariate.columns[0])
            runs = runs.assign(**{name: np.where(np.isnan(measured), posterior.pivot[name], measured)})
        elif covariate.optional and not {name, *covariate.columns} & set(runs.columns):
            usual = {study: usual_settings(posterior, study, {})[name][0] for study in runs["study"].unique()}
            runs = runs.assign(**{name: runs["study"].map(usual)})
    labels = cell_labels(runs, posterior.pivot, posterior.factor_values)
    for where, row in group_by_cell(labels):
        yield where, cell_of(row)


def off_settings(runs: pd.DataFrame, posterior: Posterior) -> Floats:
    """1 where a hyperparameter outside the model of a run's group departs from its cell's usual value,
    (run,).

    As in the fit: hyperparameters that a group never varied are outside its model.
    """
    finished = (runs["status"] == "finished").to_numpy(bool)
    cell = np.empty(len(runs), np.int64)
    outside = {name: np.zeros(len(runs), bool) for name in own_bowls() if name in runs}
    for number, (where, key) in enumerate(cells_of(runs, posterior)):
        cell[where] = number
        for name in outside:
            curvature = str(own_bowls()[name].curvature)
            unknown = curvature not in posterior.group
            outside[name][where] = unknown or borrowed(posterior, *key.group, curvature)
    off = off_usual(runs, cell, finished, [*posterior.pivot, *posterior.factor_values])
    for name, mask in outside.items():
        off = np.maximum(off, departs(runs[name], cell, finished) & mask)
    return off
