"""Methods of the field: keep the best runs of each cell, regress their logarithms on ln N and ln D.

There are three, each fitted to the cells of one optimizer, each an ``Advisor``: ``fit_argmin`` (the method of
most papers), ``fit_huber`` (robust to outliers, cross-validated), ``fit_near_optimal`` (Step Law's). They use
the best runs only and predict no loss. ``bayeslaw.evaluation.lmo`` has one whose exponents theory gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.runs.cells import cell_of, finished_runs
from bayeslaw.target import Target

RATE_ON = ("params_nonembedding", "tokens")
BATCH_ON = ("tokens",)  # as in Step Law, which finds the best batch independent of N
NEAR = 0.0025  # relative excess loss: Step Law (arXiv 2503.04715) and DeepSeek (arXiv 2401.02954)
DRAWS = 1000
HUBER_THRESHOLDS = (0.05, 0.1, 0.2, 0.4, np.inf)  # nats of ln eta or ln B; a grid step of sqrt 2 is 0.35


@dataclass(frozen=True)
class PowerLaw:
    """ln y = coefs . (1, ln feature, ...).

    Attributes:
        features: names of the regressors, among ``params_nonembedding`` and ``tokens``.
        coefs: intercept and exponents, shape (1 + feature,).
        draws: uncertainty of ``coefs``, shape (draw, 1 + feature).
        noise: scatter of single cells around the line, ln units, shape (draw,); zeros for a bootstrap.
        one_minus: whether y is 1 minus the setting, as of a momentum.
    """

    features: tuple[str, ...]
    coefs: Floats
    draws: Floats
    noise: Floats
    one_minus: bool = False

    def at(self, target: Target) -> float:
        """Value of the setting."""
        return float(self._setting(np.exp(self._row(target) @ self.coefs)))

    def draws_at(self, target: Target) -> Floats:
        """Draws of the setting's value, shape (draw,)."""
        return self._setting(np.exp(self.draws @ self._row(target) + self.noise))

    def _setting(self, y: Floats) -> Floats:
        return np.asarray(1 - np.minimum(y, 1.0) if self.one_minus else y)

    def _row(self, target: Target) -> Floats:
        return np.array([1.0, *(np.log(getattr(target, name)) for name in self.features)])


class Setting(Protocol):
    """The best value of a setting as a function of the target: a ``PowerLaw``, or another law."""

    def at(self, target: Target) -> float:
        """Value of the setting."""

    def draws_at(self, target: Target) -> Floats:
        """Draws of the setting's value, shape (draw,)."""


@dataclass(frozen=True)
class PowerLawAdvisor:
    """A fitted baseline.

    Attributes:
        label: the method's name.
        optimizer: optimizer whose cells it was fitted to.
        laws: a law for ``learning_rate``, one for ``batch_tokens``, and any others.
        report: statistics of the regression, by hyperparameter.
        batch_power: d ln eta / d ln B away from the batch that it advises; 0 where the method knows none.
    """

    label: str
    optimizer: str
    laws: Mapping[str, Setting]
    report: dict[str, dict[str, Any]] = field(repr=False)
    batch_power: float = 0.0

    def recommend(self, target: Target) -> dict[str, float]:
        """Peak learning rate and batch [tokens]; a fixed batch is kept, the rate moves by ``batch_power``.

        Raises:
            BadInput: an optimizer that it was not fitted to.
        """
        self._check(target)
        return self._at_batch({name: law.at(target) for name, law in self.laws.items()}, target.batch_tokens)

    def optimum_draws(self, target: Target) -> dict[str, Floats]:
        """Draws of a cell's optimum under the same keys, shape (draw,) each."""
        self._check(target)
        draws = {name: law.draws_at(target) for name, law in self.laws.items()}
        return draws | {"learning_rate": self._at_batch(draws, target.batch_tokens)["learning_rate"]}

    def _at_batch(self, settings: dict[str, Any], batch: float | None) -> dict[str, Any]:
        if batch is None:
            return settings
        by = (batch / settings["batch_tokens"]) ** self.batch_power
        return settings | {"learning_rate": settings["learning_rate"] * by, "batch_tokens": batch}

    def loss_draws(self, runs: pd.DataFrame) -> None:
        """None: a regression of best runs predicts no loss."""
        return

    def _check(self, target: Target) -> None:
        if target.optimizer != self.optimizer:
            raise BadInput(
                f"{self.label}: target optimizer {target.optimizer!r}; expected {self.optimizer!r}, whose "
                f"cells it was fitted to; fit it to runs of {target.optimizer}"
            )


