"""Measured losses against predicted ones, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.plots.axes import BANDS, BLUE, GREY, ORANGE, legend_above, new_axis
from bayeslaw.posterior.draws import Posterior
from bayeslaw.text import short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


LOOKS = {
    0: ("o", "black", "as predicted"),
    1: (">", ORANGE, "worse than predicted"),
    -1: ("<", BLUE, "better than predicted"),
}
"""Marker, colour and words by ``CellCheck.side``."""


class CellCheck(NamedTuple):
    """Runs of one cell against their predictions, in ln loss.

    Attributes:
        study, optimizer, size: of the cell; N and D in words.
        runs: number of finished runs.
        measured: quantiles at ``BANDS`` of measured minus predicted median, over runs, (5,).
        predicted: 5% and 95% of drawn minus predicted median, over draws and runs, (2,).
        middle: 5% and 95% of the draws' median over runs, (2,), which should contain ``measured``'s median.
    """

    study: str
    optimizer: str
    size: str
    runs: int
    measured: Floats
    predicted: Floats
    middle: Floats

    @property
    def side(self) -> int:
        """-1 or 1 if the cell's runs are on the whole better or worse than predicted, else 0."""
        median = self.measured[2]
        return int(median > self.middle[1]) - int(median < self.middle[0])


def plot_predictive(posterior: Posterior, runs: pd.DataFrame, ax: Axes | None = None, seed: int = 0) -> Axes:
    """Plot measured minus predicted ln loss of every cell's runs, against the model's 90% interval [%].

    A cell is off, and coloured, if the median of its runs lies outside the 90% interval of that median among
    the draws. One cell in ten is off by chance.

    Args:
        posterior: the fit.
        runs: a run table; finished runs are shown.
        ax: axis to draw on; None makes a figure, as tall as there are cells.
        seed: seed of noise and draws.

    Returns:
        The axis; cells at heights 0, -1, ... in the order of ``check_cells``.

    Raises:
        BadInput: no run finished.
    """
    cells = check_cells(posterior, runs, seed)
    ax = new_axis(ax, (7.0, 1.3 + 0.2 * len(cells)))
    reach = 110 * max(np.abs([*cell.predicted, *cell.measured[1:4]]).max() for cell in cells)
    for row, cell in enumerate(cells):
        _row(ax, -row, cell, reach)
    ax.axvline(0, color="black", lw=0.8)
    several = len({cell.study for cell in cells}) > 1
    labels = [
        f"{cell.optimizer}{f', {cell.study}' if several else ''}, {cell.size} ({cell.runs})" for cell in cells
    ]
    ax.set_yticks(-np.arange(len(cells)), labels, fontsize="x-small")
    ax.set(xlim=(-reach, reach), ylim=(-len(cells) + 0.3, 0.7))
    ax.set_xlabel("measured minus predicted ln loss [%]")
    ax.set_ylabel("cell: N x D (finished runs)")
    _legend(ax, cells)
    return ax


def _row(ax: Axes, row: float, cell: CellCheck, reach: float) -> None:
    """Draw one cell; if its runs go beyond the figure, the edge states how far."""
    measured, (low, high) = 100 * cell.measured, 100 * cell.predicted
    marker, colour, _ = LOOKS[cell.side]
    ax.fill_between([low, high], row - 0.4, row + 0.4, color=GREY, alpha=0.3, lw=0)
    ax.plot(measured[[0, 4]], [row, row], color=colour, lw=0.9)
    ax.plot(measured[[1, 3]], [row, row], color=colour, lw=3)
    ax.plot(measured[2], row, marker, color=colour, markersize=7, markeredgecolor="white", mew=0.4)
    for end, side in ((measured[0], "right"), (measured[4], "left")):
        if abs(end) > reach:
            x = np.sign(end) * reach
            ax.text(x, row, f" {end:+.2g}% ", fontsize="x-small", va="center", ha=side)


def check_cells(posterior: Posterior, runs: pd.DataFrame, seed: int = 0) -> list[CellCheck]:
    """Check every cell's finished runs against their predictions, by study, optimizer, N and D.

    Raises:
        BadInput: no run finished.
    """
    from bayeslaw.runs.cells import finished_runs, group_cells

    finished = finished_runs(runs).reset_index(drop=True)
    if finished.empty:
        raise BadInput(
            f"plot_predictive: none of {len(runs)} runs has status finished and a loss; "
            "expected at least one; check the table with `bayeslaw import`"
        )
    log_draws = np.log(PosteriorAdvisor(posterior, seed=seed).loss_draws(finished))
    predicted = np.median(log_draws, axis=0)
    off = np.log(finished["loss"].to_numpy(float)) - predicted
    checks = []
    for key, rows in group_cells(finished):
        here = rows.index.to_numpy()
        drawn = log_draws[:, here] - predicted[here]
        checks.append(
            CellCheck(
                study=key.study,
                optimizer=key.optimizer,
                size=f"{short(key.params_nonembedding)} x {short(key.tokens)}",
                runs=len(here),
                measured=np.quantile(off[here], BANDS),
                predicted=np.quantile(drawn, [0.05, 0.95]),
                middle=np.quantile(np.median(drawn, axis=1), [0.05, 0.95]),
            )
        )
    return checks


def _legend(ax: Axes, cells: list[CellCheck]) -> None:
    for side, (marker, colour, words) in LOOKS.items():
        count = sum(cell.side == side for cell in cells)
        ax.plot([], [], f"{marker}-", color=colour, label=f"{words}: {count} of {len(cells)} cells")
    ax.fill_between([], [], [], color=GREY, alpha=0.3, lw=0, label="90% predicted for a run")
    legend_above(ax, 2, "runs of a cell: median, 50 and 90%")
