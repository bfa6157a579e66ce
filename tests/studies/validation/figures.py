"""The Pareto figure: cost against loss gap, a panel for each kind of task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.plots.axes import OKABE_ITO, round_ticks
from tests.studies.validation.methods import METHODS
from tests.studies.validation.scores import by_task, gaps, relative_compute

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
LEAST = 1e-5
"""Gap below which a point stands at the lower edge: far below the surfaces' own error."""
LOOKS = {
    "ours": (OKABE_ITO[0], "*"),
    "target": (OKABE_ITO[1], "o"),
    "proxy": (OKABE_ITO[3], "s"),
    "pool": (OKABE_ITO[2], "D"),
    "sweep": (OKABE_ITO[4], "^"),
    "nothing": (OKABE_ITO[6], "v"),
}
WORDS = {
    "ours": "bayeslaw",
    "target": "20 runs of the target",
    "proxy": "20 runs of a proxy",
    "pool": "24 small runs",
    "sweep": "whole small sweep",
    "nothing": "no runs",
}

IN_SAMPLE = {("scalebench-adamw", "step law")}
"""Methods that were fitted to the family's own targets: shown hollow, and not on the front."""


def points(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Cost [share of 20 target runs] and gap of each method that advises on all tasks, means over tasks.

    A method that advises on some tasks only would be compared on easier or harder ones.
    """
    found = {}
    for name in METHODS:
        tasks = by_task(rows, name)
        if METHODS[name].ablation or not tasks or not all(gaps(each) for each in tasks.values()):
            continue
        cost = np.mean([np.mean([relative_compute(row) for row in each]) for each in tasks.values()])
        found[name] = (float(cost), float(np.mean([np.mean(gaps(each)) for each in tasks.values()])))
    return found


def front(places: dict[str, tuple[float, float]]) -> list[str]:
    """Methods that no other beats in both cost and gap, by rising cost.

    >>> front({"a": (1.0, 3.0), "b": (2.0, 2.0), "c": (3.0, 2.5)})
    ['a', 'b']
    """
    kept: list[str] = []
    for name in sorted(places, key=lambda n: places[n]):
        if not kept or places[name][1] < places[kept[-1]][1]:
            kept.append(name)
    return kept


def pareto(rows: Sequence[Row]) -> Figure:
    """Cost against gap, one panel a family, with the front and a numbered legend."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["method"] in METHODS]
    families = list(dict.fromkeys(row["family"] for row in rows))
    shown = [f for f in families if len(points([r for r in rows if r["family"] == f])) > 1]
    columns, lines = min(2, len(shown)), math.ceil(len(shown) / 2)
    figure = Figure(figsize=(4.6 * columns + 3.2, 1.2 + 4.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[len(shown) :]:
        spare.remove()
    names = [n for n in METHODS if any(n in points([r for r in rows if r["family"] == f]) for f in shown)]
    for ax, family in zip(axes, shown, strict=False):
        _panel(ax, points([row for row in rows if row["family"] == family]), names, family)
    figure.supylabel("loss gap (L − L_opt) / L_opt, mean over tasks and seeds [%]", fontsize="medium")
    _legend(figure, names)
    return figure


def _panel(ax: Axes, places: dict[str, tuple[float, float]], names: Sequence[str], family: str) -> None:
    best = front({name: at for name, at in places.items() if (family, name) not in IN_SAMPLE})
    line = np.array([places[name] for name in best])
    ax.plot(100 * line[:, 0], 100 * np.maximum(line[:, 1], LEAST), color="#999999", lw=1, zorder=1)
    spots = {name: (100 * cost, 100 * max(gap, LEAST)) for name, (cost, gap) in places.items()}
    for name, at in spots.items():
        colour, marker = LOOKS[_look(name)]
        face = "none" if (family, name) in IN_SAMPLE else colour
        ax.scatter(
            *at, edgecolor=colour, facecolor=face, marker=marker, s=70 if marker == "*" else 28, zorder=2
        )
    for together in _neighbours(spots):
        label = ", ".join(str(names.index(name) + 1) for name in together)
        ax.annotate(label, spots[together[0]], (4, 3), textcoords="offset points", fontsize=7)
    ax.set(xscale="log", yscale="log", title=family)
    for axis in (ax.xaxis, ax.yaxis):
        round_ticks(axis)
    ax.set_xlabel("FLOPs of search and target run [% of 20 target runs]")
    ax.grid(alpha=0.3)


def _neighbours(spots: dict[str, tuple[float, float]], near: float = 0.06) -> list[list[str]]:
    """Points that share a label, since theirs would cover each other: within ``near`` nats."""
    groups: list[list[str]] = []
    for name, at in spots.items():
        for group in groups:
            if np.abs(np.log(at) - np.log(spots[group[0]])).max() < near:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for look in dict.fromkeys(_look(name) for name in names):
        colour, marker = LOOKS[look]
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", label=WORDS[look]))
        mine = [name for name in names if _look(name) == look]
        handles += [Line2D([], [], ls="", label=f"   {names.index(n) + 1}  {n}") for n in mine]
    handles.append(
        Line2D([], [], color="#999999", lw=1, label="Pareto front; hollow: fitted to these targets")
    )
    figure.legend(handles=handles, loc="outside right upper", fontsize=7, frameon=False, handlelength=1.2)


def _look(name: str) -> str:
    return "ours" if name.startswith("ours") else METHODS[name].place