def fit_argmin(
    runs: pd.DataFrame,
    optimizer: str | None = None,
    batch_on: Sequence[str] = BATCH_ON,
    draws: int = DRAWS,
    seed: int = 0,
) -> PowerLawAdvisor:
    """Fit the best run of each cell by ordinary least squares, as most scaling-law papers do.

    The draws follow the classical prediction interval of one more cell's optimum: Student-t with the
    regression's residual degrees of freedom, scatter of the cells included.

    Args:
        runs: run table.
        optimizer: whose runs; None takes the table's most common.
        batch_on: regressors of ln B: ``("tokens",)`` or ``("params_nonembedding", "tokens")``.
        draws: number of draws kept.
        seed: of the draws.

    Returns:
        The advisor; ``report[name]`` holds exponents, r2, residual_sd, dof, shapiro_p, max_leverage and the
        cells whose studentised residual exceeds 3.

    Raises:
        BadInput: with too few cells, or too few distinct N or D, for the regression.
    """
    best = best_runs(runs, optimizer)
    rng = np.random.default_rng(seed)

    def fit_one(name: str, features: tuple[str, ...]) -> tuple[PowerLaw, dict[str, Any]]:
        law = _predictive(best, name, features, draws, rng)
        x, y = design(best, name, features, "argmin")
        return law, _report(best, x, y, law.coefs, features)

    return _advisor("argmin + least squares", best, batch_on, fit_one)


def fit_batch(
    runs: pd.DataFrame, optimizer: str, batch_on: Sequence[str] = BATCH_ON, draws: int = DRAWS, seed: int = 0
) -> PowerLaw:
    """The law of the batch as ``fit_argmin`` has it, alone; without regressors the mean of best runs.

    Raises:
        BadInput: as ``fit_argmin`` does.
    """
    rng = np.random.default_rng(seed)
    return _predictive(best_runs(runs, optimizer), "batch_tokens", tuple(batch_on), draws, rng)


def fit_huber(
    runs: pd.DataFrame,
    optimizer: str | None = None,
    batch_on: Sequence[str] = BATCH_ON,
    thresholds: Sequence[float] = HUBER_THRESHOLDS,
    folds: int = 5,
    draws: int = 200,
    seed: int = 0,
) -> PowerLawAdvisor:
    """Fit the best run of each cell by Huber regression, with a threshold cross-validated over cells.

    Args:
        runs: run table.
        optimizer: whose runs; None takes the table's most common.
        batch_on: regressors of ln B.
        thresholds: residuals [ln units] beyond which the penalty grows linearly; inf is least squares.
        folds: groups the cells are split into, at most one cell each.
        draws: bootstrap resamples of cells.
        seed: of the split and the bootstrap.

    Returns:
        The advisor; its ``report[name]`` adds ``threshold``, ``cv_mae`` (mean absolute error of held-out
        cells [ln units]) and ``cv_mae_by_threshold``.

    Raises:
        BadInput: with too few cells for the regression or for leaving a fold out.
    """
    best = best_runs(runs, optimizer)
    counts = resample_counts(best["cell"].to_numpy(), draws, "cell", seed)

    def fit_one(name: str, features: tuple[str, ...]) -> tuple[PowerLaw, dict[str, Any]]:
        x, y = design(best, name, features, "huber", spare=2)
        scores = {float(t): _cv_mae(x, y, t, folds, seed) for t in thresholds}
        chosen = min(scores, key=lambda t: (scores[t], -t))
        coefs = huber_coefs(x, y, chosen)
        kept = counts[determined(x, counts)]
        boot = np.array([huber_coefs(np.repeat(x, c, axis=0), np.repeat(y, c), chosen) for c in kept])
        report = _report(best, x, y, coefs, features)
        report |= {"threshold": chosen, "cv_mae": scores[chosen], "cv_mae_by_threshold": scores}
        return PowerLaw(features, coefs, boot, np.zeros(len(boot))), report

    return _advisor("argmin + Huber", best, batch_on, fit_one)


