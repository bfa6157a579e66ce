"""Cells of a run table: the runs of one (study, optimizer, N, D), and which of them can be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayeslaw.arrays import Ints
from bayeslaw.errors import BadInput
from bayeslaw.runs.schema import CELL
from bayeslaw.target import Cell

HELD_FIXED = (
    "weight_decay",
    "momentum",
    "beta2",
    "epsilon",
    "grad_clip",
    "dropout",
    "schedule",
    "final_lr_ratio",
    "decay_share",
    "warmup_tokens",
    "sequence_length",
    "parametrization",
    "normalization",
    "tokenizer",
)
"""Settings that must be equal for two runs of a cell to differ only in learning rate and batch."""


def group_cells(runs: pd.DataFrame) -> list[tuple[Cell, pd.DataFrame]]:
    """The runs of each cell, by (study, optimizer, N, D); raises BadInput for a missing column."""
    missing = [c for c in CELL if c not in runs.columns]
    if missing:
        raise BadInput(f"run table: no column {missing[0]}; a cell is {', '.join(CELL)}; import it first")
    grouped = runs.groupby(list(CELL), sort=True, dropna=False)
    return [(Cell(str(k[0]), str(k[1]), float(k[2]), float(k[3])), rows) for k, rows in grouped]


def cell_of(runs: pd.DataFrame) -> Ints:
    """Cell number of each run, 0, 1, ... in the order of ``group_cells``, shape (run,)."""
    return runs.groupby(list(CELL), sort=True, dropna=False).ngroup().to_numpy(np.int64)


def finished_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows with status finished and a usable loss, learning rate and batch."""
    numbers = runs[["learning_rate", "batch_tokens", "loss"]].to_numpy(float, na_value=np.nan)
    usable = np.all(np.isfinite(numbers) & (numbers > 0), axis=1)
    return runs[usable & (runs["status"] == "finished").to_numpy()]


def comparable_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest group of one cell's rows that agree in every setting except learning rate and batch.

    Sweeps that vary one setting at a time keep their baseline's rows. A setting that never differs between
    runs of equal learning rate and batch is part of the recipe (a final learning rate of 1e-5, a warm-up of
    2,000 steps), not a difference; a missing setting equals a missing one.
    """
    same_place = rows.groupby(["learning_rate", "batch_tokens"], dropna=False)
    present = [c for c in rows.columns if c in HELD_FIXED or str(c).startswith("extra_")]
    varied = [c for c in present if same_place[c].nunique(dropna=False).gt(1).any()]
    if not varied:
        return rows
    group = (
        rows[varied].astype(object).where(rows[varied].notna(), "missing").astype(str).agg("|".join, axis=1)
    )
    return rows[(group == group.value_counts().sort_index().idxmax()).to_numpy()]
