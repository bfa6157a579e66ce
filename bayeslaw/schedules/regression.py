"""A regression of loss and of divergence on a few numbers of the whole schedule.

In the spirit of Opt-Laws (arXiv 2409.04777), which regresses both on features of "convergence" and "escape"
whose formulas are not published; the ones here are ours. What a schedule gains by is X1 over the peak rate,
what it loses by is the peak rate times X2 (``theory.schedule_bounds``), and what makes it diverge is how high
the rate is and how fast it rises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative
from bayeslaw.theory.schedule_bounds import schedule_scalars

WIDE = 2.5
"""Prior standard deviation of the coefficient of a column of standard deviation 1 (Gelman et al. 2008)."""

DRAWS = 400


class Numbers(NamedTuple):
    """Natural logarithms of what the regression knows of schedules, each of shape (schedule,).

    Attributes:
        distance: X1 over the peak rate.
        noise: peak rate times X2.
        peak: peak rate.
        rise: largest rise of the rate within a step, the first from 0.
    """

    distance: Floats
    noise: Floats
    peak: Floats
    rise: Floats


def schedule_numbers(schedules: Iterable[ArrayLike]) -> Numbers:
    """What the regression knows of whole schedules, given as the rates at each step.

    Raises:
        BadInput: a schedule without rates, with rates that are negative or not finite, or all 0.

    >>> n = schedule_numbers([[0.5, 1.0, 1.0]])
    >>> float(n.peak[0]), round(float(np.exp(n.rise[0])), 6)
    (0.0, 0.5)
    """
    rows = []
    for each in schedules:
        rates = not_negative("schedule", "learning_rates", each)
        x = schedule_scalars(rates)
        rows.append([x.distance, x.noise, rates.max(), np.diff(rates, prepend=0.0).max()])
    return Numbers(*np.log(np.array(rows, float)).T)


class Regression(NamedTuple):
    """Draws of two regressions on standardised columns.

    Attributes:
        loss: coefficients of ln loss, shape (draw, column).
        divergence: coefficients of the log odds to diverge, shape (draw, column).
        noise: standard deviation of ln loss about the regression.
        numbers: those that were fitted, whose means and deviations standardise others.
    """

    loss: Floats
    divergence: Floats
    noise: float
    numbers: Numbers

    def loss_draws(self, schedules: Iterable[ArrayLike]) -> Floats:
        """Losses [unit of those fitted] if they do not diverge, without a run's noise, (draw, schedule)."""
        return np.exp(self.loss @ _of_loss(schedule_numbers(schedules), self.numbers).T)

    def divergence_probability(self, schedules: Iterable[ArrayLike]) -> Floats:
        """Probability to diverge, shape (schedule,)."""
        from scipy.special import expit

        odds = self.divergence @ _of_divergence(schedule_numbers(schedules), self.numbers).T
        return np.asarray(np.mean(expit(odds), axis=0))


def fit_regression(
    schedules: Iterable[ArrayLike], losses: ArrayLike, seed: int = 0, draws: int = DRAWS
) -> Regression:
    """Fit both regressions; coefficients have normal priors of standard deviation ``WIDE``.

    ln loss is linear in ln distance, and quadratic in ln noise, which has an optimum. Its posterior is
    Gaussian given the noise, which is that of the residuals. The log odds to diverge are linear in the
    logarithms of the peak and of the fastest rise; their posterior is its Gaussian approximation.

    Args:
        schedules: rates at each step, shape (steps,) each.
        losses: shape (schedule,), NaN where the run diverged.
        seed: of the draws.
        draws: how many.

    Raises:
        BadInput: losses that are not as many as schedules, or too few of them finite.
    """
    numbers, observed = schedule_numbers(schedules), np.asarray(losses, float)
    finished = np.isfinite(observed)
    if observed.shape != numbers.peak.shape:
        raise BadInput(
            f"schedule regression: {observed.size} losses of {len(numbers.peak)} schedules; expected as "
            "many; give one loss per schedule, NaN where it diverged"
        )
    columns = _of_loss(numbers, numbers)
    if finished.sum() <= columns.shape[1]:
        raise BadInput(
            f"schedule regression: {finished.sum()} finished runs; expected more than the {columns.shape[1]} "
            "coefficients; give more runs"
        )
    rng = np.random.default_rng(seed)
    loss, noise = _linear(columns[finished], np.log(observed[finished]), rng, draws)
    diverged = _logistic(_of_divergence(numbers, numbers), ~finished, rng, draws)
    return Regression(loss, diverged, noise, numbers)


def _standard(value: Floats, among: Floats) -> Floats:
    return np.asarray((value - among.mean()) / (among.std() or 1.0))


def _of_loss(n: Numbers, among: Numbers) -> Floats:
    distance, noise = _standard(n.distance, among.distance), _standard(n.noise, among.noise)
    return np.column_stack([np.ones_like(distance), distance, noise, noise**2, distance * noise])


def _of_divergence(n: Numbers, among: Numbers) -> Floats:
    peak, rise = _standard(n.peak, among.peak), _standard(n.rise, among.rise)
    return np.column_stack([np.ones_like(peak), peak, rise])


def _linear(columns: Floats, y: Floats, rng: np.random.Generator, draws: int) -> tuple[Floats, float]:
    """Draws of the coefficients, (draw, column), and the noise."""
    best, *_ = np.linalg.lstsq(columns, y, rcond=None)
    left = y - columns @ best
    noise = float(np.sqrt(left @ left / (len(y) - columns.shape[1])))
    information = columns.T @ columns / noise**2 + np.eye(columns.shape[1]) / WIDE**2
    mean = np.linalg.solve(information, columns.T @ y / noise**2)
    return rng.multivariate_normal(mean, np.linalg.inv(information), draws), noise


def _logistic(columns: Floats, happened: np.ndarray, rng: np.random.Generator, draws: int) -> Floats:
    """Draws of the coefficients of the log odds, (draw, column)."""
    from scipy.optimize import minimize
    from scipy.special import expit

    sign = np.where(happened, 1.0, -1.0)

    def energy(w: Floats) -> tuple[float, Floats]:
        miss = expit(-sign * (columns @ w))
        value = np.logaddexp(0.0, -sign * (columns @ w)).sum() + 0.5 * w @ w / WIDE**2
        return float(value), w / WIDE**2 - columns.T @ (sign * miss)

    w = minimize(energy, np.zeros(columns.shape[1]), jac=True, method="BFGS").x
    chance = expit(columns @ w)
    information = (columns.T * (chance * (1.0 - chance))) @ columns + np.eye(len(w)) / WIDE**2
    return rng.multivariate_normal(w, np.linalg.inv(information), draws)
