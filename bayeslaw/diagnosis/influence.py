"""Influence of one cell: the optimum at a target with the cell left out, without a refit.

Draws are weighted by 1 / p(runs of the cell | law), smoothed (Vehtari et al. 2024, JMLR 25, "Pareto smoothed
importance sampling"). The cell's own shifts of ln eta* and ln B* are integrated out first: drawn shifts
follow the cell's runs, so hardly any draw would suit a posterior without them (k near 1). Its level is
integrated out with a wide prior: the height of a loss curve is barely informative about its optimum, and a
corner of the level law that only this cell determines would hide the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.advice.target_surface import TargetSurface, fitted_deviations, shift, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.diagnosis.fitted_runs import CellRuns, log_density, log_loss, moments
from bayeslaw.law.likelihood import Moments
from bayeslaw.law.parameters import CELL_SHIFTS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import RELIABLE, smoothed
from bayeslaw.target import Cell, Target

STEPS = 2
"""Steps of Fisher scoring from the drawn shifts to the most likely ones; the last is only a correction."""

NUDGE = 1e-5
"""Step of forward differences [nats]."""

FREE = 1.0
"""Prior standard deviation of the level's shift, in effect free [nats]; cells differ by thousandths."""


class Shift(NamedTuple):
    """Shift of the mean of an optimum's logarithm: in posterior sd, and as a factor of the optimum."""

    sd: float
    factor: float


@dataclass(frozen=True)
class CellInfluence:
    """How far the optimum at a target moves when a cell is left out.

    Attributes:
        place: the cell.
        runs: number of its runs.
        pareto_k: of the weights; above ``RELIABLE`` only a refit without the cell can tell.
        learning_rate, batch_tokens: shifts of the two optima.
    """

    place: Cell
    runs: int
    pareto_k: float
    learning_rate: Shift
    batch_tokens: Shift

    @property
    def reliable(self) -> bool:
        """Whether k is at most ``RELIABLE``."""
        return self.pareto_k <= RELIABLE

    @property
    def largest_sd(self) -> float:
        """The larger of the two shifts, without its sign [posterior sd]."""
        return max(abs(self.learning_rate.sd), abs(self.batch_tokens.sd))

    def to_json(self) -> dict[str, Any]:
        """A mapping of ``influence`` in ``bayeslaw diagnose --json``."""
        told = {"runs": self.runs, "pareto_k": self.pareto_k, "reliable": self.reliable}
        for name in ("learning_rate", "batch_tokens"):
            shift = getattr(self, name)
            told |= {f"{name}_shift_sd": shift.sd, f"{name}_factor": shift.factor}
        return self.place.to_json() | told


class HardRun(NamedTuple):
    """A run that pulls the fit hard: its Pareto k is above ``RELIABLE``."""

    run_id: str
    pareto_k: float


@dataclass(frozen=True)
class Influence:
    """Number of runs, those that pull the fit hard, hardest first, and the influence of each cell."""

    runs: int
    unreliable: tuple[HardRun, ...]
    cells: tuple[CellInfluence, ...]

    def to_json(self) -> dict[str, Any]:
        """``influence`` of ``bayeslaw diagnose --json``."""
        runs = {"runs": self.runs, "unreliable": [run._asdict() for run in self.unreliable]}
        return {"runs": runs, "cells": [cell.to_json() for cell in self.cells]}


def left_out(posterior: Posterior, cells: Sequence[CellRuns], target: Target) -> list[CellInfluence]:
    """Shift of the optimum at a target when a cell is left out, for each cell.

    The target counts as an unseen cell, so that all cells are informative about it through the law alone.

    Args:
        posterior: the fit.
        cells: its runs (``fitted_runs.fitted_runs``).
        target: target of the advice.
    """
    unseen = replace(
        posterior,
        cells=(),
        cell={name: values[:, :0] for name, values in posterior.cell.items()},
        sizes=(),
        size={name: values[:, :0] for name, values in posterior.size.items()},
    )
    at = surface_at(unseen, target, independent=True)
    return [_without(cell, *own_shifts(posterior, cell), at) for cell in cells]


def _without(cell: CellRuns, shifts: Floats, variance: Floats, at: TargetSurface) -> CellInfluence:
    weights, k = smoothed(-log_marginal(cell, shifts, variance))

    def moved(draws: Floats) -> Shift:
        by = float(weights @ draws - draws.mean())
        return Shift(by / float(draws.std()), float(np.exp(by)))

    return CellInfluence(cell.place, len(cell.rows), k, moved(at.log_lr), moved(at.log_batch))


