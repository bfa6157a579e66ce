"""Convert a run table to the arrays of the likelihood, with the cell, group and study of each run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslaw.arrays import Bools, Floats, Ints
from bayeslaw.errors import BadInput
from bayeslaw.law.likelihood import Outcomes
from bayeslaw.law.places import cell_labels, cell_of, centre, known_covariates, known_factors
from bayeslaw.law.population import Population
from bayeslaw.law.terms import COVARIATES, FACTORS, coordinates, own_bowls, to_coordinate
from bayeslaw.runs.curvature import check_measured
from bayeslaw.runs.schema import CELL
from bayeslaw.target import Cell

CONFIGURATION = ("beta2", "epsilon", "grad_clip", "dropout", "schedule", "decay_share", "normalization")
"""Columns whose departure from the cell's usual value the surface cannot explain, unless the law has them
as a hyperparameter, covariate or factor; ``extra_*`` join them."""

LEVEL = ("n", "d")
"""Covariates of the level (``surface.log_level``)."""

VALUES_TO_BEND = 3
"""Values of a hyperparameter from which a group's optimum is fitted: two tell a slope, no optimum."""


@dataclass(frozen=True)
class Observations:
    """Runs as arrays; index arrays count into the label tuples.

    Attributes:
        log_lr, log_batch: ln peak learning rate, ln batch [tokens], shape (run,).
        log_loss: ln loss [nats/token], 0 where the run did not finish, shape (run,).
        above_best: ln loss above the least of the cell, 0 where the run did not finish, shape (run,).
        settings: hyperparameter with a bowl of its own -> coordinate, NaN where unknown or hardly varied,
        (run,). finished, diverged, crashed: masks, shape (run,). off: 1 where a hyperparameter outside the
        group's model departs from the cell's usual value, (run,). cell: shape (run,). cell_group,
        cell_size: shape (cell,). x: covariate -> coordinate about the pivot, shape (cell,). cell_factor:
        factor -> index into ``factor_values``, -1 where unknown, shape (cell,). group_study,
        group_optimizer: shape (group,). size_study: shape (size,); a size is one N of one study.
        groups_with: hyperparameter -> groups whose finished runs compare ``VALUES_TO_BEND`` values of it
        within
            cells; shape (k,).
        only_batch: ln batch [tokens] of most runs of a group, where no cell of it compares batches: its level
            is stated there, since nobody measured it at the best batch; NaN for the others. Shape (group,).
        cliff_studies: mask of studies that report diverged runs, shape (study,).
        cells, groups, sizes, studies, optimizers: labels.
        factor_values: factor -> its values, the most common first.
        pivot: covariate -> natural value where its coordinate is 0.
        centres: ``n`` and ``d`` -> where each study's level is stated, about the pivot: the mean over its
            cells. Studies of other sizes would have theirs stated where none of their runs are. Shape
            (study,).
        parts: of the law, beyond its core, that are fitted (``parameters.PARTS``).
        population: what other studies say, at this pivot and for these optimizers.
    """

    log_lr: Floats
    log_batch: Floats
    log_loss: Floats
    above_best: Floats
    settings: dict[str, Floats]
    finished: Bools
    diverged: Bools
    crashed: Bools
    off: Floats
    cell: Ints
    cell_group: Ints
    cell_size: Ints
    x: dict[str, Floats]
    cell_factor: dict[str, Ints]
    size_study: Ints
    group_study: Ints
    group_optimizer: Ints
    groups_with: dict[str, Ints]
    only_batch: Floats
    cliff_studies: Bools
    cells: tuple[Cell, ...]
    groups: tuple[tuple[str, str], ...]
    sizes: tuple[tuple[str, float], ...]
    studies: tuple[str, ...]
    optimizers: tuple[str, ...]
    factor_values: dict[str, tuple[str, ...]]
    pivot: dict[str, float]
    centres: dict[str, Floats]
    parts: tuple[str, ...] = ()
    population: Population | None = None

    @property
    def compares_batches(self) -> Bools:
        """Whether some cell of a cell's group compares batches, shape (cell,)."""
        return np.isnan(self.only_batch)[self.cell_group]

    @property
    def outcomes(self) -> Outcomes:
        """What the runs did, as the likelihood takes it."""
        count = self.cliff_studies[self.group_study[self.cell_group[self.cell]]]
        return Outcomes(self.log_loss, self.finished, self.diverged, self.crashed, count)


