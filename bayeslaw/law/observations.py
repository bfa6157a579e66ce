"""Convert a run table to the arrays of the likelihood, with the cell, group and study of each run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslaw.arrays import Floats, Ints
from bayeslaw.errors import BadInput
from bayeslaw.law.surface import DECAY_FLOOR
from bayeslaw.runs.schema import CELL

UNMODELLED = ("beta2", "epsilon", "grad_clip", "dropout", "schedule")
"""Columns outside the surface, like ``extra_*``; departing from their usual value makes a run off-usual."""


VALUES_TO_BEND = 3
"""Number of values of weight decay or momentum that an optimum needs: two values show only a slope."""


@dataclass(frozen=True)
class Sweep:
    """Runs as arrays; index arrays count into the label tuples.

    Attributes:
        log_lr, log_batch: ln peak learning rate, ln batch [tokens], shape (run,).
        log_loss: ln loss [nats/token], 0 where the run did not finish, shape (run,).
        above_best: ln loss above the cell's smallest, 0 where the run did not finish, shape (run,).
        log_decay: ln(weight decay + DECAY_FLOOR), NaN where unknown or hardly varied, shape (run,).
        log_momentum_gap: ln(1 - momentum), NaN where unknown or hardly varied, shape (run,).
        finished, diverged, crashed: masks, shape (run,).
        off: 1 where a hyperparameter outside the group's model departs from the cell's usual value, (run,).
        cell: shape (run,).
        cell_group, cell_size, cell_log_n, cell_log_d: shape (cell,); logs about the pivot.
        group_study, group_optimizer: shape (group,).
        size_study: shape (size,); a size is one N of one study.
        decay_groups, momentum_groups: groups whose finished runs compare ``VALUES_TO_BEND`` values of weight
            decay, of momentum within cells; shape (k,).
        cliff_studies: mask of studies that report diverged runs, shape (study,).
        pivot: (N0, D0).
    """

    log_lr: Floats
    log_batch: Floats
    log_loss: Floats
    above_best: Floats
    log_decay: Floats
    log_momentum_gap: Floats
    finished: NDArray[np.bool_]
    diverged: NDArray[np.bool_]
    crashed: NDArray[np.bool_]
    off: Floats
    cell: Ints
    cell_group: Ints
    cell_log_n: Floats
    cell_log_d: Floats
    cell_size: Ints
    size_study: Ints
    group_study: Ints
    group_optimizer: Ints
    decay_groups: Ints
    momentum_groups: Ints
    cliff_studies: NDArray[np.bool_]
    studies: tuple[str, ...]
    optimizers: tuple[str, ...]
    pivot: tuple[float, float]


def prepare(runs: pd.DataFrame, pivot: tuple[float, float] | None = None) -> Sweep:
    """Convert a valid run table to arrays; runs that were stopped early are left out.

    Args:
        runs: a run table (see ``bayeslaw.runs.schema``).
        pivot: (N0, D0); by default the geometric means over cells, to two digits.

    Raises:
        BadInput: no run finished.
    """
    runs = runs[runs["status"] != "stopped"].reset_index(drop=True)
    finished = (runs["status"] == "finished").to_numpy()
    if not finished.any():
        raise BadInput(
            f"run table: {len(runs)} runs, 0 with status = finished; expected at least one finished run "
            "with a loss; without any loss there is no surface to fit: lower the learning rates and run again"
        )
    cells = runs.drop_duplicates(list(CELL))[list(CELL)].sort_values(list(CELL)).reset_index(drop=True)
    cell = _index(runs, cells, list(CELL))
    groups = cells.drop_duplicates(["study", "optimizer"])[["study", "optimizer"]].reset_index(drop=True)
    sizes = cells.drop_duplicates(["study", "params_nonembedding"])[["study", "params_nonembedding"]]
    sizes = sizes.reset_index(drop=True)
    studies, optimizers = tuple(sorted(set(cells["study"]))), tuple(sorted(set(cells["optimizer"])))
    n, d = cells["params_nonembedding"].to_numpy(float), cells["tokens"].to_numpy(float)
    pivot = pivot or (_two_digits(np.exp(np.log(n).mean())), _two_digits(np.exp(np.log(d).mean())))
    cell_group = _index(cells, groups, ["study", "optimizer"])
    run_group = cell_group[cell]
    decay, decay_groups = _varied(
        np.log(_column(runs, "weight_decay") + DECAY_FLOOR), cell, run_group, finished
    )
    gap, momentum_groups = _varied(np.log1p(-_column(runs, "momentum")), cell, run_group, finished)
    off = off_usual(runs, cell, finished)
    for name, fitted in (("weight_decay", decay_groups), ("momentum", momentum_groups)):
        if name in runs:
            off = np.maximum(off, _departs(runs[name], cell, finished) & ~np.isin(run_group, fitted))
    diverged = (runs["status"] == "diverged").to_numpy()
    group_study = np.array([studies.index(s) for s in groups["study"]])
    cliff = np.zeros(len(studies), bool)
    cliff[group_study[run_group[diverged]]] = True
    log_loss = np.log(np.where(finished, runs["loss"].to_numpy(float), 1.0))
    return Sweep(
        log_lr=np.log(runs["learning_rate"].to_numpy(float)),
        log_batch=np.log(runs["batch_tokens"].to_numpy(float)),
        log_loss=log_loss,
        above_best=_above_best(log_loss, cell, finished),
        log_decay=decay,
        log_momentum_gap=gap,
        finished=finished,
        diverged=diverged,
        crashed=(runs["status"] == "crashed").to_numpy(),
        off=off,
        cell=cell,
        cell_group=cell_group,
        cell_log_n=np.log(n / pivot[0]),
        cell_log_d=np.log(d / pivot[1]),
        cell_size=_index(cells, sizes, ["study", "params_nonembedding"]),
        size_study=np.array([studies.index(s) for s in sizes["study"]]),
        group_study=group_study,
        group_optimizer=np.array([optimizers.index(o) for o in groups["optimizer"]]),
        decay_groups=decay_groups,
        momentum_groups=momentum_groups,
        cliff_studies=cliff,
        studies=studies,
        optimizers=optimizers,
        pivot=pivot,
    )


def off_usual(runs: pd.DataFrame, cell: Ints, finished: NDArray[np.bool_]) -> Floats:
    """Mark runs with 1 where a hyperparameter outside the model departs from its cell's most common value.

    Warm-up and final learning rate depart only if they differ both in absolute and in relative terms, since
    studies fix either. A run that ends within its warm-up always departs, because it never reached its
    nominal peak learning rate.
    """
    off = np.zeros(len(runs), bool)
    for name in (c for c in runs.columns if c in UNMODELLED or str(c).startswith("extra_")):
        off |= _departs(runs[name], cell, finished)
    for ratio, times in (
        ("warmup_tokens", 1.0 / runs["batch_tokens"]),
        ("final_lr_ratio", runs["learning_rate"]),
    ):
        if ratio in runs:
            other = (runs[ratio].astype(float) * times).round(9)
            off |= _departs(runs[ratio], cell, finished) & _departs(other, cell, finished)
    if "warmup_tokens" in runs:
        off |= (runs["warmup_tokens"].astype(float) >= runs["tokens"]).to_numpy()
    return off.astype(float)


def _above_best(log_loss: Floats, cell: Ints, finished: NDArray[np.bool_]) -> Floats:
    best = np.full(cell.max() + 1, np.inf)
    np.minimum.at(best, cell[finished], log_loss[finished])
    return np.where(finished, log_loss - np.where(finished, best[cell], 0.0), 0.0)


def _departs(values: pd.Series, cell: Ints, finished: NDArray[np.bool_]) -> NDArray[np.bool_]:
    codes, _ = pd.factorize(values.astype("string").fillna("missing"))
    if codes.max(initial=0) == 0:
        return np.zeros(len(values), bool)
    known = pd.Series(codes[finished]).groupby(cell[finished]).agg(lambda c: c.mode().iloc[0])
    usual = known.reindex(cell).to_numpy(float)
    return ~np.isnan(usual) & (codes != usual)


def _varied(values: Floats, cell: Ints, group: Ints, finished: NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """Keep ``values`` in the groups whose finished runs compare ``VALUES_TO_BEND`` of them within cells."""
    known = np.isfinite(values)
    compared = known & finished
    rounded = pd.Series(np.round(values[compared], 6))
    varies = (rounded.groupby(cell[compared]).transform("nunique") > 1).to_numpy()
    tried = rounded[varies].groupby(group[compared][varies]).nunique()
    groups = tried.index[tried >= VALUES_TO_BEND].to_numpy(np.int64)
    return np.where(np.isin(group, groups) & known, values, np.nan), groups


def _column(runs: pd.DataFrame, name: str) -> Floats:
    return runs[name].to_numpy(float) if name in runs else np.full(len(runs), np.nan)


def _index(rows: pd.DataFrame, keys: pd.DataFrame, on: list[str]) -> Ints:
    return rows[on].merge(keys.reset_index(names="_i"), on=on, how="left")["_i"].to_numpy(np.int64)


def _two_digits(x: float) -> float:
    return float(f"{x:.1e}")