def fit_near_optimal(
    runs: pd.DataFrame,
    optimizer: str | None = None,
    batch_on: Sequence[str] = BATCH_ON,
    by: Literal["row", "cell"] = "row",
    draws: int = DRAWS,
    seed: int = 0,
) -> PowerLawAdvisor:
    """Fit all runs within 0.25% of their cell's minimum by least squares with a bootstrap, as Step Law does.

    Args:
        runs: run table.
        optimizer: whose runs; None takes the table's most common.
        batch_on: regressors of ln B.
        by: unit that the bootstrap resamples: ``row``, as published, or ``cell``, which keeps the runs of a
            cell together. Runs of one cell share its minimum, so rows give intervals that are too narrow.
        draws: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        The advisor; draws are of the fitted line, without the scatter of cells.

    Raises:
        BadInput: with too few cells for the regression.
    """
    near = best_runs(runs, optimizer, within=NEAR)
    counts = resample_counts(near["cell"].to_numpy(), draws, by, seed)

    def fit_one(name: str, features: tuple[str, ...]) -> tuple[PowerLaw, dict[str, Any]]:
        x, y = design(near, name, features, "near-optimal")
        coefs = _least_squares(x, y)[0]
        kept = counts[determined(x, counts)]
        gram = np.einsum("dr,ri,rj->dij", kept, x, x)
        boot = np.linalg.solve(gram, np.einsum("dr,ri,r->di", kept, x, y)[..., None])[..., 0]
        return PowerLaw(features, coefs, boot, np.zeros(len(boot))), _report(near, x, y, coefs, features)

    return _advisor(f"near-optimal rows + least squares, {by} bootstrap", near, batch_on, fit_one)


# -------------------------------------------------------------------------------------------- pieces


def _predictive(
    best: pd.DataFrame, name: str, features: tuple[str, ...], draws: int, rng: np.random.Generator
) -> PowerLaw:
    """Least squares through best runs, and the classical prediction interval as draws."""
    x, y = design(best, name, features, "argmin")
    coefs, spread, sd, dof = _least_squares(x, y)
    scale = sd * np.sqrt(dof / rng.chisquare(dof, draws))
    shifts = rng.standard_normal((draws, len(coefs))) @ np.linalg.cholesky(spread).T
    return PowerLaw(features, coefs, coefs + scale[:, None] * shifts, scale * rng.standard_normal(draws))


def best_runs(runs: pd.DataFrame, optimizer: str | None = None, within: float | None = None) -> pd.DataFrame:
    """Select the best finished run of each cell of one optimizer, or all within a relative excess of it.

    Args:
        runs: run table.
        optimizer: whose runs; None takes the one with most finished runs.
        within: relative excess loss, such as 0.0025; None keeps the single best.

    Returns:
        The chosen rows, with a column ``cell`` numbering the cells.

    Raises:
        BadInput: the optimizer has no finished run.
    """
    finished = finished_runs(runs)
    if optimizer is None and len(finished):
        optimizer = str(finished["optimizer"].value_counts().sort_index().idxmax())
    mine = finished[finished["optimizer"] == optimizer]
    if len(mine) == 0:
        known = ", ".join(sorted(runs["optimizer"].astype(str).unique())) or "none"
        raise BadInput(
            f"run table: no finished run of optimizer {optimizer!r}; expected one of those present ({known}) "
            "with a loss; name another optimizer or add runs"
        )
    mine = mine.assign(cell=cell_of(mine)).reset_index(drop=True)
    if within is None:
        return mine.loc[mine.groupby("cell")["loss"].idxmin()].reset_index(drop=True)
    lowest = mine.groupby("cell")["loss"].transform("min")
    return mine[mine["loss"] <= lowest * (1 + within)].reset_index(drop=True)


def resample_counts(cell: NDArray[Any], draws: int, by: str, seed: int) -> NDArray[np.int64]:
    """Count how often each row enters each bootstrap resample, shape (draw, row).

    >>> counts = resample_counts(np.array([0, 0, 1]), 500, "cell", seed=0)
    >>> bool((counts[:, 0] == counts[:, 1]).all())  # a cell's runs stay together
    True
    """
    if by not in ("row", "cell"):
        raise BadInput(
            f"bootstrap: by = {by!r}; expected 'row' or 'cell'; 'cell' keeps a cell's runs together"
        )
    rng = np.random.default_rng(seed)
    _, unit = np.unique(cell, return_inverse=True) if by == "cell" else (None, np.arange(len(cell)))
    size = int(unit.max()) + 1
    return rng.multinomial(size, np.full(size, 1 / size), draws)[:, unit]


def huber_coefs(x: Floats, y: Floats, threshold: float) -> Floats:
    """Huber regression (Huber 1964): squared residuals up to ``threshold``, linear beyond.

    Args:
        x: design, shape (row, coefficient).
        y: shape (row,).
        threshold: in the unit of y; inf is least squares.

    Returns:
        Shape (coefficient,).

    >>> x = np.array([[1.0], [1.0], [1.0], [1.0], [1.0]])
    >>> float(huber_coefs(x, np.array([0.0, 0.0, 0.0, 0.0, 9.0]), 1.0)[0].round(3))  # 4 m = 1
    0.25
    """
    start = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], float)
    if not np.isfinite(threshold):
        return start
    fit = optimize.least_squares(lambda b: x @ b - y, start, jac=lambda b: x, loss="huber", f_scale=threshold)
    return np.asarray(fit.x, float)


