"""Smoothed loss surface of a cell (study, optimizer, N, D), which judges advice.

The best run of a grid is a noisy optimum: on the public Step Law sweep the runs near a cell's minimum
scatter by about 0.1% of the loss around any smooth surface, as much as careful methods differ. Advice is
therefore judged against a surface fitted to the whole neighbourhood of the minimum:

* rows that finished, within 10% of the cell's lowest loss;
* ln loss as a full cubic in (ln learning rate, ln batch), a quadratic when rows are few;
* weights 1 / (1 + excess / 1%)^2, so that the basin decides, and Huber weights against outliers.

Reasons for this surface (measured on 17 Step Law and 41 ScaleBench cells, per mille of the loss;
"leave-one-out" is the error at rows within 1% of the minimum; "halves" fits two random halves of each cell
and compares the cost of one half's optimum on the other half's surface, and the distance of the two minima):

======================  =============  =============  ==============
surface, window         leave-one-out  halves: cost   halves: minima
======================  =============  =============  ==============
quadratic, 3%           1.72 / 1.66    0.22 / 0.19    0.90 / 1.35
quadratic, 10%          2.34 / 2.07    0.19 / 0.17    1.11 / 1.46
cubic, 3%               1.13 / 1.17    0.17 / 0.49    0.64 / 1.86
cubic, 10% (chosen)     1.30 / 1.33    0.14 / 0.25    0.72 / 1.15
quartic, 3%             0.93 / 1.03    0.39 / 3.22    1.41 / 12.1
quartic, 10%            1.00 / 1.06    0.21 / 1.14    0.94 / 3.45
Gaussian process, 3%    1.05 / 1.14
======================  =============  =============  ==============

The quartic predicts a left-out row best, but its minimum moves most when the rows change, and regret is
measured from the minimum. Without the weights and the Huber step the cubic's error is 2.19 / 2.15.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.hull import average_repeats, in_hull, interpolate, nearest_in_hull
from bayeslaw.runs.cells import comparable_runs, finished_runs, group_cells
from bayeslaw.target import Cell

WINDOW = 0.10  # ln loss above the cell's lowest: the rows the surface is fitted to
CORE = 0.03  # ln loss: the surface holds inside the hull of these rows, outside it the rows themselves
WEIGHT_SCALE = 0.01  # ln loss
HUBER = 1.345  # residual sds; 95% efficient for normal errors (Huber 1964)
MIN_ROWS = {3: 20, 2: 9}  # degree of the 2-D surface: rows it needs (2 and 1.5 times its coefficients)
MIN_SPARE = 3  # rows beyond the coefficients that an estimate of their scatter needs
MIN_RATES = 4  # a parabola and one more
EDGE = "the loss still falls at the edge of the sweep"


@dataclass(frozen=True)
class SmoothedCell:
    """Smoothed minimum of one cell, and the price of missing it.

    Attributes:
        key: the cell.
        n: number of rows that the surface was fitted to.
        scorable: whether regret is meaningful; if False, ``note`` says why.
        note: caveat for readers of the numbers, or empty.
        axis: ``both``, or ``learning_rate`` if the runs do not cover a plane and only the learning rate is
            judged,
            at ``batch_tokens``: ask the advisor for that batch.
        learning_rate: peak learning rate at the smoothed minimum.
        batch_tokens: batch at the smoothed minimum [tokens].
        loss: smoothed minimum [nats/token].
        noise: leave-one-out error of ln loss at rows within 1% of the minimum (0.001 is 0.1% of the loss);
            NaN with fewer than three spare rows.
    """

    key: Cell
    n: int
    scorable: bool
    note: str
    axis: str = "both"
    learning_rate: float = np.nan
    batch_tokens: float = np.nan
    loss: float = np.nan
    noise: float = np.nan
    _surface: _Surface | _Curve | None = field(default=None, repr=False, compare=False)

    def regret(self, learning_rate: ArrayLike, batch_tokens: ArrayLike) -> Floats:
        """Excess over the smoothed minimum [fraction of the minimum], shape (advice,).

        exp(s(x) - s_min) - 1, never below 0. Beyond the runs it is the value at their nearest edge,
        a lower bound where the rate alone lies beyond: see ``inside``. NaN in a cell without a surface.
        """
        points = self._points(learning_rate, batch_tokens)
        if self._surface is None:
            return np.full(len(points), np.nan)
        excess = self._surface.value(points) - np.log(self.loss)
        return np.expm1(np.maximum(excess, 0.0))

    def inside(self, learning_rate: ArrayLike, batch_tokens: ArrayLike) -> NDArray[np.bool_]:
        """Whether runs surround the advice, so that its regret is not a mere bound; shape (advice,)."""
        points = self._points(learning_rate, batch_tokens)
        if self._surface is None:
            return np.zeros(len(points), bool)
        return self._surface.inside(points)

    def _points(self, learning_rate: ArrayLike, batch_tokens: ArrayLike) -> Floats:
        pair = np.broadcast_arrays(np.asarray(learning_rate, float), np.asarray(batch_tokens, float))
        points = np.column_stack([np.atleast_1d(x) for x in pair])
        if not np.all(np.isfinite(points) & (points > 0)):
            raise BadInput(
                f"regret: learning_rate, batch_tokens = {points.tolist()}; expected finite numbers above 0; "
                "give a peak learning rate and a batch in tokens"
            )
        return np.log(points)


def smooth_cell(key: Cell, rows: pd.DataFrame) -> SmoothedCell:
    """Fit the surface to one cell's runs; says so in the result where the runs do not allow it.

    Args:
        key: the cell.
        rows: its runs; unfinished runs are ignored.

    Returns:
        The smoothed cell: over both hyperparameters if the runs cover a plane, else along the learning rate
            at
        one batch, else not scorable.
    """
    kept = comparable_runs(finished_runs(rows))
    if len(kept) == 0:
        return SmoothedCell(key, 0, False, "no finished run")
    ln_loss = np.log(kept["loss"].to_numpy(float))
    points = np.log(kept[["learning_rate", "batch_tokens"]].to_numpy(float))
    near = ln_loss - ln_loss.min() < WINDOW
    degree = next((d for d, need in MIN_ROWS.items() if _supports(points[near], d, need)), 0)
    if degree:
        return _smooth_plane(key, points, ln_loss, near, degree)
    return _smooth_line(key, points, ln_loss)


def smooth_cells(runs: pd.DataFrame) -> list[SmoothedCell]:
    """Apply ``smooth_cell`` to every cell of a run table."""
    return [smooth_cell(key, rows) for key, rows in group_cells(runs)]


# --------------------------------------------------------------------------- the surface over both


class _Surface:
    """ln loss anywhere: a polynomial in the core, the rows around it, and their edge beyond."""

    def __init__(self, points: Floats, ln_loss: Floats, core: Floats, poly: _Poly):
        self.data, self.ln_loss = average_repeats(points, ln_loss)
        self.core, self.poly = core, poly

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        return in_hull(self.data, points)

    def value(self, points: Floats) -> Floats:
        points = np.where(self.inside(points)[:, None], points, nearest_in_hull(self.data, points))
        return np.where(
            in_hull(self.core, points), self.poly(points), interpolate(self.data, self.ln_loss, points)
        )


class _Poly(NamedTuple):
    """A polynomial of total degree ``degree`` around ``centre``; columns of points may be one or two."""

    centre: Floats
    degree: int
    coefs: Floats

    def __call__(self, points: Floats) -> Floats:
        return _monomials(points - self.centre, self.degree) @ self.coefs


def _monomials(x: Floats, degree: int) -> Floats:
    if x.shape[1] == 1:
        return x ** np.arange(degree + 1)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.column_stack([x[:, 0] ** i * x[:, 1] ** j for i, j in powers])


def _supports(points: Floats, degree: int, need: int) -> bool:
    """Whether a plane polynomial is determined: enough rows, not on a line or a cross."""
    if len(points) < need:
        return False
    spread = points.std(axis=0)
    if spread.min() == 0:
        return False
    basis = _monomials((points - points.mean(axis=0)) / spread, degree)
    return bool(np.linalg.matrix_rank(basis, tol=1e-6 * np.sqrt(len(points))) == basis.shape[1])


def _robust_fit(points: Floats, ln_loss: Floats, degree: int) -> tuple[_Poly, float]:
    """Weighted Huber polynomial by iterated least squares, and its leave-one-out error near the minimum."""
    excess = ln_loss - ln_loss.min()
    centre = points.mean(axis=0)
    basis = _monomials(points - centre, degree)
    base = 1 / (1 + excess / WEIGHT_SCALE) ** 2
    weight = base
    for _ in range(30):
        root = np.sqrt(weight)
        coefs = np.linalg.lstsq(basis * root[:, None], ln_loss * root, rcond=None)[0]
        residual = np.abs(ln_loss - basis @ coefs) * np.sqrt(base)
        scale = 1.4826 * np.median(residual) + 1e-9
        weight = base * np.minimum(1.0, HUBER * scale / np.maximum(residual, 1e-12))
    if len(points) < basis.shape[1] + MIN_SPARE:
        return _Poly(centre, degree, coefs), np.nan
    basis_root = basis * root[:, None]
    leverage = np.sum(np.linalg.qr(basis_root)[0] ** 2, axis=1)
    held_out = (ln_loss - basis @ coefs) / np.maximum(1 - leverage, 1e-3)
    noise = float(np.sqrt(np.mean(held_out[excess < 0.01] ** 2)))
    return _Poly(centre, degree, coefs), noise


def _smooth_plane(
    key: Cell, points: Floats, ln_loss: Floats, near: NDArray[np.bool_], degree: int
) -> SmoothedCell:
    poly, noise = _robust_fit(points[near], ln_loss[near], degree)
    core = points[ln_loss - ln_loss.min() < CORE]
    if np.linalg.matrix_rank(core - core.mean(axis=0), tol=1e-6) < 2:
        core = points[near]
    surface = _Surface(points, ln_loss, core, poly)
    optimum = _minimum(poly, core)
    note = "" if _surrounded(points, optimum) else EDGE
    return SmoothedCell(
        key,
        int(near.sum()),
        not note,
        note,
        "both",
        float(np.exp(optimum[0])),
        float(np.exp(optimum[1])),
        float(np.exp(poly(optimum[None])[0])),
        noise,
        surface,
    )


def _minimum(poly: _Poly, core: Floats) -> Floats:
    """Lowest point of the polynomial inside the core's hull: a grid, then three finer ones around it."""
    lower, upper = core.min(axis=0), core.max(axis=0)
    best = core[np.argmin(poly(core))]
    for _ in range(4):
        axes = [np.linspace(a, b, 41) for a, b in zip(lower, upper, strict=True)]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, core.shape[1])
        grid = np.vstack([best, grid[in_hull(core, grid)]])
        best = grid[np.argmin(poly(grid))]
        step = (upper - lower) / 20
        lower, upper = best - step, best + step
    return best


