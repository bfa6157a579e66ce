"""Candidates of a design, and comparisons of policies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.plots.axes import (
    GREY,
    OKABE_ITO,
    ORANGE,
    figures,
    new_axis,
    round_ticks,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REPLAYED = {
    "regret": ("regret of the advice [% of the loss]", 100.0, "log"),
    "announced": ("regret announced [% of the loss]", 100.0, "log"),
    "width": ("90% interval of the optimum [nats]", 1.0, "log"),
    "r2": ("R2 of the losses at the target", 1.0, "linear"),
    "coverage": ("losses inside 90% intervals [%]", 100.0, "linear"),
}
"""Metrics of a replay: label, factor and scale of its axis."""

PANELS = ("regret", "width", "r2", "coverage")
"""Metrics of ``replay_figure``, in the order of its panels."""

RING = 9.0
"""Diameter of the ring about a chosen candidate [points]."""

OFFSETS = (5, -15, 17, -27, 29, -39)
"""Heights of a number above its ring, in order of preference [points]."""


def plot_candidates(
    candidates: pd.DataFrame,
    reductions: Floats,
    rows: Sequence[int],
    unit: str = "FLOP",
    ax: Axes | None = None,
) -> Axes:
    """Plot candidates of a design by learning rate and cost, coloured by the value of one run alone.

    Args:
        candidates: table with ``learning_rate`` and ``cost``.
        reductions: reduction of the expected regret by each candidate alone [fraction of the loss],
            (candidate,); NaN beyond the budget.
        rows: chosen candidates in order; ringed and numbered.
        unit: unit of the cost.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax)
    rate, cost = (candidates[name].to_numpy(float) for name in ("learning_rate", "cost"))
    known = np.isfinite(reductions)
    ax.plot(rate[~known], cost[~known], ".", color=GREY, alpha=0.4, markersize=3, zorder=0)
    dots = ax.scatter(rate[known], cost[known], c=100 * reductions[known], cmap="viridis", s=8)
    label = "expected fall of the regret\nby one run alone [% of the loss]"
    ax.figure.colorbar(dots, ax=ax, label=label, format=lambda value, _: figures(value))
    ax.plot(rate[list(rows)], cost[list(rows)], "o", color=ORANGE, markerfacecolor="none", markersize=RING)
    ax.set(xscale="log", yscale="log")
    ax.margins(y=0.1)
    round_ticks(ax.xaxis)
    round_ticks(ax.yaxis)
    _number(ax, rate[list(rows)], cost[list(rows)])
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel(f"cost of the run [{unit}]")
    return ax


def _number(ax: Axes, x: Floats, y: Floats) -> None:
    """Number the points 1, 2, ...; coincident points share a text, and texts do not overlap."""
    points = ax.transData.transform(np.column_stack([x, y])) * 72 / ax.figure.dpi
    together: list[list[int]] = []
    for place, point in enumerate(points):
        near = [each for each in together if np.abs(points[each[0]] - point).max() < RING]
        if near:
            near[0].append(place)
        else:
            together.append([place])
    taken: list[Floats] = []  # left, bottom, right, top
    for each in together:
        text = _listed(each)
        for offset in OFFSETS:
            left, bottom = points[each[0]] + (5, offset)
            box = np.array([left, bottom, left + 6.5 * len(text) + 4, bottom + 11])
            if not any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in taken):
                break
        taken.append(box)
        ax.annotate(text, (x[each[0]], y[each[0]]), xytext=(5, offset), textcoords="offset points")


def _listed(places: Sequence[int]) -> str:
    """Format numbers of points, counted from 1.

    >>> _listed([3, 0])
    '1, 4'
    """
    return ", ".join(str(place + 1) for place in sorted(places))


def plot_replay(
    curves: dict[str, list[dict[str, Any]]], metric: str, unit: str = "FLOP", ax: Axes | None = None
) -> Axes:
    """Plot a metric of a replay against the budget: medians over seeds and bands of 80% of seeds, by policy.

    Args:
        curves: result of ``bayeslaw.rehearsal.many.curves``.
        metric: a key of ``REPLAYED``.
        unit: unit of the budget.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: an unknown metric, or one that no policy has.
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
    ax = new_axis(ax)
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
    if scale == "log":
        round_ticks(ax.yaxis)
    ax.set_xlabel(f"budget [{unit}]")
    ax.set_ylabel(label)
    ax.legend(frameon=False, fontsize="small")
    return ax


def replay_figure(curves: dict[str, list[dict[str, Any]]], unit: str = "FLOP") -> Figure:
    """Plot the metrics of a replay, one per panel, under one legend.

    Args:
        curves, unit: as ``plot_replay`` takes them.

    Raises:
        BadInput: it has none.
    """
    from matplotlib.figure import Figure

    entries = [entry for found in curves.values() for entry in found]
    metrics = [name for name in PANELS if any(entry.get(name) is not None for entry in entries)]
    metrics = metrics or [PANELS[0]]  # `plot_replay` refuses it
    rows, columns = -(-len(metrics) // 2), min(len(metrics), 2)
    figure = Figure(figsize=(4.5 * columns, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for name, ax in zip(metrics, axes, strict=False):
        legend = plot_replay(curves, name, unit, ax).get_legend()
        if legend is not None:
            legend.remove()
    for ax in axes[len(metrics) :]:
        ax.remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure
