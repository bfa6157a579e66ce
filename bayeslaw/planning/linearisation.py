"""Losses of possible runs, linear in the coordinates of their cells.

A run is informative about its cell: level, best learning rate and batch, curvatures and ridge
(``COORDINATES``). These coordinates are close to Gaussian across draws. The loss is not linear in them, so
its slopes are taken at each of ``POINTS`` draws. Groups and cells that were never seen are drawn once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.cells import cells_of
from bayeslaw.advice.target_surface import (
    Path,
    TargetSurface,
    absorbed_by,
    assemble_surface,
    at_draws,
    coordinate,
    run_draws,
    shift,
    smooth_path,
    surface_draws,
)
from bayeslaw.arrays import Floats, Ints
from bayeslaw.law.terms import OPTIMA, own_bowls
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import NEVER_SEEN, Target

if TYPE_CHECKING:
    import pandas as pd

POINTS = 48
"""Number of draws about which the loss is linearised."""

COORDINATES = ("level", "lr", "batch", "lr_curvature", "batch_curvature", "rho")
STEP = 0.02
"""Step of the central differences that give the slopes [nats]."""


@dataclass(frozen=True)
class Linear:
    """Candidates linearised in the coordinates of their cells.

    Attributes:
        coordinates: coordinates of all cells in each draw, (draw, coordinate).
        columns: coordinates that each candidate depends on, (candidate, k); two cells share none.
        slopes: derivatives of each candidate's mean ln loss by them, (point, candidate, k).
        noise: variance of each candidate's ln loss given the draw, over its chance of finishing, (point,
            candidate).
        diverges: probability that each candidate diverges, (candidate,).
    """

    coordinates: Floats
    columns: Ints
    slopes: Floats
    noise: Floats
    diverges: Floats


def cells(known: Posterior, runs: pd.DataFrame, seed: int = 0) -> Iterator[tuple[Ints, TargetSurface]]:
    """Yield the positions of each cell's runs, and the surface of the cell.

    Args:
        known: the fit, extended by ``ground`` to the groups of the runs.
        runs: as in ``joint_draws``, with ``study``.
        seed: seed of the shifts of cells never seen.
    """
    table = runs.reset_index(drop=True).assign(study=[s or NEVER_SEEN for s in runs["study"]])
    groups: dict[tuple[str, str], tuple[dict[str, Floats], Path | None]] = {}
    for where, cell in cells_of(table, known):
        if cell.group not in groups:
            p = surface_draws(known, *cell.group, seed)
            groups[cell.group] = p, smooth_path(known, *cell.group, p, seed)
        p, path = groups[cell.group]
        yield where, assemble_surface(known, Target.of_cell(cell), p, seed, path=path)


def linearise(
    posterior: Posterior, known: Posterior, runs: pd.DataFrame, weights: Floats, seed: int = 0
) -> Linear:
    """Linearise runs in the coordinates of their cells; arguments as in ``cells``, and ``weights``, (draw,).

    The noise is Gaussian with the Student-t's information about its mean: the variance is the scale squared
    times (dof + 3) / (dof + 1) (Lange, Little & Taylor 1989, JASA 84, section 3).
    """
    points = _systematic(weights, POINTS)
    extras = [name for name, o in own_bowls().items() if name in runs and str(o.curvature) in known.group]
    names = [*COORDINATES, *extras]
    columns = np.empty((len(runs), len(names)), np.int64)
    slopes = np.empty((len(points), len(runs), len(names)))
    noise = np.empty((len(points), len(runs)))
    diverges = np.empty(len(runs))
    coordinates: list[Floats] = []
    settings = {name: runs[name].to_numpy(float) for name in OPTIMA if name in runs}
    for where, at in cells(known, runs, seed):
        members = {k: values[where] for k, values in settings.items()}
        absorbed = absorbed_by(posterior, at.target, at.extras)
        columns[where] = len(names) * (len(coordinates) // len(names)) + np.arange(len(names))
        coordinates += [coordinate(at, name) for name in names]
        run = run_draws(_around(at_draws(at, points), names), members, absorbed)
        scale, dof = run.moments.scale[: len(points)], run.moments.dof[: len(points)]
        fall = run.diverges[: len(points)]
        noise[:, where] = scale**2 * (dof + 3.0) / (dof + 1.0) / np.maximum(1.0 - fall, 1e-3)
        diverges[where] = fall.mean(axis=0)
        below, above = run.moments.mean[len(points) :].reshape(2, len(names), len(points), len(where))
        slopes[:, where] = np.moveaxis((above - below) / (2.0 * STEP), 0, 2)
    return Linear(np.array(coordinates).T, columns, slopes, noise, diverges)


def _systematic(weights: Floats, count: int) -> Ints:
    """Choose ``count`` draws in proportion to their weights, evenly spaced in their order."""
    return np.searchsorted(np.cumsum(weights), (np.arange(count) + 0.5) / count).clip(0, len(weights) - 1)


def _around(at: TargetSurface, names: Sequence[str]) -> TargetSurface:
    """Append draws with each coordinate a step lower, then draws with each a step higher."""
    count, copies = len(at.log_loss), 1 + 2 * len(names)
    result = at_draws(at, np.tile(np.arange(count), copies))
    for k, name in enumerate(names):
        by = np.zeros((copies, count))
        by[1 + k], by[1 + len(names) + k] = -STEP, STEP
        result = shift(result, name, by.ravel())
    return result
