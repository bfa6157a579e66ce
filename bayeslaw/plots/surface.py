"""Loss surface of one cell over learning rate and batch, with its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.target_surface import (
    SAME_SIZE,
    Settings,
    TargetSurface,
    log_lr_at_batch,
    lr_batch_excess,
    surface_at,
)
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.plots.axes import BANDS, ORANGE, group_name, legend_above, new_axis, round_ticks
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEVELS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Excess losses [%] that divide the colours; the last colour is everything above."""

POINTS = 60
"""Number of grid points along either axis."""


def plot_surface(
    posterior: Posterior, runs: pd.DataFrame, target: Target, ax: Axes | None = None, seed: int = 0
) -> Axes:
    """Plot the median excess loss of each learning rate and batch in one cell, with the cell's runs.

    Dots are finished runs, in the colour of their measured loss above the cell's predicted best (median of
    the draws): dots vanish where the surface is right. The cost of their other settings is in the dots and
    not in the surface.

    Args:
        posterior: the fit.
        runs: a run table; runs of the target's study, optimizer, N and D are shown.
        target: the cell.
        ax: axis to draw on; None makes a figure.
        seed: seed of the draws.

    Returns:
        The axis.

    Raises:
        BadInput: no run of the table is in the cell.
    """
    own = cell_runs(runs, target)
    if own.empty:
        raise BadInput(
            f"plot_surface: 0 of {len(runs)} runs are of study {target.study}, {target.optimizer}, "
            f"N = {target.params_nonembedding:g}, D = {target.tokens:g}; expected at least one; "
            "name a cell of the run table, its study too"
        )
    at = surface_at(posterior, target, seed, independent=True)
    advice = decide(at)
    rates, batches = _grids(own, advice)
    ax = new_axis(ax, (7.0, 5.2))
    colours = _contours(ax, at, rates, batches)
    _runs(ax, own, float(np.median(at.log_loss)), colours)
    _ridge(ax, at, batches)
    _optimum(ax, at)
    ax.plot(
        advice["learning_rate"], advice["batch_tokens"], "*", color="white", markersize=16,
        markeredgecolor="black", label="recommended", zorder=4,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=rates[[0, -1]], ylim=batches[[0, -1]])
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel("batch [tokens]")
    round_ticks(ax.xaxis)
    round_ticks(ax.yaxis)
    sizes = f"N = {short(target.params_nonembedding)}, D = {short(target.tokens)} tokens"
    legend_above(ax, 2, f"{group_name(target)}, {sizes}")
    return ax


def cell_runs(runs: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Runs of a target's study, optimizer, N and D."""
    same = (runs["study"] == target.study) & (runs["optimizer"] == target.optimizer)
    for name in ("params_nonembedding", "tokens"):
        same &= np.abs(np.log(runs[name].astype(float) / getattr(target, name))) < SAME_SIZE
    return runs[same]


def _grids(own: pd.DataFrame, advice: Settings) -> tuple[Floats, Floats]:
    """Grid of learning rates and batches around runs and advice, with a margin; (POINTS,) each."""
    grids = []
    for name in ("learning_rate", "batch_tokens"):
        low, high = (
            min(own[name].min(), advice[name] / 2) / 1.2,
            max(own[name].max(), advice[name] * 2) * 1.2,
        )
        grids.append(np.geomspace(low, high, POINTS))
    return grids[0], grids[1]


def _contours(ax: Axes, at: TargetSurface, rates: Floats, batches: Floats) -> dict[str, Any]:
    """Fill the plane by the median excess; return the colours, for the dots."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    x, y = np.meshgrid(np.log(rates), np.log(batches))
    excess = np.expm1(np.median(lr_batch_excess(at, x.ravel(), y.ravel()), axis=0))
    colours: dict[str, Any] = {
        "cmap": colormaps["viridis_r"],
        "norm": BoundaryNorm(LEVELS, 256, extend="max"),
    }
    percent = 100 * excess.reshape(x.shape)
    filled = ax.contourf(rates, batches, percent, LEVELS, extend="max", **colours)
    bar = ax.figure.colorbar(filled, ax=ax, label="loss above the predicted best [%]")
    bar.ax.set_yticks(LEVELS, [f"{level:g}" for level in LEVELS])
    ax.contour(rates, batches, percent, LEVELS[1:], colors="white", linewidths=0.5)
    return colours


def _runs(ax: Axes, own: pd.DataFrame, log_best: float, colours: dict[str, Any]) -> None:
    finished = own[own["status"] == "finished"].sort_values("loss", ascending=False)
    ax.scatter(finished["learning_rate"], finished["batch_tokens"], s=62, color="white", lw=0, zorder=2.5)
    excess = 100 * np.expm1(np.log(finished["loss"].to_numpy(float)) - log_best)
    ax.scatter(
        finished["learning_rate"], finished["batch_tokens"], c=np.maximum(excess, 0.0), s=34,
        edgecolor="black", linewidth=0.6, label="run, by its measured loss", zorder=3, **colours,
    )  # fmt: skip
    diverged = own[own["status"] == "diverged"]
    if len(diverged):
        ax.plot(
            diverged["learning_rate"], diverged["batch_tokens"], "X", color="black", markersize=8,
            markeredgecolor="white", label="diverged", zorder=3,
        )  # fmt: skip


def _ridge(ax: Axes, at: TargetSurface, batches: Floats) -> None:
    """Draw the best learning rate at each batch: median and 90% of the draws."""
    rates = [np.quantile(np.exp(log_lr_at_batch(at, np.log(batch))), BANDS) for batch in batches]
    lower, _, middle, _, upper = np.transpose(rates)
    ax.plot(middle, batches, color="black", lw=1.2, label="best rate at each batch")
    for edge, label in ((lower, "its 90% interval"), (upper, "_")):
        ax.plot(edge, batches, color="black", lw=1, ls=":", label=label)


def _optimum(ax: Axes, at: TargetSurface) -> None:
    """Draw the optimum: median, thick 50% and thin 90% intervals of either coordinate."""
    x, y = (np.quantile(np.exp(draws), BANDS) for draws in (at.log_lr, at.log_batch))
    for first, last, width in ((0, 4, 1.2), (1, 3, 3.5)):
        ax.plot(x[[first, last]], [y[2], y[2]], color=ORANGE, lw=width, zorder=5)
        ax.plot([x[2], x[2]], y[[first, last]], color=ORANGE, lw=width, zorder=5)
    ax.plot(
        [], [], "+", color=ORANGE, markersize=10, markeredgewidth=2, label="optimum, 50 and 90% intervals"
    )