def _cv_mae(x: Floats, y: Floats, threshold: float, folds: int, seed: int) -> float:
    """Mean absolute error of rows left out, one row per cell; folds that leave too few are skipped."""
    order = np.random.default_rng(seed).permutation(len(y))
    errors: list[float] = []
    for held in np.array_split(order, min(folds, len(y))):
        kept = np.setdiff1d(order, held)
        if np.linalg.matrix_rank(x[kept]) == x.shape[1]:
            errors.extend(np.abs(y[held] - x[held] @ huber_coefs(x[kept], y[kept], threshold)))
    return float(np.mean(errors)) if errors else float("inf")


def design(
    rows: pd.DataFrame, name: str, features: tuple[str, ...], method: str, spare: int = 1
) -> tuple[Floats, Floats]:
    """Regressors, (row, coefficient), and ln response, (row,), of best runs.

    Raises:
        BadInput: cells that cannot determine the law, with ``spare`` of them left.
    """
    x = np.column_stack([np.ones(len(rows)), *(np.log(rows[f].to_numpy(float)) for f in features)])
    cells, need = rows["cell"].nunique(), x.shape[1] + spare
    if cells < need or np.linalg.matrix_rank(x - [0, *x[:, 1:].mean(axis=0)]) < x.shape[1]:
        distinct = ", ".join(f"{rows[f].nunique()} distinct {f}" for f in features)
        on = ", ".join("ln " + f for f in features)
        raise BadInput(
            f"{method}: {cells} cells with {distinct}; regressing ln {name} on {on} "
            f"needs at least {need} cells whose {' and '.join(features)} vary, not in proportion; "
            "add runs at other sizes, or use `bayeslaw fit`, which borrows strength elsewhere"
        )
    return x, np.log(rows[name].to_numpy(float))


def _least_squares(x: Floats, y: Floats) -> tuple[Floats, Floats, float, int]:
    """Coefficients, (X'X)^-1, residual sd, residual degrees of freedom."""
    coefs = np.linalg.lstsq(x, y, rcond=None)[0]
    dof = len(y) - x.shape[1]
    sd = float(np.sqrt(np.sum((y - x @ coefs) ** 2) / dof))
    return np.asarray(coefs, float), np.asarray(np.linalg.pinv(x.T @ x), float), sd, dof


def determined(x: Floats, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Keep resamples whose rows still determine every coefficient; at least one must."""
    centred = np.column_stack([x[:, 0], (x[:, 1:] - x[:, 1:].mean(axis=0)) / x[:, 1:].std(axis=0)])
    gram = np.einsum("dr,ri,rj->dij", counts, centred, centred) / counts.sum(axis=1)[:, None, None]
    return np.linalg.eigvalsh(gram)[:, 0] > 1e-6


def _report(
    rows: pd.DataFrame, x: Floats, y: Floats, coefs: Floats, features: tuple[str, ...]
) -> dict[str, Any]:
    """Statistics of a regression that a careful reader asks for."""
    residual = y - x @ coefs
    dof = len(y) - x.shape[1]
    sd = float(np.sqrt(np.sum(residual**2) / dof))
    leverage = np.sum(np.linalg.qr(x)[0] ** 2, axis=1)
    studentised = residual / np.maximum(sd * np.sqrt(np.maximum(1 - leverage, 1e-9)), 1e-12)
    total = np.sum((y - y.mean()) ** 2)
    odd = rows.loc[np.abs(studentised) > 3, ["study", "params_nonembedding", "tokens"]]
    return {
        "intercept": float(coefs[0]),
        "exponents": dict(zip(features, map(float, coefs[1:]), strict=True)),
        "rows": len(y),
        "cells": int(rows["cell"].nunique()),
        "r2": float(1 - np.sum(residual**2) / total) if total > 1e-12 else float("nan"),
        "residual_sd": sd,
        "dof": dof,
        "shapiro_p": float(stats.shapiro(residual).pvalue) if len(y) >= 8 and sd > 1e-9 else float("nan"),
        "max_leverage": float(leverage.max()),
        "outliers": odd.to_dict("records"),
    }


def _advisor(
    label: str,
    rows: pd.DataFrame,
    batch_on: Sequence[str],
    fit_one: Callable[[str, tuple[str, ...]], tuple[PowerLaw, dict[str, Any]]],
) -> PowerLawAdvisor:
    regressors = {"learning_rate": RATE_ON, "batch_tokens": tuple(batch_on)}
    fitted = {name: fit_one(name, features) for name, features in regressors.items()}
    return PowerLawAdvisor(
        label,
        str(rows["optimizer"].iloc[0]),
        {name: law for name, (law, _) in fitted.items()},
        {name: report for name, (_, report) in fitted.items()},
    )
