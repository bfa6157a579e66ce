"""Scores of held-out predictions: calibration of intervals, and cost of the advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.result import Evaluation
from bayeslaw.plots.axes import BLUE, GREY, ORANGE, new_axis
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_reliability(result: Evaluation, ax: Axes | None = None) -> Axes:
    """Plot the share of held-out runs inside their intervals against the level of the intervals.

    The band holds 95% of the shares that a calibrated advisor would show with as many independent runs.
    Runs of one cell share its level error, so calibrated shares deviate further than the band.

    Args:
        result: of ``bayeslaw.evaluation.heldout.evaluate``.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: the advisor predicts no loss.
    """
    if result.losses is None:
        raise BadInput(
            f"plot_reliability: {result.advisor} predicts no loss; "
            "expected the result of an advisor with loss_draws; plot a fitted posterior"
        )
    ax = new_axis(ax)
    nominal = np.array([float(level) for level in result.losses.coverage_by_level])
    shares = np.array(list(result.losses.coverage_by_level.values()))
    grid = np.linspace(0, 1, 101)
    lower, upper = (stats.binom.ppf(q, result.n, grid) / result.n for q in (0.025, 0.975))
    ax.fill_between(grid, lower, upper, color=GREY, alpha=0.3, lw=0, label="95% if calibrated")
    ax.plot([0, 1], [0, 1], color=GREY, lw=1)
    ax.plot(nominal, shares, "o-", color=BLUE, label=result.advisor)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("nominal level of the interval")
    ax.set_ylabel(f"share of {result.n} runs inside")
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_regret(result: Evaluation, ax: Axes | None = None) -> Axes:
    """Plot the regret of each scorable cell [percent], largest last; hollow if it is only a lower bound.

    Args:
        result: of ``bayeslaw.evaluation.heldout.evaluate``.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.

    Raises:
        BadInput: no cell could be scored.
    """
    scored = ((cell, cell.advice) for cell in result.cells if cell.advice)
    cells = sorted(scored, key=lambda each: each[1].regret)
    if not cells:
        raise BadInput("plot_regret: no scorable cell; expected at least one; read the notes of its cells")
    ax = new_axis(ax)
    for row, (_, advice) in enumerate(cells):
        face = "none" if advice.beyond_runs else ORANGE
        ax.plot(100 * advice.regret, row, "o", color=ORANGE, markerfacecolor=face)
    ax.set_yticks(
        range(len(cells)), [f"{c.optimizer}, {short(c.params)} x {short(c.tokens)}" for c, _ in cells]
    )
    ax.set_xlim(left=0)
    ax.set_xlabel("loss above the cell's smoothed minimum [%]")
    return ax
