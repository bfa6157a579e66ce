"""Laws of the best learning rate in curvature, fitted to cells: rivals of power laws in N and D.

A network's sharpness lambda is that of its preconditioned Hessian early in warm-up (``runs.curvature``), c
the stability threshold of the optimizer (``spectra.thresholds``). What they are worth: docs/curvature.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.baselines import BATCH_ON, DRAWS, PowerLawAdvisor, fit_batch
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.law.places import measured_at
from bayeslaw.runs.cells import group_cells
from bayeslaw.runs.curvature import early_columns
from bayeslaw.spectra.thresholds import of_optimizer
from bayeslaw.target import Target

SPARE = 1
"""Cells beyond the fitted numbers that tell a scatter."""

# --------------------------------------------------------------------------------------------- laws


@dataclass(frozen=True)
class Law:
    """ln rate = level + given + exponents . columns, by least squares.

    Attributes:
        columns: of the cells, with fitted exponents.
        given: columns added or subtracted as they are: (sign, name).
        level: whether a constant is fitted.
    """

    columns: tuple[str, ...] = ()
    given: tuple[tuple[int, str], ...] = ()
    level: bool = True

    @property
    def parameters(self) -> int:
        """Number fitted."""
        return len(self.columns) + self.level

    def predict(self, train: pd.DataFrame, test: pd.DataFrame) -> Floats:
        """ln rate of the test cells, fitted to the others."""
        return np.asarray(self._offset(test) + self._design(test) @ self._coefs(train), float)

    def scale(self, train: pd.DataFrame, test: pd.DataFrame) -> Floats:
        """Scale of the Student t of each test cell's ln rate, scatter of cells included."""
        here, there = self._design(train), self._design(test)
        leverage = np.einsum("ri,ij,rj->r", there, np.linalg.pinv(here.T @ here), there)
        return np.asarray(scatter(self, train) * np.sqrt(1 + leverage), float)

    def needs(self) -> list[str]:
        """Columns that it reads."""
        return [*self.columns, *(name for _, name in self.given)]

    def _coefs(self, train: pd.DataFrame) -> Floats:
        y = train["rate"].to_numpy(float) - self._offset(train)
        return np.asarray(np.linalg.lstsq(self._design(train), y, rcond=None)[0], float)

    def _design(self, cells: pd.DataFrame) -> Floats:
        return np.column_stack(
            [np.ones((len(cells), int(self.level))), cells[[*self.columns]].to_numpy(float)]
        )

    def _offset(self, cells: pd.DataFrame) -> Floats:
        return np.asarray(sum((sign * cells[name] for sign, name in self.given), np.zeros(len(cells))), float)


@dataclass(frozen=True)
class Rule:
    """The lower or the higher of two laws' rates."""

    join: Callable[[Floats, Floats], Floats]
    laws: tuple[Law, Law]

    @property
    def parameters(self) -> int:
        """Number fitted."""
        return sum(law.parameters for law in self.laws)

    def predict(self, train: pd.DataFrame, test: pd.DataFrame) -> Floats:
        """ln rate of the test cells."""
        first, second = (law.predict(train, test) for law in self.laws)
        return self.join(first, second)

    def scale(self, train: pd.DataFrame, test: pd.DataFrame) -> Floats:
        """As of ``Law``, at the mean leverage of the fitted cells wherever the test cells lie."""
        return np.full(len(test), scatter(self, train) * np.sqrt(1 + self.parameters / len(train)))

    def needs(self) -> list[str]:
        """Columns that it reads."""
        return [name for law in self.laws for name in law.needs()]


Predictor = Law | Rule


def scatter(law: Predictor, train: pd.DataFrame) -> float:
    """Standard deviation of the fitted cells' ln rate about a law [nats]."""
    residual = train["rate"].to_numpy(float) - law.predict(train, train)
    return float(np.sqrt(np.sum(residual**2) / degrees(law, train)))


def degrees(law: Predictor, train: pd.DataFrame) -> int:
    """Degrees of freedom of its residual, at least 1."""
    return max(len(train) - law.parameters, 1)


LIMIT = Law(given=((1, "threshold"), (-1, "sharpness")), level=False)
"""c(optimizer, momentum) / lambda: the stability limit itself."""

METHODS: dict[str, tuple[str, Callable[[Law], Predictor]]] = {
    "sharpness": ("kappa / lambda", lambda power: Law(given=((-1, "sharpness"),))),
    "stability": ("c / lambda", lambda power: LIMIT),
    "min-stability": ("min(power law, c / lambda)", lambda power: Rule(np.minimum, (power, LIMIT))),
    "max-stability": ("max(power law, c / lambda)", lambda power: Rule(np.maximum, (power, LIMIT))),
}
"""Name for ``evaluate --method`` -> what it is, and the predictor, given the power law in N and D."""

# -------------------------------------------------------------------------------------------- cells