def prepare(
    runs: pd.DataFrame,
    pivot: Mapping[str, float] | None = None,
    factors: Sequence[str] | None = None,
    parts: Sequence[str] = (),
) -> Observations:
    """The arrays of a valid run table; runs that were stopped early are left out.

    Args:
        runs: a run table (see ``bayeslaw.runs.schema``).
        pivot: covariate -> natural value, where every study's level is stated too; by default the geometric
            means over cells, to two digits, of the covariates that the table tells about.
        factors: names; by default those that the table tells about.
        parts: of the law, beyond its core, to fit (``parameters.PARTS``).

    Raises:
        BadInput: no run finished, or curvature measured in some cells of a study and optimizer only.
    """
    runs = runs[runs["status"] != "stopped"].reset_index(drop=True)
    finished = (runs["status"] == "finished").to_numpy()
    if not finished.any():
        raise BadInput(
            f"run table: {len(runs)} runs, 0 with status = finished; expected at least one finished run "
            "with a loss; without any loss there is no surface to fit: lower the learning rates and run again"
        )
    given = pivot is not None
    names = list(pivot) if pivot else known_covariates(runs, parts)
    factors = known_factors(runs, parts) if factors is None else factors
    for name in names:
        if COVARIATES[name].measured and name not in runs:
            check_measured(runs, *COVARIATES[name].columns)
    labels = cell_labels(runs, names, factors)
    cells = labels.drop_duplicates().sort_values(list(labels.columns)).reset_index(drop=True)
    cell = _index(labels, cells)
    groups = cells[["study", "optimizer"]].drop_duplicates().reset_index(drop=True)
    sizes = cells[["study", "params_nonembedding"]].drop_duplicates().reset_index(drop=True)
    studies, optimizers = tuple(sorted(set(cells["study"]))), tuple(sorted(set(cells["optimizer"])))
    columns = {name: cells[name].to_numpy() for name in cells.columns[2:]}
    pivot = dict(pivot) if pivot else centre(cells, names)
    cell_group = _index(cells[["study", "optimizer"]], groups)
    run_group = cell_group[cell]
    off = off_usual(runs, cell, finished, [*names, *factors])
    settings, groups_with = {}, {}
    for name in own_bowls():
        values = to_coordinate(name, _column(runs, name))
        settings[name], fitted = _varied(values, cell, run_group, finished)
        groups_with[name] = fitted
        if name in runs:
            off = np.maximum(off, departs(runs[name], cell, finished) & ~np.isin(run_group, fitted))
    outcomes = outcomes_of(runs, np.ones(len(runs), bool))
    group_study = np.array([studies.index(s) for s in groups["study"]])
    cliff = np.zeros(len(studies), bool)
    cliff[group_study[run_group[outcomes.diverged]]] = True
    x = coordinates(columns, pivot)
    values_of = {name: _by_count(cells[FACTORS[name].column]) for name in factors}
    return Observations(
        log_lr=np.log(runs["learning_rate"].to_numpy(float)),
        log_batch=np.log(runs["batch_tokens"].to_numpy(float)),
        log_loss=outcomes.log_loss,
        above_best=_above_best(outcomes.log_loss, cell, finished),
        settings=settings,
        finished=finished,
        diverged=outcomes.diverged,
        crashed=outcomes.crashed,
        off=off,
        cell=cell,
        cell_group=cell_group,
        cell_size=_index(cells[["study", "params_nonembedding"]], sizes),
        x=x,
        cell_factor={k: _positions(cells[FACTORS[k].column], values) for k, values in values_of.items()},
        size_study=np.array([studies.index(s) for s in sizes["study"]]),
        group_study=group_study,
        group_optimizer=np.array([optimizers.index(o) for o in groups["optimizer"]]),
        groups_with=groups_with,
        only_batch=_only_batch(np.log(runs["batch_tokens"].to_numpy(float)), cell, run_group, finished),
        cliff_studies=cliff,
        cells=tuple(cell_of(row) for row in cells.to_dict("records")),
        groups=tuple(groups.itertuples(index=False, name=None)),
        sizes=tuple((str(s), float(n)) for s, n in sizes.itertuples(index=False)),
        studies=studies,
        optimizers=optimizers,
        factor_values=values_of,
        pivot=pivot,
        centres={k: _means(x[k], group_study[cell_group]) * (not given and len(studies) > 1) for k in LEVEL},
        parts=tuple(parts),
    )


def _means(values: Floats, of: Ints) -> Floats:
    """Mean of the values with each index, (index,)."""
    return np.bincount(of, values) / np.bincount(of)


def _by_count(values: pd.Series) -> tuple[str, ...]:
    counts = values[values != ""].value_counts()
    return tuple(sorted(map(str, counts.index), key=lambda value: (-counts[value], value)))


def _positions(values: pd.Series, known: tuple[str, ...]) -> Ints:
    return np.array([known.index(value) if value in known else -1 for value in values])


def unmodelled(columns: Sequence[str], by: Collection[str]) -> list[str]:
    """Those of ``CONFIGURATION`` and ``extra_*`` that a fit with the covariates and factors ``by`` lacks."""
    known = {*own_bowls(), *(row.column for name, row in FACTORS.items() if name in by)}
    known |= {column for name, row in COVARIATES.items() if name in by for column in row.columns}
    names = [str(c) for c in columns if c in CONFIGURATION or str(c).startswith("extra_")]
    return [name for name in names if name not in known]


