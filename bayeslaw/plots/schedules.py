"""Schedules: what a decay share costs, and where it moves the best learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bayeslaw.arrays import Floats
from bayeslaw.plots.axes import BLUE, LINES, OKABE_ITO, legend_above, new_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_costs(
    shares: Floats,
    costs: Mapping[str, tuple[Floats, Floats, Floats]],
    ax: Axes | None = None,
) -> Axes:
    """Expected loss over the least, against the decay share, with bands.

    Args:
        shares: of the steps in which the rate decays, shape (share,).
        costs: label -> lower end, expected value and upper end in per mille of the loss, shape (share,).
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.0, 3.6))
    for number, (label, (lower, middle, upper)) in enumerate(costs.items()):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        ax.fill_between(shares, lower, upper, color=colour, alpha=0.15, lw=0)
        ax.plot(shares, middle, color=colour, ls=("-", *LINES)[number % 7], label=label)
    ax.set(xlabel="decay share", ylabel="cost [per mille of the loss]", xlim=(0, 1), ylim=(0, None))
    legend_above(ax, 2)
    return ax


def plot_shifts(
    shares: Floats,
    predicted: Mapping[str, Floats],
    measured: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    ax: Axes | None = None,
) -> Axes:
    """Change of the best ln learning rate against the decay share: lines by theory, dots by runs.

    Args:
        shares: shape (share,).
        predicted: label -> change, shape (share,).
        measured: label -> shares and changes of runs.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.0, 3.6))
    for number, (label, changes) in enumerate(predicted.items()):
        ax.plot(shares, changes, color=BLUE, ls=("-", *LINES)[number % 7], label=label)
    for number, (label, points) in enumerate(measured.items()):
        colour = OKABE_ITO[(number + 1) % len(OKABE_ITO)]
        ax.plot(*points, "os^D"[number % 4], color=colour, ms=4, mfc="none", ls="", label=label)
    ax.set(xscale="log", xlabel="decay share", ylabel="change of best ln(learning rate)")
    legend_above(ax, 2)
    return ax