def network_cells(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[SmoothedCell]]:
    """Cells whose optimum lies inside their sweep, and their smoothed surfaces in the same order.

    Returns:
        ``study``, ``optimizer``, and logarithms, (cell, ...): best ``rate``, ``batch`` there, ``params``,
        ``tokens``, ``width``, ``depth``, ``threshold`` (NaN where the optimizer has none), and ``sharpness``
        and ``noise`` where they were measured.
    """
    rows, smoothed = [], []
    for key, mine in group_cells(runs):
        cell = smooth_cell(key, mine)
        if not cell.scorable:
            continue
        first = mine.iloc[0]
        values = {
            "rate": cell.learning_rate,
            "batch": cell.batch_tokens,
            "params": key.params_nonembedding,
            "tokens": key.tokens,
            "width": first.get("width", np.nan),
            "depth": first.get("depth", np.nan),
            "threshold": _threshold(key.optimizer, mine),
            **measured_at(mine),
        }
        logs = {name: float(np.log(float(value))) for name, value in values.items()}
        rows.append({"study": key.study, "optimizer": key.optimizer} | logs)
        smoothed.append(cell)
    return pd.DataFrame(rows), smoothed


def _threshold(optimizer: str, runs: pd.DataFrame) -> float:
    beta = runs["momentum"].median() if "momentum" in runs else np.nan
    try:
        return of_optimizer(optimizer, None if np.isnan(beta) else float(beta))
    except BadInput:
        return float("nan")


# ------------------------------------------------------------------------------------------ advisors


@dataclass(frozen=True)
class FromCurvature:
    """The learning rate of a target by a predictor fitted to cells; a ``baselines.Setting``.

    Attributes:
        method: name in ``METHODS``.
        predictor: the law or rule.
        cells: of ``network_cells``, of one optimizer.
        draws: how many.
        seed: of the draws.
    """

    method: str
    predictor: Predictor
    cells: pd.DataFrame
    draws: int
    seed: int

    def at(self, target: Target) -> float:
        """Peak learning rate.

        Raises:
            BadInput: a target whose sharpness is unknown.
        """
        return float(np.exp(self.predictor.predict(self.cells, self._row(target))[0]))

    def draws_at(self, target: Target) -> Floats:
        """Draws of it, shape (draw,)."""
        scale = self.predictor.scale(self.cells, self._row(target))[0]
        dof = degrees(self.predictor, self.cells)
        noise = t.rvs(dof, size=self.draws, random_state=np.random.default_rng(self.seed))
        return np.asarray(self.at(target) * np.exp(scale * noise), float)

    def _row(self, target: Target) -> pd.DataFrame:
        if not isinstance(sharpness := target.covariates.get("sharpness"), float):
            raise BadInput(
                f"{self.method}: a target without lambda_preconditioned, measured at about step 20 of a "
                "run of its cell; expected that column in the held-out table; measure it, or use another "
                "method"
            )
        places = {"params": target.params_nonembedding, "tokens": target.tokens, "sharpness": sharpness}
        logs = {name: float(np.log(value)) for name, value in places.items()}
        return pd.DataFrame([logs | {"threshold": float(self.cells["threshold"].mean())}])


def fit_curvature(
    runs: pd.DataFrame, method: str, optimizer: str | None = None, draws: int = DRAWS, seed: int = 0
) -> PowerLawAdvisor:
    """Fit one of ``METHODS`` to the smoothed optima of an optimizer's cells.

    Draws have the scatter of single cells, Student-t. The power law of the rules is in those of N and D that
    vary among the cells; the batch is that of ``baselines.fit_batch``.

    Args:
        runs: run table with ``lambda_preconditioned`` early in one run of each cell, its own column or the
            lab's ``lambda_preconditioned_at_SHARE``.
        method: name in ``METHODS``.
        optimizer: whose runs; None takes the one with most measured cells.
        draws: number of draws.
        seed: of the draws.

    Raises:
        BadInput: a table without that column, an optimizer without threshold, or too few cells.
    """
    if not early_columns(runs, "lambda_preconditioned"):
        raise BadInput(
            f"{method}: the run table has no column lambda_preconditioned, nor "
            "lambda_preconditioned_at_SHARE of a share of at most 0.1; expected the largest eigenvalue of "
            "the preconditioned Hessian early in one run of each cell; measure it (docs/curvature.md), or "
            "use another method"
        )
    cells, _ = network_cells(runs)
    known = cells[cells["sharpness"].notna()] if "sharpness" in cells else cells.iloc[:0]
    if optimizer is None and len(known):
        optimizer = str(known["optimizer"].value_counts().sort_index().idxmax())
    mine = known[known["optimizer"] == optimizer].reset_index(drop=True)
    label, predictor_of = METHODS[method]
    predictor = predictor_of(Law(_varying(mine)))
    if "threshold" in predictor.needs() and optimizer is not None:
        of_optimizer(optimizer)
    if len(mine) < predictor.parameters + SPARE:
        raise BadInput(
            f"{method}: {len(mine)} cells of {optimizer} have lambda_preconditioned and an optimum inside "
            f"their sweep; expected at least {predictor.parameters + SPARE}; measure more of them"
        )
    rate = FromCurvature(method, predictor, mine, draws, seed)
    batch = fit_batch(runs, str(optimizer), BATCH_ON if mine["tokens"].nunique() > 2 else (), draws, seed)
    return PowerLawAdvisor(label, str(optimizer), {"learning_rate": rate, "batch_tokens": batch}, {})


def _varying(cells: pd.DataFrame) -> tuple[str, ...]:
    """Those of N and D whose exponents the cells tell: N first, D where it varies apart from N."""
    names: tuple[str, ...] = ()
    for name in ("params", "tokens"):
        more = cells[[*names, name]].to_numpy(float)
        if len(more) > 1 and np.linalg.matrix_rank(more - more.mean(axis=0), tol=1e-6) == len(names) + 1:
            names = (*names, name)
    return names