def own_shifts(posterior: Posterior, cell: CellRuns) -> tuple[Floats, Floats]:
    """Shifts of level, ln eta* and ln B* that no other cell shares, and their variances.

    These are shifts beyond those of its size; in the only cell of a size, both together.

    Returns:
        Two arrays of shape (draw, 3). The level is relative to the fitted one.
    """
    own = posterior.cells[cell.index]
    study, n, p = own.study, own.params_nonembedding, cell.surface.p
    alone = sum((c.study, c.params_nonembedding) == (study, n) for c in posterior.cells) == 1
    sized = (study, n) in posterior.sizes
    shifts, variance = np.zeros((posterior.draws, 3)), np.full((posterior.draws, 3), FREE**2)
    for k, name in enumerate(CELL_SHIFTS[1:], start=1):
        of_size = posterior.size[name][:, posterior.sizes.index((study, n))] if sized else 0.0
        if "log_tau_smooth_lr" in p:
            shifts[:, k], variance[:, k] = _unshared(posterior, own, name, p)
        else:
            shifts[:, k] = posterior.cell[name][:, cell.index] - of_size
            variance[:, k] = np.exp(2.0 * p[f"log_tau_{name}"])
        if sized and alone:
            shifts[:, k] += of_size
            variance[:, k] += np.exp(2.0 * p[f"log_tau_size_{name}"])
    return shifts, variance


def _unshared(posterior: Posterior, cell: Cell, name: str, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    """A cell's smooth deviation from what its group's other cells foretell, and its variance, (draw,) each.

    With the precision matrix P of the deviations y: (P y)_i / P_ii and 1 / P_ii (Rasmussen & Williams 2006,
    5.12).
    """
    group = [each for each in posterior.cells if each.group == cell.group]
    fitted = fitted_deviations(posterior, *cell.group)
    smooth, white = (np.exp(2.0 * p[f"log_tau{kind}_{name}"])[:, None] for kind in ("_smooth", ""))
    mode = fitted.modes[group.index(cell)]
    precision = 1.0 / (smooth * fitted.variances + white)
    variance = 1.0 / np.sum(mode**2 * precision, axis=1)
    return np.sum(mode * fitted.known[name] * precision, axis=1) * variance, variance


def log_marginal(cell: CellRuns, shifts: Floats, variance: Floats) -> Floats:
    """ln p(runs | law) in each draw with the cell's own shifts integrated out, up to a constant, (draw,).

    Laplace's method with the expected information: exact for normal runs that are linear in the shifts.

    Args:
        cell: the runs.
        shifts: starting point, (draw, 3), from ``own_shifts``.
        variance: of the shifts given the law, (draw, 3).
    """
    at = cell.surface
    for turn in range(STEPS):
        told = moments(cell, at)
        score, information = _score(cell, told, _slopes(cell, at, told))
        precision = information + np.eye(3) / variance[:, :, None]
        step = np.linalg.solve(precision, (score - shifts / variance)[:, :, None])[:, :, 0]
        if turn < STEPS - 1:
            shifts = shifts + step
            for k, name in enumerate(CELL_SHIFTS):
                at = shift(at, name, np.asarray(step[:, k], np.float64))
    prior = -0.5 * np.sum(shifts**2 / variance + np.log(variance), axis=1)
    ahead = 0.5 * np.einsum("sk,skl,sl->s", step, precision, step)
    total: Floats = log_density(cell, told).sum(axis=1) + prior + ahead
    return total - 0.5 * np.linalg.slogdet(precision)[1]


def _slopes(cell: CellRuns, at: TargetSurface, here: Moments) -> list[Moments]:
    """Derivatives of the moments ``here`` by each shift; the level shifts only the mean."""
    none = np.zeros_like(here.mean)
    slopes = [Moments(none + 1.0, none, none, none)]
    for name in CELL_SHIFTS[1:]:
        there = moments(cell, shift(at, name, NUDGE))
        slopes.append(Moments(*((to - of) / NUDGE for of, to in zip(here, there, strict=True))))
    return slopes


def _score(cell: CellRuns, told: Moments, slopes: Sequence[Moments]) -> tuple[Floats, Floats]:
    """Gradient (draw, 3) and expected information (draw, 3, 3) of the ln likelihood in the shifts.

    Information of a Student-t's location and scale: Lange, Little & Taylor (1989), JASA 84, section 3.
    """
    finished, diverged = cell.outcomes.finished, cell.outcomes.diverged
    dof, scale, fall = told.dof, told.scale, told.fall
    x = np.where(finished, (log_loss(cell) - told.mean) / scale, 0.0)
    pull = (dof + 1.0) * x / (dof + x * x)
    by_fall = np.where(finished, -1.0 / (1.0 - fall), np.where(diverged, 1.0 / fall, 1.0 / (1.0 + fall)))
    score, information = np.zeros((len(x), 3)), np.zeros((len(x), 3, 3))
    for name, gradient, weight in (
        ("mean", pull / scale, finished * (dof + 1.0) / ((dof + 3.0) * scale**2)),
        ("scale", finished * (pull * x - 1.0) / scale, finished * 2.0 * dof / ((dof + 3.0) * scale**2)),
        ("fall", cell.outcomes.count * by_fall, cell.outcomes.count / (fall * (1.0 - fall))),
    ):
        slope = np.stack([getattr(each, name) for each in slopes], axis=2)
        score += np.einsum("sr,srk->sk", gradient, slope)
        information += np.swapaxes(weight[:, :, None] * slope, 1, 2) @ slope
    return score, information
