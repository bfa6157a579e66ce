"""Where runs lie: cells by (study, optimizer, N, D) and by every further covariate and factor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.arrays import Ints
from bayeslaw.law.parameters import belongs
from bayeslaw.law.terms import COVARIATES, FACTORS, natural_value
from bayeslaw.runs.curvature import of_cells
from bayeslaw.runs.schema import CELL
from bayeslaw.target import Cell

if TYPE_CHECKING:
    import pandas as pd

ROUNDED = 6
"""Significant digits to which covariates of runs in one cell must agree."""


def known_covariates(runs: pd.DataFrame, parts: Collection[str] = ()) -> list[str]:
    """Covariates that a table tells about: those of every table, and optional ones that are not at their
    reference throughout.

    Args:
        runs: a run table.
        parts: optional parts of the law, whose covariates count too.
    """
    return [
        name
        for name, row in COVARIATES.items()
        if not row.optional
        or (belongs(row.part, parts) and (natural_column(runs, name) != row.reference).any())
    ]


def known_factors(runs: pd.DataFrame, parts: Collection[str] = ()) -> list[str]:
    """Factors whose column takes two values in a table; arguments as of ``known_covariates``.

    One kind of schedule is enough where a part needs its scalars (``law.scalars``).
    """
    alone = "schedule" if belongs("schedule schedule_free", parts) else ""
    return [
        name
        for name, row in FACTORS.items()
        if belongs(row.part, parts)
        and row.column in runs
        and runs[row.column].nunique() > (row.column != alone)
    ]


def natural_column(runs: pd.DataFrame, name: str) -> Any:
    """Natural values of a covariate, (run,), to ``ROUNDED`` digits."""
    columns = {column: runs[column].to_numpy(float) for column in _columns(name) if column in runs}
    if COVARIATES[name].measured and name not in runs:
        columns = {column: of_cells(runs, column) for column in COVARIATES[name].columns}
    values = np.broadcast_to(np.asarray(natural_value(name, columns), float), len(runs))
    with np.errstate(divide="ignore", invalid="ignore"):
        step = 10.0 ** (ROUNDED - 1 - np.floor(np.log10(np.abs(values))))
        return np.where(np.isfinite(step), np.round(values * step) / step, values)


def measured_at(runs: pd.DataFrame) -> dict[str, float]:
    """Covariates measured on the runs of one cell: name -> natural value; those that they tell."""
    measured = [name for name, row in COVARIATES.items() if row.measured]
    values = {name: float(of_cells(runs, COVARIATES[name].columns[0])[0]) for name in measured}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _columns(name: str) -> tuple[str, ...]:
    return (name, *COVARIATES[name].columns)


def cell_labels(runs: pd.DataFrame, covariates: Iterable[str], factors: Iterable[str]) -> pd.DataFrame:
    """The columns by which runs are divided into cells: ``CELL``, optional covariates, columns of factors.

    Args:
        runs: a run table, or candidates.
        covariates: names; those of every table are in ``CELL`` already.
        factors: names.

    Returns:
        One row per run. Values of a factor are strings, empty where unknown.
    """
    labels = runs[list(CELL)].reset_index(drop=True)
    further = {name: natural_column(runs, name) for name in covariates if COVARIATES[name].optional}
    for name in factors:
        column = FACTORS[name].column
        known = column in runs
        further[column] = (
            runs[column].astype("string").fillna("").to_numpy(str) if known else np.full(len(runs), "")
        )
    return labels.assign(**further)


def centre(cells: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Covariate -> its mean over cells, taken in its coordinate, as a natural value to two digits.

    Args:
        cells: columns, (cell,) each, such as distinct rows of ``cell_labels``.
        names: of the covariates.

    >>> centre({"params_nonembedding": np.array([1e6, 1e8]), "tokens": np.array([3e9])}, ["n", "d"])
    {'n': 10000000.0, 'd': 3000000000.0}
    """
    found = {}
    for name in names:
        transform = COVARIATES[name].transform
        mean = np.mean(transform.to(np.asarray(natural_value(name, cells), float)))
        found[name] = float(f"{float(transform.back(mean)):.1e}")
    return found


def pivot_of(runs: pd.DataFrame, parts: Collection[str] = ()) -> dict[str, float]:
    """Centre of the cells of runs or candidates, as a fit to them would have it; arguments as of
    ``known_covariates``."""
    names = known_covariates(runs, parts)
    return centre(cell_labels(runs, names, ()).drop_duplicates(), names)


def group_by_cell(labels: pd.DataFrame) -> Iterator[tuple[Ints, Mapping[str, Any]]]:
    """Positions of the runs of each cell, and what they share by column; cells in sorted order."""
    number = labels.groupby(list(labels.columns), sort=True, dropna=False).ngroup()
    for where in labels.groupby(number).indices.values():
        yield where, labels.iloc[where[0]].to_dict()


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell of a row of ``cell_labels``; an unknown value of a factor is left out."""
    others = tuple((name, value) for name, value in row.items() if name not in CELL and value != "")
    n, d = float(row["params_nonembedding"]), float(row["tokens"])
    return Cell(str(row["study"]), str(row["optimizer"]), n, d, others)
