"""A parameter in every group, with and without pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import derived, is_logarithm, natural
from bayeslaw.plots.axes import (
    BLUE,
    GREY,
    ORANGE,
    check_known,
    interval_line,
    legend_above,
    name_rows,
    new_axis,
    value_axis,
)
from bayeslaw.plots.quotient import Group, unpooled_normal
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import population_draws

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_forest(
    posterior: Posterior,
    name: str,
    unpooled: Mapping[Group, Floats] | None = None,
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    """Plot a parameter in every group, with 50 and 90% intervals, under the mean of the population.

    Below each group, a hollow 90% interval from its own runs alone, with an arrow to the pooled median.

    Args:
        posterior: the fit.
        name: of a group parameter, or ``gamma``.
        unpooled: (study, optimizer) -> draws of a fit to its runs alone. Without it, the quotient of
            Gaussians of ``quotient.unpooled_normal``, an approximation; none where that does not exist.
        ax: axis to draw on; None makes a figure.
        seed: seed of the population's mean and of the quotient.

    Returns:
        The axis; the population at height 0, groups at -1, -2, ... in the posterior's order.

    Raises:
        BadInput: no group has such a parameter.
    """
    values = posterior.group | derived(posterior.group)
    check_known("plot_forest", name, values)
    own = {
        group: natural(name, values[name][:, i])
        for i, group in enumerate(posterior.groups)
        if np.isfinite(values[name][:, i]).all()
    }
    if not own:
        raise BadInput(f"plot_forest: no group has a {name} of its own; expected one; show another parameter")
    population = natural(name, population_draws(posterior, seed)[name])
    ax = new_axis(ax, (6.4, 1.5 + 0.42 * len(own)))
    ax.set_xscale("log" if is_logarithm(name) else "linear")
    ax.axvspan(*np.quantile(population, [0.05, 0.95]), color=GREY, alpha=0.25, lw=0, zorder=0)
    interval_line(ax, 0, population, "black")
    for row, draws in enumerate(own.values(), start=1):
        interval_line(ax, -row, draws)
    alone = _alone(posterior, name, list(own), seed) if unpooled is None else unpooled
    _shrinkage(ax, own, {group: natural(name, draws) for group, draws in alone.items()})
    several = len(posterior.studies) > 1
    labels = [f"{optimizer}, {study}" if several else optimizer for study, optimizer in own]
    name_rows(ax, ["population mean", *labels])
    value_axis(ax, name, posterior.reference)
    _legend(ax)
    return ax


def _alone(posterior: Posterior, name: str, groups: Sequence[Group], seed: int) -> dict[Group, Floats]:
    """Evenly spaced quantiles of ``unpooled_normal``, for groups where it exists."""
    normals = {group: unpooled_normal(posterior, name, group, seed) for group in groups}
    levels = (np.arange(1000) + 0.5) / 1000
    return {group: stats.norm.ppf(levels, *normal) for group, normal in normals.items() if normal}


def _shrinkage(ax: Axes, own: Mapping[Group, Floats], alone: Mapping[Group, Floats]) -> None:
    """Draw the interval of own runs below the pooled value, with an arrow to it; very wide intervals are
    cut."""
    rows = {group: -1 - i for i, group in enumerate(own) if group in alone}
    ax.update_datalim([(float(np.median(alone[group])), row) for group, row in rows.items()])
    ax.autoscale_view()
    limits = ax.get_xlim()
    for group, row in rows.items():
        interval_line(ax, row - 0.32, alone[group], ORANGE, hollow=True)
        ax.annotate(
            "", (float(np.median(own[group])), row - 0.05), (float(np.median(alone[group])), row - 0.32),
            arrowprops={"arrowstyle": "->", "color": ORANGE, "lw": 0.8, "shrinkA": 3, "shrinkB": 2},
        )  # fmt: skip
    ax.set_xlim(limits)


def _legend(ax: Axes) -> None:
    ax.plot([], [], "o-", color="black", markersize=5, label="mean of the population")
    ax.plot([], [], "o-", color=BLUE, markersize=5, label="pooled, 50 and 90%")
    ax.plot([], [], "o-", color=ORANGE, markersize=5, mfc="white", lw=1, label="own runs alone, 90%")
    legend_above(ax, 3)
