"""Figures: each function draws on one matplotlib axis and returns it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from bayeslaw.atomic import written_whole
from bayeslaw.errors import BadInput
from bayeslaw.posterior import Floats, Posterior
from bayeslaw.predict import loss_curve, predict
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe & Ito (2008), distinguishable under the common colour-vision deficiencies.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
OKABE_ITO = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

REPLAYED = {
    "regret": ("regret of the advice [% of the loss]", 100.0, "log"),
    "announced": ("regret announced [% of the loss]", 100.0, "log"),
    "width": ("90% interval of the optimum [nats]", 1.0, "log"),
    "r2": ("R2 of the losses at the target", 1.0, "linear"),
    "coverage": ("losses inside 90% intervals [%]", 100.0, "linear"),
}
"""Metrics of a replay: label, factor and scale of its axis."""


def plot_reliability(result: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Share of held-out runs inside their intervals, against the level the intervals promise.

    The band holds 95% of the shares that a calibrated advisor would show with as many independent runs.
    Runs of one cell share its level error, so honest shares stray further than the band.

    Args:
        result: of ``bayeslaw.evaluate.evaluate``.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: where the advisor predicts no loss.
    """
    runs = result["runs"]
    if "coverage_by_level" not in runs:
        raise BadInput(
            f"plot_reliability: {result.get('advisor', 'the advisor')} predicts no loss; "
            "expected the result of an advisor with loss_draws; plot a fitted posterior"
        )
    ax = _axis(ax)
    nominal = np.array([float(level) for level in runs["coverage_by_level"]])
    shares = np.array(list(runs["coverage_by_level"].values()))
    grid = np.linspace(0, 1, 101)
    lower, upper = (stats.binom.ppf(q, runs["n"], grid) / runs["n"] for q in (0.025, 0.975))
    ax.fill_between(grid, lower, upper, color=GREY, alpha=0.3, lw=0, label="95% if calibrated")
    ax.plot([0, 1], [0, 1], color=GREY, lw=1)
    ax.plot(nominal, shares, "o-", color=BLUE, label=result.get("advisor", "advisor"))
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("nominal level of the interval")
    ax.set_ylabel(f"share of {runs['n']} runs inside")
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_regret(result: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Regret of each scorable cell [percent], largest last; hollow where it is only a lower bound.

    Args:
        result: of ``bayeslaw.evaluate.evaluate``.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: where no cell could be scored.
    """
    cells = sorted((c for c in result["cells"] if c["scorable"]), key=lambda c: c["regret"])
    if not cells:
        raise BadInput(
            "plot_regret: no scorable cell; expected at least one; read the notes of result['cells']"
        )
    ax = _axis(ax)
    for row, cell in enumerate(cells):
        face = "none" if cell["beyond_runs"] else ORANGE
        ax.plot(100 * cell["regret"], row, "o", color=ORANGE, markerfacecolor=face)
    ax.set_yticks(
        range(len(cells)), [f"{c['optimizer']} {c['params']:.2g} x {c['tokens']:.2g}" for c in cells]
    )
    ax.set_xlim(left=0)
    ax.set_xlabel("loss above the cell's smoothed minimum [%]")
    return ax


def plot_recommendation(posterior: Posterior, target: Target, ax: Axes | None = None, seed: int = 0) -> Axes:
    """Loss lost by each learning rate at the target's batch: median, 50 and 90% bands, and the advice.

    Args:
        posterior: the fit.
        target: the run; without a fixed batch, the recommended one is used.
        ax: where to draw; None makes a figure.
        seed: as in ``bayeslaw.predict.predict``.

    Returns:
        The axis.
    """
    advice = predict(posterior, target, seed=seed)["recommendation"]
    rate, batch = advice["learning_rate"], advice["batch_tokens"]
    at_batch = replace(target, batch_tokens=batch)
    best = predict(posterior, at_batch, seed=seed)["optimum"]["learning_rate"]
    low, high = min(best["lower"], rate) / 4, max(best["upper"], rate) * 4
    rates = np.geomspace(low, high, 200)
    curve = 100 * loss_curve(posterior, at_batch, rates, seed=seed)
    ax = _axis(ax)
    ax.fill_between(rates, curve[0], curve[4], color=BLUE, alpha=0.15, lw=0, label="90% of draws")
    ax.fill_between(rates, curve[1], curve[3], color=BLUE, alpha=0.3, lw=0, label="50% of draws")
    ax.plot(rates, curve[2], color=BLUE, lw=1.5, label="median")
    ax.axvspan(best["lower"], best["upper"], color=GREY, alpha=0.3, lw=0, label="90% of optima", zorder=0)
    ax.axvline(rate, color=ORANGE, lw=1.5, label=f"recommended: {rate:.2g}")
    ax.set(xscale="log", xlim=(low, high), ylim=(0, 1.4 * curve[2].max()))
    _round_ticks(ax.xaxis)
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel(f"loss above its best [%]\nat a batch of {float(f'{batch:.2g}'):,.0f} tokens")
    ax.legend(loc="upper center", ncols=2, fontsize="small", framealpha=0.9, edgecolor="none")
    return ax


def plot_candidates(
    candidates: pd.DataFrame,
    reductions: Floats,
    rows: Sequence[int],
    unit: str = "FLOP",
    ax: Axes | None = None,
) -> Axes:
    """Where the candidates of a design lie: learning rate and cost, coloured by what one run alone would buy.

    Args:
        candidates: with ``learning_rate`` and ``cost``.
        reductions: of the expected regret by each candidate alone [fraction of the loss], (candidate,); NaN
            where the budget does not reach.
        rows: the chosen ones, in order; ringed and numbered.
        unit: of the cost.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axis(ax)
    rate, cost = (candidates[name].to_numpy(float) for name in ("learning_rate", "cost"))
    known = np.isfinite(reductions)
    ax.plot(rate[~known], cost[~known], ".", color=GREY, alpha=0.4, markersize=3, zorder=0)
    dots = ax.scatter(rate[known], cost[known], c=100 * reductions[known], cmap="viridis", s=8)
    ax.figure.colorbar(dots, ax=ax, label="expected fall of the regret\nby one run alone [% of the loss]")
    ax.plot(rate[list(rows)], cost[list(rows)], "o", color=ORANGE, markerfacecolor="none", markersize=9)
    for number, row in enumerate(rows, start=1):
        ax.annotate(str(number), (rate[row], cost[row]), xytext=(5, 5), textcoords="offset points")
    ax.set(xscale="log", yscale="log")
    if rate.max() < 30 * rate.min():
        _round_ticks(ax.xaxis)
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel(f"cost of the run [{unit}]")
    return ax


def plot_replay(
    curves: dict[str, list[dict[str, Any]]], metric: str, unit: str = "FLOP", ax: Axes | None = None
) -> Axes:
    """A metric of a replay against the budget: medians over seeds, and bands of 80% of the seeds, by policy.

    Args:
        curves: of ``bayeslaw.replays.curves``.
        metric: a key of ``REPLAYED``.
        unit: of the budget.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: for an unknown metric, or one that no policy has.
    """
    known = {
        policy: [entry for entry in entries if entry.get(metric) is not None]
        for policy, entries in curves.items()
    }
    if metric not in REPLAYED or not any(known.values()):
        raise BadInput(
            f"plot_replay: no {metric} in the replay; expected one of {', '.join(REPLAYED)}; name another"
        )
    label, factor, scale = REPLAYED[metric]
    ax = _axis(ax)
    for (policy, entries), colour in zip(known.items(), itertools.cycle(OKABE_ITO)):
        budget = [entry["budget"] for entry in entries]
        lower, median, upper = (
            factor * np.array([entry[metric][end] for entry in entries])
            for end in ("lower", "median", "upper")
        )
        ax.fill_between(budget, lower, upper, color=colour, alpha=0.15, lw=0)
        ax.plot(budget, median, "o-", color=colour, markersize=4, label=policy)
    if metric == "coverage":
        ax.axhline(90, color=GREY, lw=1, zorder=0)
    ax.set(xscale="log", yscale=scale)
    ax.set_xlabel(f"budget [{unit}]")
    ax.set_ylabel(label)
    ax.legend(frameon=False, fontsize="small")
    return ax


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; its kind follows the suffix.

    Raises:
        BadInput: for a suffix matplotlib cannot write, or a place that cannot be written.
    """
    kinds = sorted(figure.canvas.get_supported_filetypes())
    kind = path.suffix.lower().removeprefix(".")
    if kind not in kinds:
        raise BadInput(f"{path}: unknown kind of figure; expected one of .{', .'.join(kinds)}; use .png")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=150)


def _round_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of each decade, in figures and not in powers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axis.set_minor_formatter(NullFormatter())


def _axis(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]
