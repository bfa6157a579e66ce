"""Curvature early in a run, as a property of its cell: one run of a cell is measured, all of them have it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.runs.schema import CELL

EARLY = ("lambda_preconditioned", "noise_scale")
"""Columns of ``schema.COLUMNS`` that hold curvature early in warm-up."""

LATEST = 0.1
"""Share of a run up to which a measurement is early: sharpness adapts to the learning rate later."""


def early(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column of ``EARLY`` in each run: its own, or ``NAME_at_SHARE`` of the lab at the least share above 0.

    Values that are not above 0 are missing: the noise scale's, where the signal was lost in the noise.

    >>> row = {"noise_scale_at_0": 9.0, "noise_scale_at_0.08": 5.0, "noise_scale_at_1": 7.0}
    >>> early(pd.DataFrame([row]), "noise_scale").tolist()
    [5.0]
    """
    found = pd.Series(np.nan, runs.index)
    for column in early_columns(runs, name):
        found = found.fillna(runs[column].astype(float).where(lambda values: values > 0))
    return found


def early_columns(runs: pd.DataFrame, name: str) -> list[str]:
    """Where ``early`` looks, in its order."""
    at = re.compile(re.escape(name) + r"_at_([0-9.]+)")
    shares = {str(c): float(m[1]) for c in runs.columns if (m := at.fullmatch(str(c)))}
    own = [name] if name in runs else []
    return own + sorted((c for c, share in shares.items() if 0 < share <= LATEST), key=lambda c: shares[c])


def of_cells(runs: pd.DataFrame, name: str) -> Floats:
    """The same in each run of a cell: that of the run of the lowest rate that has one, else NaN; (run,)."""
    known = runs[[*CELL, "learning_rate"]].assign(value=early(runs, name)) if len(runs) else runs
    lowest = known.dropna(subset="value").sort_values("learning_rate", kind="stable").groupby(list(CELL))
    values = known.merge(lowest["value"].first().rename("cell"), "left", left_on=list(CELL), right_index=True)
    return values["cell"].to_numpy(float)


def check_measured(runs: pd.DataFrame, name: str) -> None:
    """Refuse a table in which some cells of a study and optimizer have a column of ``EARLY``, others not.

    A group without any is no fault: its level takes the place of what is unknown.

    Raises:
        BadInput: naming the first such cell.
    """
    cells = runs[list(CELL)].assign(known=np.isfinite(of_cells(runs, name))).drop_duplicates()
    partly = cells.groupby(["study", "optimizer"])["known"].transform("any") & ~cells["known"]
    if partly.any():
        first = cells[partly].iloc[0]
        raise BadInput(
            f"run table: no {name} in {int(partly.sum())} of {len(cells)} cells, such as "
            f"{first['optimizer']} of {first['study']} at N = {first['params_nonembedding']:g}, "
            f"D = {first['tokens']:g}; expected one run of each cell with it, since others of that study "
            f"and optimizer have it; measure it there ({name}_at_SHARE of the lab), or leave those cells out"
        )