def _surrounded(points: Floats, optimum: Floats, margin: float = 0.03) -> bool:
    """Whether runs lie beyond the optimum in every direction, by a margin of the range tried."""
    reach = margin * (points.max(axis=0) - points.min(axis=0))
    steps = np.vstack([np.diag(reach), -np.diag(reach)])
    return bool(in_hull(points, optimum + steps).all())


# ------------------------------------------------------------------------------- learning rate only


def _smooth_line(key: Cell, points: Floats, ln_loss: Floats) -> SmoothedCell:
    """The curve along the learning rate at the batch with most learning rates near the best loss."""
    batches = np.round(points[:, 1], 3)
    near_all = ln_loss - ln_loss.min() < WINDOW
    tried = {b: len(np.unique(np.round(points[near_all & (batches == b), 0], 3))) for b in np.unique(batches)}
    batch, rates = max(tried.items(), key=lambda item: item[1])
    mine = batches == batch
    line, values = points[mine], ln_loss[mine]
    near = values - values.min() < WINDOW
    axis = "learning_rate"
    if rates < MIN_RATES:
        note = (
            f"at most {rates} learning rates share a batch within {WINDOW:.0%} of the best loss; "
            f"scoring needs {MIN_RATES}"
        )
        return SmoothedCell(key, int(near.sum()), False, note, axis)
    rate = line[near][:, [0]]
    poly, noise = _robust_fit(rate, values[near], 3 if rates >= 7 else 2)
    optimum = _minimum(poly, rate)
    edge = not _surrounded(line[:, [0]], optimum)
    return SmoothedCell(
        key,
        int(near.sum()),
        not edge,
        EDGE if edge else "scored along the learning rate only, at the batch of these runs",
        axis,
        float(np.exp(optimum[0])),
        float(np.exp(line[0, 1])),
        float(np.exp(poly(optimum[None])[0])),
        noise,
        _Curve(line, values, poly),
    )


class _Curve:
    """ln loss along the learning rate; the batch must stay at the value the runs share (within 5%)."""

    def __init__(self, line: Floats, values: Floats, poly: _Poly):
        self.data, self.ln_loss = average_repeats(line[:, [0]], values)
        self.poly, self.batch = poly, line[0, 1]
        self.core = self.data[self.ln_loss - self.ln_loss.min() < WINDOW]

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        on_line = np.abs(points[:, 1] - self.batch) < 0.05
        return on_line & in_hull(self.data, points[:, [0]])

    def value(self, points: Floats) -> Floats:
        x = np.clip(points[:, [0]], self.data.min(), self.data.max())
        return np.where(in_hull(self.core, x), self.poly(x), interpolate(self.data, self.ln_loss, x))
