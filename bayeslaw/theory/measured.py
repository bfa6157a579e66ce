"""How the best learning rate moves with batch, momentum and size in a finished sweep.

A robust fit of a small model, one optimizer at a time, to set beside what theory predicts. It has no priors
and no pooling; ``bayeslaw fit`` has both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative, positive

TYPICAL = 0.01
"""Of residuals in ln loss: larger ones count less."""


@dataclass(frozen=True)
class Slopes:
    """Exponents of the best learning rate.

    Attributes:
        mean: name -> d ln eta* / d ln x, the others held.
        error: name -> standard error, of the linearised robust fit.
        runs: how many were used.
        typical_residual: median of |residual| in ln loss.
    """

    mean: dict[str, float]
    error: dict[str, float]
    runs: int
    typical_residual: float


def measure_slopes(
    learning_rates: ArrayLike,
    settings: Mapping[str, ArrayLike],
    sizes: Mapping[str, ArrayLike],
    losses: ArrayLike,
    cells: Sequence[object] | NDArray[np.generic],
    within: float = 0.2,
) -> Slopes:
    """Exponents of the best learning rate in settings and sizes, from runs of one optimizer.

    ln loss = level of the cell + bowl in the distance u to the best learning rate + bowl in each setting;
    ln eta* is linear in the logarithms of settings and sizes. The bowl is k u^2 above the best rate and turns
    into a line below it; k, the turn and the other bowls are fitted too. Least squares, residuals beyond
    ``TYPICAL`` counted less (soft L1).

    Args:
        learning_rates: peak, shape (run,).
        settings: name -> what is chosen beside it, such as batch and 1 - momentum, shape (run,). Each has an
            optimum of its own.
        sizes: name -> N or D, shape (run,): fixed within a cell.
        losses: [nats/token], shape (run,); finished runs only.
        cells: label of each run's cell, shape (run,).
        within: runs are used whose ln loss is at most so far above their cell's best.

    Returns:
        Exponents by the names of settings and sizes.

    Raises:
        BadInput: arrays of unequal length, values that are not above 0, or fewer runs than parameters.
    """
    from scipy.optimize import least_squares

    if len(cells) == 0:
        raise BadInput("measure_slopes: no runs; expected the finished runs of one optimizer; give some")
    names = [*settings, *sizes]
    columns = {"learning_rates": learning_rates, **settings, **sizes, "losses": losses}
    logs = _logarithms(columns, len(cells))
    _, cell = np.unique(np.asarray(cells).astype(str), return_inverse=True)
    near = _near(logs[:, -1], cell, float(not_negative("measure_slopes", "within", within)))
    _, cell = np.unique(cell[near], return_inverse=True)
    rate, known, loss = logs[near, 0], logs[near, 1:-1], logs[near, -1]
    free = cell.max() + 4 + len(names) + 2 * len(settings)
    if near.sum() <= free:
        raise BadInput(
            f"measure_slopes: {near.sum()} runs within {within:g} of their cell's best; expected more than "
            f"{free}, the number of parameters; raise within, or give more runs"
        )
    rate, known = rate - rate.mean(), known - known.mean(axis=0)
    start = _start(loss, cell, len(names), len(settings))
    bounds = _bounds(len(start), known[:, : len(settings)])
    arguments = (rate, known, loss, cell, len(settings))
    exact = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-12)  # so that printed digits are the same everywhere
    found = least_squares(
        _residuals, start, args=arguments, bounds=bounds, loss="soft_l1", f_scale=TYPICAL, **exact
    )
    error = _standard_errors(found.jac, found.cost, len(loss))
    place = slice(cell.max() + 2, cell.max() + 2 + len(names))
    return Slopes(
        dict(zip(names, found.x[place].tolist(), strict=True)),
        dict(zip(names, error[place].tolist(), strict=True)),
        len(loss),
        float(np.median(np.abs(found.fun))),
    )


def _logarithms(columns: Mapping[str, ArrayLike], count: int) -> Floats:
    """Shape (run, column)."""
    logs = []
    for name, values in columns.items():
        array = positive("measure_slopes", name, values)
        if array.shape != (count,):
            raise BadInput(
                f"measure_slopes: {name} of shape {array.shape}; expected ({count},), as many as there are "
                "labels of cells; give one value a run"
            )
        logs.append(np.log(array))
    return np.stack(logs, axis=1)


def _near(loss: Floats, cell: NDArray[np.intp], within: float) -> NDArray[np.bool_]:
    """Which runs are near the best of their cell."""
    best = np.full(cell.max() + 1, np.inf)
    np.minimum.at(best, cell, loss)
    return np.asarray(loss <= best[cell] + within)


def _start(loss: Floats, cell: NDArray[np.intp], names: int, settings: int) -> Floats:
    """Levels, ln eta* at the mean, its slopes, centres and ln curvatures of the bowls, ln k, ln turn."""
    levels = [loss[cell == each].min() for each in range(cell.max() + 1)]
    bowls = [*np.zeros(settings), *np.full(settings, np.log(0.003))]
    return np.array([*levels, 0.0, *np.zeros(names), *bowls, np.log(0.02), np.log(0.3)])


def _bounds(count: int, settings: Floats) -> tuple[Floats, Floats]:
    """Ends for what runs may leave undecided: centres lie among the runs, curvatures are finite."""
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    number = settings.shape[1]
    centres, curvatures = slice(count - 2 - 2 * number, count - 2 - number), slice(count - 2 - number, count)
    low[centres], high[centres] = settings.min(axis=0) - 1e-3, settings.max(axis=0) + 1e-3
    low[curvatures], high[curvatures] = np.log(1e-6), np.log(10.0)
    return low, high


def _residuals(
    x: Floats, rate: Floats, known: Floats, loss: Floats, cell: NDArray[np.intp], settings: int
) -> Floats:
    levels = cell.max() + 1
    slopes = x[levels + 1 : levels + 1 + known.shape[1]]
    rest = x[levels + 1 + known.shape[1] :]
    centres, curvatures, (log_k, log_turn) = rest[:settings], rest[settings:-2], rest[-2:]
    u = rate - x[levels] - known @ slopes
    below = 2 * u**2 / (1 + np.sqrt(1 + (np.exp(log_turn) * u) ** 2))  # u^2 near 0, a line far off
    bowl = np.exp(log_k) * np.where(u < 0, below, u**2)
    others = (known[:, :settings] - centres) ** 2 @ np.exp(curvatures)
    return np.asarray(x[cell] + bowl + others - loss)


def _standard_errors(jacobian: Floats, cost: float, count: int) -> Floats:
    spread = 2 * cost / (count - jacobian.shape[1])
    return np.asarray(np.sqrt(np.diag(np.linalg.pinv(jacobian.T @ jacobian) * spread)))