def outcomes_of(runs: pd.DataFrame, count: Bools) -> Outcomes:
    """What runs did, (run,) each; ``count`` marks those whose study reports divergences."""
    finished, diverged, crashed = (
        (runs["status"] == status).to_numpy(bool) for status in ("finished", "diverged", "crashed")
    )
    log_loss = np.log(np.where(finished, runs["loss"].to_numpy(float), 1.0))
    return Outcomes(log_loss, finished, diverged, crashed, count)


def off_usual(runs: pd.DataFrame, cell: Ints, finished: Bools, by: Collection[str]) -> Floats:
    """1 where a hyperparameter outside the model departs from its cell's most common value, else 0.

    Warm-up and final learning rate depart only if they differ both in absolute and in relative terms, since
    studies fix either. A run that ends within its warm-up always departs, because it never reached its
    nominal peak learning rate. ``by``: names of the covariates and factors that the fit knows.
    """
    off = np.zeros(len(runs), bool)
    for name in unmodelled(runs.columns, by):
        off |= departs(runs[name], cell, finished)
    for ratio, times in (
        ("warmup_tokens", 1.0 / runs["batch_tokens"]),
        ("final_lr_ratio", runs["learning_rate"]),
    ):
        if ratio in runs:
            other = (runs[ratio].astype(float) * times).round(9)
            off |= departs(runs[ratio], cell, finished) & departs(other, cell, finished)
    if "warmup_tokens" in runs:
        off |= (runs["warmup_tokens"].astype(float) >= runs["tokens"]).to_numpy()
    return off.astype(float)


def _above_best(log_loss: Floats, cell: Ints, finished: Bools) -> Floats:
    best = np.full(cell.max() + 1, np.inf)
    np.minimum.at(best, cell[finished], log_loss[finished])
    return np.where(finished, log_loss - np.where(finished, best[cell], 0.0), 0.0)


def departs(values: pd.Series, cell: Ints, finished: Bools) -> Bools:
    """Whether each value departs from the most common one among its cell's finished runs, (run,)."""
    codes, _ = pd.factorize(values.astype("string").fillna("missing"))
    if codes.max(initial=0) == 0:
        return np.zeros(len(values), bool)
    known = pd.Series(codes[finished]).groupby(cell[finished]).agg(lambda c: c.mode().iloc[0])
    usual = known.reindex(cell).to_numpy(float)
    return ~np.isnan(usual) & (codes != usual)


def _varied(values: Floats, cell: Ints, group: Ints, finished: Bools) -> tuple[Floats, Ints]:
    """Keep ``values`` in the groups whose finished runs compare ``VALUES_TO_BEND`` of them within cells."""
    known = np.isfinite(values)
    compared = known & finished
    rounded = pd.Series(np.round(values[compared], 6))
    varies = (rounded.groupby(cell[compared]).transform("nunique") > 1).to_numpy()
    tried = rounded[varies].groupby(group[compared][varies]).nunique()
    groups = tried.index[tried >= VALUES_TO_BEND].to_numpy(np.int64)
    return np.where(np.isin(group, groups) & known, values, np.nan), groups


def varied_settings(runs: pd.DataFrame) -> list[str]:
    """Hyperparameters with a bowl of their own that some group varies enough, were all runs finished."""
    labels = cell_labels(runs, (), ())
    cell, group = (labels.groupby(list(keys)).ngroup().to_numpy() for keys in (CELL, CELL[:2]))
    everything = np.ones(len(runs), bool)
    return [
        name
        for name in own_bowls()
        if len(_varied(to_coordinate(name, _column(runs, name)), cell, group, everything)[1])
    ]


def _only_batch(log_batch: Floats, cell: Ints, group: Ints, finished: Bools) -> Floats:
    """The most common value of each group whose finished runs compare none in a cell, else NaN, (group,)."""
    known = pd.DataFrame({"batch": log_batch.round(9), "cell": cell, "group": group})[finished]
    compared = known.groupby("cell")["batch"].transform("nunique") > 1
    usual = known.groupby("group")["batch"].agg(lambda values: values.mode().iloc[0])
    usual[known["group"][compared].unique()] = np.nan
    return usual.reindex(range(group.max() + 1)).to_numpy(float)


def _column(runs: pd.DataFrame, name: str) -> Floats:
    return runs[name].to_numpy(float) if name in runs else np.full(len(runs), np.nan)


def _index(rows: pd.DataFrame, keys: pd.DataFrame) -> Ints:
    """Which row of ``keys`` each row is."""
    numbered = keys.reset_index(names="_i")
    return rows.merge(numbered, on=list(keys.columns), how="left")["_i"].to_numpy(np.int64)
