"""The Pareto figure: cost against loss gap, a panel for each kind of task."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.errors import BadInput
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


def in_sample(rows: Sequence[Row]) -> set[str]:
    """Methods that were fitted to the runs of these rows: shown hollow, and not on the front."""
    return {row["method"] for row in rows if METHODS[row["method"]].in_sample(row["known_study"])}


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
    """Cost against gap, one panel a family, with the front and a numbered legend.

    Raises:
        BadInput: no method of these rows advises on all tasks of a family.
    """
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["method"] in METHODS]
    by_family = {f: [r for r in rows if r["family"] == f] for f in dict.fromkeys(r["family"] for r in rows)}
    shown = {family: places for family, mine in by_family.items() if (places := points(mine))}
    if not shown:
        raise BadInput(
            "no method has advice on all tasks of a family; expected trials to draw; run more methods"
        )
    columns, lines = min(2, len(shown)), math.ceil(len(shown) / 2)
    figure = Figure(figsize=(4.6 * columns + 3.2, 1.2 + 4.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[len(shown) :]:
        spare.remove()
    names = [name for name in METHODS if any(name in places for places in shown.values())]
    spots = [
        _panel(ax, places, in_sample(by_family[family]), family)
        for ax, (family, places) in zip(axes, shown.items(), strict=False)
    ]
    figure.supylabel("loss gap (L − L_opt) / L_opt, mean over tasks and seeds [%]", fontsize="medium")
    _legend(figure, names)
    figure.draw_without_rendering()  # labels need the places of the axes
    for ax, mine in zip(axes, spots, strict=False):
        _number(ax, {str(names.index(name) + 1): at for name, at in mine.items()})
    return figure


Place = tuple[float, float]


def _panel(ax: Axes, places: dict[str, Place], fitted: Collection[str], family: str) -> dict[str, Place]:
    """Draw a family's methods; returns where they stand."""
    best = front({name: at for name, at in places.items() if name not in fitted})
    spots = {name: (100 * cost, 100 * max(gap, LEAST)) for name, (cost, gap) in places.items()}
    ax.plot(*zip(*(spots[name] for name in best), strict=True), color="#999999", lw=1, zorder=1)
    for name, at in spots.items():
        colour, marker = LOOKS[_look(name)]
        face = "none" if name in fitted else colour
        ax.scatter(
            *at, edgecolor=colour, facecolor=face, marker=marker, s=70 if marker == "*" else 28, zorder=2
        )
    ax.set(xscale="log", yscale="log", title=family)
    for axis in (ax.xaxis, ax.yaxis):
        round_ticks(axis)
    ax.margins(0.08)
    ax.set_xlabel("FLOPs of search and target run [% of 20 target runs]")
    ax.grid(alpha=0.3)
    return spots


SIZE = 7
"""Of a number in a panel [points]."""


def _number(ax: Axes, spots: dict[str, Place]) -> None:
    """Number the points, each where its number covers nothing and is near; a line leads further out."""
    scale = 72 / float(ax.figure.dpi)
    at = {label: scale * ax.transData.transform(spot) for label, spot in spots.items()}
    frame = scale * np.asarray(ax.bbox.extents)
    taken = [(*place, 3.0, 3.0) for place in at.values()]
    for label, place in sorted(at.items(), key=lambda item: _crowd(item[1], at.values())):
        half = (0.3 * SIZE * len(label) + 0.5, 0.5 * SIZE)
        middle = min(_around(place), key=lambda m: (_covered(m, half, taken, frame), np.hypot(*(m - place))))
        taken.append((*middle, *half))
        far = np.hypot(*(middle - place)) > 12
        leader = {"arrowstyle": "-", "color": "#999999", "lw": 0.5, "shrinkA": 3, "shrinkB": 2}
        ax.annotate(
            label, spots[label], tuple(middle - place), textcoords="offset points", ha="center", va="center",
            fontsize=SIZE, arrowprops=leader if far else None,
        )  # fmt: skip


def _crowd(place: np.ndarray, others: Iterable[np.ndarray]) -> int:
    """Points within 20 points of print: the most crowded are numbered last, further out."""
    return sum(np.hypot(*(place - other)) < 20 for other in others)


def _around(place: np.ndarray) -> list[np.ndarray]:
    """Places for the middle of a label: circles about its point [points]."""
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False) + np.pi / 4
    return [place + r * np.array([np.cos(t), np.sin(t)]) for r in (8, 12, 17, 23, 30, 38) for t in turns]


def _covered(middle: np.ndarray, half: Place, taken: Iterable[tuple[float, ...]], frame: np.ndarray) -> float:
    """Area that a label would share with what is there, and lose outside the frame [square points]."""
    area = 0.0
    for x, y, width, height in taken:
        wide = half[0] + width - abs(middle[0] - x)
        high = half[1] + height - abs(middle[1] - y)
        area += max(wide, 0.0) * max(high, 0.0)
    outside = np.maximum(frame[:2] - (middle - half), 0) + np.maximum(middle + half - frame[2:], 0)
    return area + 100.0 * float(outside.sum())


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
