"""Runs that could be made, in posterior draws: what was never seen is drawn once, and losses are linearised.

A run tells of its cell: where its level, optimal learning rate and batch, curvatures and ridge lie
(``COORDINATES``). These are close to Gaussian across draws; the loss is not linear in them, so its slopes are
taken at each of ``POINTS`` draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslaw.advice.target_surface import (
    EXTRA_COORDINATES,
    EXTRAS,
    TargetSurface,
    absorbed_by,
    assemble_surface,
    at_draws,
    coordinate,
    moved,
    run_draws,
    surface_draws,
)
from bayeslaw.arrays import Floats
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.schema import CELL
from bayeslaw.target import NEVER_SEEN, Target

if TYPE_CHECKING:
    import pandas as pd

POINTS = 48
"""Draws about which the loss is linearised."""

COORDINATES = ("level", "lr", "batch", "lr_curvature", "batch_curvature", "rho")
STEP = 0.02
"""Of differences that linearise the loss [nats]."""


@dataclass(frozen=True)
class Linear:
    """Candidates linearised in the coordinates of their cells.

    Attributes:
        coordinates: of all cells in draws, (draw, coordinate).
        columns: which coordinates a candidate depends on, (candidate, k); two cells share none.
        slopes: of its mean ln loss there, (point, candidate, k).
        noise: variance of its ln loss given the draw, over the chance to finish, (point, candidate).
        diverges: probability that it diverges, (candidate,).
    """

    coordinates: Floats
    columns: NDArray[np.int64]
    slopes: Floats
    noise: Floats
    diverges: Floats


def grounded(posterior: Posterior, groups: Iterable[tuple[str | None, str]], seed: int = 0) -> Posterior:
    """The posterior with a value of every parameter for every group asked: drawn once, then as if seen.

    A study of None is called ``NEVER_SEEN``. Cells are left: those never seen stay so.
    """
    known = posterior
    for study, optimizer in sorted(groups, key=str):
        name = study or NEVER_SEEN
        values = pooling.group_draws(posterior, study, optimizer, seed)
        if name not in known.studies:
            settings = pooling.study_draws(posterior, study, seed)
            known = replace(
                known,
                studies=(*known.studies, name),
                study={k: np.column_stack([v, settings[k]]) for k, v in known.study.items()},
            )
        seen = (name, optimizer) in known.groups
        column = known.groups.index((name, optimizer)) if seen else len(known.groups)
        known = replace(
            known,
            groups=known.groups if seen else (*known.groups, (name, optimizer)),
            group={k: _with_column(v, column, values[k]) for k, v in known.group.items()},
        )
    return known


def _with_column(table: Floats, column: int, values: Floats) -> Floats:
    if column == table.shape[1]:
        return np.column_stack([table, values])
    if not np.isnan(table[:, column]).any():
        return table
    table = table.copy()
    table[:, column] = values
    return table


def cells(
    known: Posterior, runs: pd.DataFrame, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], TargetSurface]]:
    """Positions of the runs of each cell, and its surface.

    Args:
        known: the fit, ``grounded`` for the groups of the runs.
        runs: as in ``joint_draws``, with ``study``.
        seed: of the shifts of cells never seen.
    """
    table = runs.reset_index(drop=True).assign(study=[s or NEVER_SEEN for s in runs["study"]])
    columns = [table[name].to_numpy() for name in CELL]
    groups: dict[tuple[str, str], dict[str, Floats]] = {}
    for where in table.groupby(table.groupby(list(CELL)).ngroup()).indices.values():
        study, optimizer, n, d = (column[where[0]] for column in columns)
        if (study, optimizer) not in groups:
            groups[study, optimizer] = surface_draws(known, study, optimizer, seed)
        target = Target(float(n), float(d), optimizer, study)
        yield where, assemble_surface(known, target, groups[study, optimizer], seed)


def linearised(
    posterior: Posterior, known: Posterior, runs: pd.DataFrame, weights: Floats, seed: int = 0
) -> Linear:
    """Runs in the coordinates of their cells; arguments as in ``cells``, and ``weights`` of draws, (draw,).

    The noise is that of a Gaussian that tells as much about its mean as the Student-t: its scale squared
    times (dof + 3) / (dof + 1) (Lange, Little & Taylor 1989, JASA 84, section 3).
    """
    points = _systematic(weights, POINTS)
    extras = [k for k in EXTRA_COORDINATES if k in runs and EXTRAS[k][0] in known.group]
    names = [*COORDINATES, *extras]
    columns = np.empty((len(runs), len(names)), np.int64)
    slopes = np.empty((len(points), len(runs), len(names)))
    noise = np.empty((len(points), len(runs)))
    diverges = np.empty(len(runs))
    coordinates: list[Floats] = []
    settings = {k: runs[k].to_numpy(float) for k in ("learning_rate", "batch_tokens", *EXTRAS) if k in runs}
    for where, basin in cells(known, runs, seed):
        members = {k: values[where] for k, values in settings.items()}
        absorbed = absorbed_by(posterior, basin.target, basin.extras)
        columns[where] = len(names) * (len(coordinates) // len(names)) + np.arange(len(names))
        coordinates += [coordinate(basin, name) for name in names]
        run = run_draws(_around(at_draws(basin, points), names), members, absorbed)
        scale, dof, fall = (part[: len(points)] for part in (run.scale, run.dof, run.diverges))
        noise[:, where] = scale**2 * (dof + 3.0) / (dof + 1.0) / np.maximum(1.0 - fall, 1e-3)
        diverges[where] = fall.mean(axis=0)
        below, above = run.log_loss[len(points) :].reshape(2, len(names), len(points), len(where))
        slopes[:, where] = np.moveaxis((above - below) / (2.0 * STEP), 0, 2)
    return Linear(np.array(coordinates).T, columns, slopes, noise, diverges)


def _systematic(weights: Floats, count: int) -> NDArray[np.int64]:
    """Draws in proportion to their weights, evenly through their order."""
    return np.searchsorted(np.cumsum(weights), (np.arange(count) + 0.5) / count).clip(0, len(weights) - 1)


def _around(basin: TargetSurface, names: Sequence[str]) -> TargetSurface:
    """The surface itself, then with each coordinate lower, then with each higher, as further draws."""
    count, copies = len(basin.log_lr), 1 + 2 * len(names)
    result = at_draws(basin, np.tile(np.arange(count), copies))
    for k, name in enumerate(names):
        by = np.zeros((copies, count))
        by[1 + k], by[1 + len(names) + k] = -STEP, STEP
        result = moved(result, name, by.ravel())
    return result
