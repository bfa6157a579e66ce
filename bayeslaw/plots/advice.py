"""Excess loss of each learning rate at a target, and at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import loss_curve, predict
from bayeslaw.advice.target_surface import log_lr_at_batch, lr_batch_excess, surface_at
from bayeslaw.errors import BadInput
from bayeslaw.plots.axes import (
    BANDS,
    GREY,
    NEAR,
    ORANGE,
    bands,
    group_name,
    legend_beside,
    new_axis,
    round_ticks,
)
from bayeslaw.plots.surface import cell_runs
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Colour = tuple[float, ...]

REACH = np.log(5.0)
"""Extent of a curve on either side of its optimum [nats]."""


def plot_recommendation(posterior: Posterior, target: Target, ax: Axes | None = None, seed: int = 0) -> Axes:
    """Plot the excess loss of each learning rate at the target's batch: median, 50 and 90% bands, and the
    advice.

    Args:
        posterior: the fit.
        target: the run; without a fixed batch, the recommended one is used.
        ax: axis to draw on; None makes a figure.
        seed: as in ``bayeslaw.advice.prediction.predict``.

    Returns:
        The axis.
    """
    advice = predict(posterior, target, seed=seed).recommendation
    rate, batch = advice["learning_rate"], advice["batch_tokens"]
    at_batch = replace(target, batch_tokens=batch)
    best = predict(posterior, at_batch, seed=seed).optimum["learning_rate"]
    low, high = min(best.lower, rate) / 4, max(best.upper, rate) * 4
    rates = np.geomspace(low, high, 200)
    curve = 100 * loss_curve(posterior, at_batch, rates, seed=seed)
    ax = new_axis(ax)
    bands(ax, rates, curve)
    ax.axvspan(best.lower, best.upper, color=GREY, alpha=0.3, lw=0, label="90% of optima", zorder=0)
    ax.axvline(rate, color=ORANGE, lw=1.5, label=f"recommended: {rate:.2g}")
    ax.set(xscale="log", xlim=(low, high), ylim=(0, 1.4 * curve[2].max()))
    round_ticks(ax.xaxis)
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel(f"loss above its best [%]\nat a batch of {float(f'{batch:.2g}'):,.0f} tokens")
    ax.legend(loc="upper center", ncols=2, fontsize="small", framealpha=0.9, edgecolor="none")
    return ax


def plot_learning_rates(
    posterior: Posterior,
    targets: Sequence[Target],
    runs: pd.DataFrame | None = None,
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    """Plot loss against learning rate at several scales, each at its batch; the optimum with its intervals.

    Args:
        posterior: the fit.
        targets: one curve each, at the fixed or else the recommended batch.
        runs: a run table; finished runs of a target's cell with a batch within ``NEAR`` are dots, off the
            curve by the cost of their other settings.
        ax: axis to draw on; None makes a figure.
        seed: seed of the draws.

    Returns:
        The axis.

    Raises:
        BadInput: no target.
    """
    if not targets:
        raise BadInput("plot_learning_rates: no target; expected at least one; name the cells to show")
    from matplotlib import colormaps

    ax = new_axis(ax, (8.0, 4.8))
    colours = [tuple(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.8, len(targets)))]
    groups = dict.fromkeys(group_name(target) for target in targets)
    best = [
        _curve(ax, posterior, target, colour, len(groups) > 1, seed)
        for target, colour in zip(targets, colours, strict=True)
    ]
    limits = ax.get_ylim()
    rates, losses, batches = zip(*best, strict=True)
    ax.plot(rates, losses, "D--", color="black", lw=1, markersize=4, zorder=4, label="optimum, 50 and 90%")
    if runs is not None:
        _dots(ax, runs, targets, batches, colours)
    ax.set(xscale="log", ylim=limits)
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel("loss [nats/token]")
    round_ticks(ax.xaxis)
    legend_beside(ax, next(iter(groups)) if len(groups) == 1 else "")
    return ax


def _curve(
    ax: Axes, posterior: Posterior, target: Target, colour: Colour, name_group: bool, seed: int
) -> tuple[float, float, float]:
    """One scale; learning rate and loss of its optimum, and its batch."""
    at = surface_at(posterior, target, seed, independent=True)
    batch = target.batch_tokens or decide(at)["batch_tokens"]
    best = log_lr_at_batch(at, np.log(batch))
    rates = np.median(best) + np.linspace(-REACH, REACH, 101)
    draws = at.log_loss[:, None] + lr_batch_excess(at, rates, np.log(batch))
    losses = np.exp(np.median(draws, axis=0))
    x, y = np.exp(np.quantile(best, BANDS)), float(losses[50])
    sizes = (target.params_nonembedding, target.tokens, batch)
    label = ", ".join(f"{name} = {short(size)}" for name, size in zip("NDB", sizes, strict=True))
    label = f"{group_name(target)}: {label}" if name_group else label
    ax.plot(np.exp(rates), losses, color=colour, lw=1.5, label=label)
    ax.plot(x[[0, 4]], [y, y], color="black", lw=1.2, zorder=3)
    ax.plot(x[[1, 3]], [y, y], color="black", lw=3.5, solid_capstyle="butt", zorder=3)
    return float(x[2]), y, float(batch)


def _dots(
    ax: Axes,
    runs: pd.DataFrame,
    targets: Sequence[Target],
    batches: Sequence[float],
    colours: Sequence[Colour],
) -> None:
    for number, (target, batch) in enumerate(zip(targets, batches, strict=True)):
        own = cell_runs(runs, target)
        near = np.abs(np.log(own["batch_tokens"].astype(float) / batch)) < NEAR
        shown = own[near & (own["status"] == "finished")]
        label = "run of about that batch" if number == 0 else "_"
        ax.plot(
            shown["learning_rate"], shown["loss"], "o", color=colours[number], alpha=0.7, markersize=4, mew=0,
            label=label,
        )  # fmt: skip
