"""Parts that all figures share: colours, axes, ticks, intervals as lines, and the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, write_atomically
from bayeslaw.law.parameters import axis_name, is_logarithm
from bayeslaw.target import Target
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe & Ito (2008), distinguishable under the common colour-vision deficiencies.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
OKABE_ITO = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

LINES: tuple[Any, ...] = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
"""Line styles that can be told apart without colour."""

NEAR = 0.4
"""Largest distance of a run's batch, or a cell's position, from a curve that shows it [nats]."""

BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of draws in every figure: the 90% and the 50% interval about the median."""


def new_axis(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """Return the given axis, or that of a new figure of ``size`` [inches]."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def new_axes(
    axes: Sequence[Axes] | None,
    count: int,
    name: str,
    size: tuple[float, float],
    columns: int,
    **options: Any,
) -> Any:
    """Return the given axes, or those of a new figure, row by row, in an array of shape (count,).

    Args:
        axes: axes to draw on; None makes a figure of ``size`` [inches], with ``options`` for ``subplots``.
        count: number of panels.
        name: name of the figure, for the error.
        columns: number of columns of panels.

    Raises:
        BadInput: another number of axes.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        made = plt.subplots(-(-count // columns), columns, figsize=size, layout="constrained", **options)[1]
        for surplus in np.ravel(made)[count:]:
            surplus.remove()
        return np.ravel(made)[:count]
    given = np.ravel(np.array(axes, object))
    if len(given) != count:
        raise BadInput(f"{name}: {len(given)} axes; expected {count}, one a panel; give as many, or None")
    return given


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the suffix determines the format.

    Raises:
        BadInput: a suffix that matplotlib cannot write, or a path that cannot be written.
    """
    kind = _kind(path)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=150)


def check_figure(path: Path) -> None:
    """Check that ``save_figure`` can write a figure, before the work that it shows.

    Raises:
        BadInput: as ``save_figure``.
    """
    _kind(path)
    check_writable(path)


def _kind(path: Path) -> str:
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    kind = path.suffix.lower().removeprefix(".")
    if kind not in kinds:
        raise BadInput(f"{path}: unknown kind of figure; expected one of .{', .'.join(kinds)}; use .png")
    return kind


def round_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with numbers, not powers, and with more ticks per decade if decades are few.

    Call it last, since it depends on the limits.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    span = high / low
    if span < 2.5:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    else:
        subs = (1, 2, 3, 5, 7) if span < 10 else (1, 2, 5) if span < 150 else (1,)
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(lambda value, _: figures(value))
    axis.set_minor_formatter(NullFormatter())


def figures(value: float) -> str:
    """Format a tick of a learning rate, a loss or a count.

    >>> figures(0.0005), figures(20.0), figures(5e5), figures(2e18)
    ('0.0005', '20', '500k', '2e18')
    """
    if 1e-6 < abs(value) < 1000:
        return np.format_float_positional(value, precision=3, fractional=False, trim="-")
    return short(value) if abs(value) < 1e15 else f"{value:.3g}".replace("e+", "e")


def legend_above(ax: Axes, columns: int, title: str = "") -> None:
    """Place the legend and a title above the axis, where they cover no data."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, fontsize="small",
        borderaxespad=0.2, columnspacing=1.2, handletextpad=0.5, markerscale=0.8,
        title=title, title_fontsize="small", alignment="left",
    )  # fmt: skip


def legend_beside(ax: Axes, title: str = "") -> None:
    """Place the legend and a title to the right of the axis, where they cover no data."""
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small", borderaxespad=0.3,
        title=title, title_fontsize="small", alignment="left",
    )  # fmt: skip


def group_name(target: Target) -> str:
    """Name a target's optimizer and study.

    >>> group_name(Target(1.07e9, 2e10, "adamw", "ours"))
    'adamw, study ours'
    """
    return f"{target.optimizer}, " + (f"study {target.study}" if target.study else "a new study")


def bands(ax: Axes, x: Floats, quantiles: Floats) -> None:
    """Draw 90% and 50% bands and the median along x.

    Args:
        ax: axis to draw on.
        x: shape (point,).
        quantiles: quantiles at ``BANDS``, shape (5, point).
    """
    ax.fill_between(x, quantiles[0], quantiles[4], color=BLUE, alpha=0.15, lw=0, label="90% interval")
    ax.fill_between(x, quantiles[1], quantiles[3], color=BLUE, alpha=0.3, lw=0, label="50% interval")
    ax.plot(x, quantiles[2], color=BLUE, lw=1.5, label="median")


def interval_line(ax: Axes, row: float, draws: Floats, colour: str = BLUE, hollow: bool = False) -> None:
    """Draw an interval as a horizontal line: thin 90%, thick 50% (unless hollow), a dot at the median.

    Args:
        ax: axis to draw on.
        row: height of the line.
        draws: shape (draw,).
        colour: colour of the line.
        hollow: whether the interval only serves for comparison.
    """
    quantiles = np.quantile(draws, BANDS)
    ax.plot(quantiles[[0, 4]], [row, row], color=colour, lw=1, solid_capstyle="butt")
    if not hollow:
        ax.plot(quantiles[[1, 3]], [row, row], color=colour, lw=3.5, solid_capstyle="butt")
    ax.plot(quantiles[2], row, "o", color=colour, markersize=5, markerfacecolor="white" if hollow else colour)


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the heights 0, -1, ... of an axis."""
    ax.set_yticks(-np.arange(len(labels)), labels)
    ax.set_ylim(-len(labels) + 0.4, 0.6)
    ax.tick_params(axis="y", length=0)


def value_axis(ax: Axes, name: str, reference: tuple[float, float]) -> None:
    """Words, scale and ticks of the horizontal axis that shows a parameter."""
    ax.set_xlabel(axis_name(name, reference))
    if is_logarithm(name):
        ax.set_xscale("log")
        round_ticks(ax.xaxis)


def check_known(place: str, name: str, known: Iterable[str]) -> None:
    """Refuse a parameter that the figure ``place`` cannot show.

    Raises:
        BadInput: ``name`` is not among ``known``.
    """
    if name not in (names := list(known)):
        expected = ", ".join(names)
        raise BadInput(f"{place}: unknown parameter {name!r}; expected one of {expected}; name one of these")
