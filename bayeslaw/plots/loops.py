"""Progress of an active loop: spending, choices and knowledge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.terms import words_of
from bayeslaw.plots.axes import BLUE, GREY, ORANGE, legend_beside, new_axes, round_ticks
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_loop(entries: Sequence[dict[str, Any]], ax: Sequence[Axes] | None = None) -> Any:
    """Plot a loop against its spending: expected regret, width of the optimum, and the runs chosen.

    Args:
        entries: entries of the loop's journal (``bayeslaw.loop.journal.read``).
        ax: three axes; None makes a figure.

    Returns:
        The three axes.

    Raises:
        BadInput: no round has chosen its runs yet.
    """
    rounds = [entry for entry in entries if entry["kind"] == "chosen"]
    if not rounds:
        raise BadInput(
            f"plot_loop: {len(entries)} entries, none of kind chosen; expected the journal of a loop with a "
            "round; run `bayeslaw loop` first"
        )
    returned, believed = (
        {entry["round"]: entry for entry in entries if entry["kind"] == kind}
        for kind in ("returned", "believed")
    )
    began = np.concatenate([[0.0], np.cumsum([_spent(r, returned.get(r["round"])) for r in rounds])])
    axes = new_axes(ax, 3, "plot_loop", (7.5, 7.5), 1, sharex=True)
    known = [(began[i + 1], believed[r["round"]]) for i, r in enumerate(rounds) if r["round"] in believed]
    _regrets(axes[0], rounds, began, known)
    _widths(axes[1], known)
    _choices(axes[2], rounds, began, returned)
    axes[2].set_xlabel(f"spent [{rounds[0]['unit']}]")
    stops = [entry["reason"] for entry in entries if entry["kind"] == "stopped"]
    axes[0].set_title(f"stopped: {stops[-1]}" if stops else "not stopped yet", fontsize="small", loc="left")
    return axes


def _spent(chosen: dict[str, Any], returned: dict[str, Any] | None) -> float:
    """Cost of the runs of a round that came back."""
    cost = dict(zip(chosen["rows"], (run["cost"] for run in chosen["runs"]), strict=True))
    return float(sum(cost[row] for row in returned["rows"])) if returned else 0.0


def _regrets(
    ax: Axes, rounds: Sequence[dict[str, Any]], began: Floats, known: Sequence[tuple[float, dict[str, Any]]]
) -> None:
    """Draw expected regret before the first round and after each, and the promise of each choice."""
    start = rounds[0]["regret"]["before"]
    after = [float(np.mean([t["regret"]["expected"] for t in entry["targets"]])) for _, entry in known]
    spent = [began[0], *(cost for cost, _ in known)]
    ax.plot(spent, 100 * np.array([start, *after]), "o-", color=BLUE, label="expected, after the runs")
    for entry, before in zip(rounds, began, strict=False):
        x = [before, before + entry["cost"]]
        y = 100 * np.array([entry["regret"]["before"], entry["regret"]["after"]])
        ax.plot(x, y, ":", color=ORANGE, lw=1)
        ax.plot(
            x[1], y[1], "D", color=ORANGE, mfc="white", label="promised by the choice" if before == 0 else "_"
        )
    ax.set(yscale="log")
    ax.set_ylabel("regret of the advice\n[% of the loss]")
    round_ticks(ax.yaxis)
    legend_beside(ax)


def _widths(ax: Axes, known: Sequence[tuple[float, dict[str, Any]]]) -> None:
    """Draw the ratio of upper to lower end of the optimum's interval; geometric mean over targets."""
    spent = [cost for cost, _ in known]
    for name, colour, marker in (("learning_rate", BLUE, "o-"), ("batch_tokens", ORANGE, "s--")):
        ends = [[t["optimum"][name] for t in entry["targets"]] for _, entry in known]
        factors = [np.exp(np.mean([np.log(e["upper"] / e["lower"]) for e in each])) for each in ends]
        ax.plot(spent, factors, marker, color=colour, label=words_of(name))
    ax.set(yscale="log")
    ax.set_ylabel("90% interval of the\noptimum, upper / lower")
    round_ticks(ax.yaxis)
    legend_beside(ax)


def _choices(
    ax: Axes, rounds: Sequence[dict[str, Any]], began: Floats, returned: dict[int, dict[str, Any]]
) -> None:
    """Draw the chosen runs by learning rate and N; hollow if they have not come back."""
    from matplotlib import colormaps

    sizes = sorted({run["params_nonembedding"] for entry in rounds for run in entry["runs"]})
    colours = dict(zip(sizes, colormaps["viridis"](np.linspace(0.0, 0.8, len(sizes))), strict=True))
    markers = dict(zip(sizes, itertools.cycle("osD^vP*X"), strict=False))
    for entry, before in zip(rounds, began, strict=False):
        back = returned[entry["round"]]["rows"] if entry["round"] in returned else []
        charged = back if entry["round"] in returned else entry["rows"]
        x = before
        for row, run in zip(entry["rows"], entry["runs"], strict=True):
            x += run["cost"] if row in charged else 0.0
            size = run["params_nonembedding"]
            face = colours[size] if row in back else "none"
            ax.plot(x, run["learning_rate"], markers[size], color=colours[size], markerfacecolor=face)
        ax.axvline(before, color=GREY, lw=0.8, zorder=0)
    ax.plot([], [], "o", color=GREY, markerfacecolor="none", label="hollow: not back")
    for size in sizes:
        ax.plot([], [], markers[size], color=colours[size], label=f"N = {short(size)}")
    ax.set(yscale="log")
    ax.set_ylabel("peak learning rate\nof the runs chosen")
    round_ticks(ax.yaxis)
    legend_beside(ax)
