"""Advisors, and scores of their predictions: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.intervals import ends
from bayeslaw.target import Target

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@runtime_checkable
class Advisor(Protocol):
    """Anything that advises on a target: a posterior, a baseline, a published law."""

    @property
    def label(self) -> str:
        """Name in tables."""

    def recommend(self, target: Target) -> dict[str, float]:
        """Advice: ``learning_rate`` (peak) and ``batch_tokens``; unknown hyperparameters are absent."""

    def optimum_draws(self, target: Target) -> dict[str, Floats] | None:
        """Draws of the optimum under the same keys, shape (draw,) each; None without uncertainty."""

    def loss_draws(self, runs: pd.DataFrame) -> Floats | None:
        """Predictive draws of the runs' loss [nats/token], run noise included, shape (draw, run); or None."""


def r2(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Coefficient of determination, 1 - sum (y - f)^2 / sum (y - mean y)^2; shapes (run,).

    NaN where the observed values do not vary.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), r2([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    (1.0, 0.0)
    """
    f, y = _pair(predicted, observed)
    total = np.sum((y - y.mean()) ** 2)
    return float(1 - np.sum((y - f) ** 2) / total) if total > 0 else float("nan")


def r2_within_cells(predicted: ArrayLike, observed: ArrayLike, cell: ArrayLike) -> float:
    """Mean over cells of R2 after removing each cell's mean offset between prediction and data.

    Judges the shape of the surface, whatever its level. Cells with fewer than three runs or
    with runs that do not vary are left out; NaN where none remains.

    >>> r2_within_cells([11.0, 12.0, 13.0], [1.0, 2.0, 3.0], [0, 0, 0])
    1.0
    """
    f, y = _pair(predicted, observed)
    labels = np.asarray(cell)
    scores = [_centred_r2(f[labels == c], y[labels == c]) for c in np.unique(labels)]
    kept = [s for s in scores if np.isfinite(s)]
    return float(np.mean(kept)) if kept else float("nan")


def _centred_r2(f: Floats, y: Floats) -> float:
    return r2(f + np.mean(y - f), y) if len(y) >= 3 else float("nan")


def mae(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Mean absolute error, in the unit of the data.

    >>> mae([1.0, 2.0], [1.5, 1.0])
    0.75
    """
    f, y = _pair(predicted, observed)
    return float(np.mean(np.abs(f - y)))


def crps(draws: ArrayLike, observed: ArrayLike) -> float:
    """Mean continuous ranked probability score of an ensemble, in the unit of the data; lower is better.

    E|X - y| - E|X - X'| / 2 over distinct draws, unbiased in their number (Gneiting & Raftery 2007; Zamo &
    Naveau 2018), through ``scoringrules`` by probability-weighted moments, linear in memory. With a single
    draw, the absolute error.

    Args:
        draws: shape (draw, run).
        observed: shape (run,).

    >>> crps([[1.0], [3.0]], [2.0])  # 1 - 2 / 2
    0.0
    """
    x, y = _ensemble(draws, observed)
    if len(x) == 1:
        return mae(x[0], y)
    import scoringrules

    return float(np.mean(scoringrules.crps_ensemble(y, x, m_axis=0, estimator="pwm", backend="numpy")))


def coverage(draws: ArrayLike, observed: ArrayLike, level: float) -> float:
    """Share of observed values inside their equal-tailed interval; draws (draw, run), observed (run,).

    >>> coverage(np.arange(101.0)[:, None] * np.ones(3), [50.0, 4.0, 96.0], 0.9)
    0.3333333333333333
    """
    x, y = _ensemble(draws, observed)
    lower, upper = np.quantile(x, ends(level), axis=0)
    return float(np.mean((lower <= y) & (y <= upper)))


def coverage_by_level(
    draws: ArrayLike, observed: ArrayLike, levels: Sequence[float] = LEVELS
) -> dict[float, float]:
    """``coverage`` at each nominal level: equal to its key everywhere when the draws are calibrated."""
    return {float(level): coverage(draws, observed, level) for level in levels}


def pit(draws: ArrayLike, observed: ArrayLike) -> Floats:
    """Probability integral transform: share of draws below each value, ties half; uniform when calibrated.

    Args:
        draws: shape (draw, run).
        observed: shape (run,).

    Returns:
        Shape (run,), in [0, 1].

    >>> [float(p) for p in pit([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]], [2.5, 0.0])]
    [0.5, 0.0]
    """
    x, y = _ensemble(draws, observed)
    return np.mean((x < y) + 0.5 * (x == y), axis=0)


def effective_count(draws: ArrayLike) -> float:
    """Number of independent values that predicted ones are worth: n^2 over the sum of squared correlations.

    Runs of one cell move together, so a coverage of hundreds of runs may rest on two or three numbers. The
    share of squared correlations that so few draws show by chance, 1 / (draws - 1), is taken off.

    Args:
        draws: shape (draw, run).

    >>> together = np.random.default_rng(0).standard_normal((4000, 1)) * np.ones(50)
    >>> effective_count(together).__round__(2)
    1.0
    """
    x = np.asarray(draws, float)
    count, runs = x.shape
    middle, spread = x.mean(axis=0), x.std(axis=0)
    varies = spread > 1e-12 * np.abs(middle)  # not what rounding leaves of a prediction without spread
    z = np.where(varies, x - middle, 0.0) / np.where(varies, spread, 1.0)
    squares = float(np.sum((z @ z.T / count) ** 2)) - runs
    others = max(squares - runs * (runs - 1) / max(count - 1, 1), 0.0)
    return runs**2 / (runs + others)


def joint_pit(draws: ArrayLike, observed: ArrayLike, error: ArrayLike = 0.0) -> float:
    """Probability that all values together lie nearer to their prediction than those observed.

    The squared Mahalanobis distance from the draws' mean, in their covariance and that of the measurement,
    as chi-square. Uniform when calibrated; near 1 the draws are too sure, jointly; near 0 too wide. NaN where
    there are not twice as many draws as values, or some combination of them has no spread.

    Args:
        draws: shape (draw, value).
        observed: shape (value,).
        error: standard deviation of each measurement, shape (value,).

    >>> joint_pit(np.random.default_rng(0).standard_normal((9000, 2)), [0.0, 0.0]).__round__(2)
    0.0
    """
    from scipy.stats import chi2

    x, y = _ensemble(draws, observed)
    if len(x) < 2 * x.shape[1]:
        return float("nan")
    covariance = np.atleast_2d(np.cov(x.T)) + np.diag(np.broadcast_to(error, y.shape) ** 2)
    sd = np.sqrt(np.diag(covariance))
    if not (sd > 1e-12 * np.abs(x.mean(axis=0))).all():
        return float("nan")
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    if values[0] < 1e-12:
        return float("nan")
    off = vectors.T @ ((y - x.mean(axis=0)) / sd)
    return float(chi2.cdf(np.sum(off**2 / values), len(y)))


def _pair(predicted: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    f, y = np.asarray(predicted, float), np.asarray(observed, float)
    if f.shape != y.shape or y.ndim != 1 or y.size == 0:
        raise BadInput(
            f"scoring: predicted has shape {f.shape}, observed {y.shape}; expected two of one shape (run,) "
            "with at least one run; score the runs that were predicted"
        )
    _check_finite("predicted", f)
    _check_finite("observed", y)
    return f, y


def _ensemble(draws: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(draws, float), np.asarray(observed, float)
    if y.ndim != 1 or x.ndim != 2 or x.shape[1] != y.size or x.size == 0:
        raise BadInput(
            f"scoring: draws have shape {x.shape}, observed {y.shape}; expected (draw, run) and (run,), "
            "not empty; transpose the draws or select the same runs"
        )
    _check_finite("draws", x)
    _check_finite("observed", y)
    return x, y


def _check_finite(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise BadInput(
            f"scoring: {int((~np.isfinite(values)).sum())} of {values.size} values of {name} are not finite; "
            "expected numbers; leave out runs without a loss"
        )
