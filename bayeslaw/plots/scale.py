"""An optimum against scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.prediction import extrapolation
from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.agreement import laws_named
from bayeslaw.law.published import Law
from bayeslaw.law.terms import OPTIMA, axis_of
from bayeslaw.plots.axes import (
    BANDS,
    GREY,
    LINES,
    NEAR,
    OKABE_ITO,
    bands,
    group_name,
    legend_beside,
    new_axis,
    round_ticks,
)
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEYOND = 10.0
"""End of the figure, as a multiple of the largest cell."""

LAW_REACH = 4.0
"""Factor beyond bands and cells within which published laws are shown."""

POINTS = 41
"""Number of points of the curve."""


def plot_optimum(
    posterior: Posterior,
    name: str,
    along: str,
    target: Target,
    law: str | None = None,
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    """Plot the optimum of a hyperparameter against scale, for unseen cells, with 50 and 90% bands.

    The figure is shaded beyond the fitted cells of the optimizer. The curve is the law, without the fitted
    cells' own shifts; its bands include the spread of cells about it.

    Args:
        posterior: the fit.
        name: of a hyperparameter with an optimum (``terms.OPTIMA``) that the posterior knows.
        along: ``params``: N grows, at the target's tokens per parameter; ``tokens``: D grows, at its N.
        target: fixed quantities; the target is marked.
        law: a published law (``published.LAWS``), or ``all``, to draw over learning rate or batch.
        ax: axis to draw on; None makes a figure.
        seed: seed of the draws.

    Returns:
        The axis.

    Raises:
        BadInput: an unknown name, direction or law.
    """
    places = _path(posterior, along, target)
    optima = optima_along(posterior, name, places, seed)
    size = "params_nonembedding" if along == "params" else "tokens"
    x = np.array([getattr(place, size) for place in places])
    ax = new_axis(ax, (7.0, 4.6))
    ax.set(xscale="log", yscale="log", xlim=x[[0, -1]])
    bands(ax, x, np.quantile(optima, BANDS, axis=0))
    _cells(ax, posterior, name, along, target)
    _laws(ax, laws_named(law) if law else [], name, x, places)
    _beyond(ax, posterior, x, places)
    ax.axvline(getattr(target, size), color="black", lw=0.8, ls=(0, (1, 3)), label="the target")
    per_token = f"at {target.tokens / target.params_nonembedding:.3g} tokens each"
    words = {
        "params": f"N, non-embedding parameters, {per_token}",
        "tokens": f"D, training tokens, at N = {short(target.params_nonembedding)}",
    }
    ax.set_xlabel(words[along])
    ax.set_ylabel(axis_of(name))
    round_ticks(ax.xaxis)
    round_ticks(ax.yaxis)
    legend_beside(ax, group_name(target))
    return ax


def optima_along(posterior: Posterior, name: str, places: Sequence[Target], seed: int = 0) -> Floats:
    """Optimum of a hyperparameter (1 - m for momentum) in unseen cells, (draw, place).

    Raises:
        BadInput: the hyperparameter was not fitted.
    """
    unseen = replace(
        posterior,
        cells=(),
        sizes=(),
        cell={key: values[:, :0] for key, values in posterior.cell.items()},
        size={key: values[:, :0] for key, values in posterior.size.items()},
    )
    found = [optimum_draws(surface_at(unseen, place, seed, independent=True)) for place in places]
    if name not in found[0]:
        raise BadInput(
            f"plot_optimum: no optimum of {name!r}; expected one of {', '.join(found[0])}; name one of these"
        )
    draws = np.transpose([each[name] for each in found])
    return 1 - draws if OPTIMA[name].transform.sign < 0 else draws


def _path(posterior: Posterior, along: str, target: Target) -> list[Target]:
    """Cells from the smallest fitted one to far beyond the largest, and to the target."""
    if along not in ("params", "tokens"):
        raise BadInput(f"plot_optimum: along = {along!r}; expected params or tokens; name one of these")
    own = [c for c in posterior.cells if c.optimizer == target.optimizer] or posterior.cells
    if not own:
        raise BadInput("plot_optimum: the posterior has no cells; expected at least one; fit some runs first")
    sizes = np.array([(cell.params_nonembedding, cell.tokens) for cell in own])
    (smallest, shortest), (largest, longest) = sizes.min(axis=0), sizes.max(axis=0)
    if along == "tokens":
        ends = min(shortest, target.tokens), max(BEYOND * longest, 2 * target.tokens)
        return [replace(target, tokens=float(d)) for d in np.geomspace(*ends, POINTS)]
    n, ratio = target.params_nonembedding, target.tokens / target.params_nonembedding
    ends = min(max(smallest, shortest / ratio), n), max(BEYOND * largest, 2 * n)
    return [
        replace(target, params_nonembedding=float(n), tokens=float(n * ratio))
        for n in np.geomspace(*ends, POINTS)
    ]


def _cells(ax: Axes, posterior: Posterior, name: str, along: str, target: Target) -> None:
    """Draw optima of the fitted cells near the path, including their own shifts: medians and 90%
    intervals."""
    if name not in ("learning_rate", "batch_tokens"):
        return  # the other optima have no shifts and lie on the curve
    ratio = target.tokens / target.params_nonembedding
    label = "fitted cell, 90% interval"
    for cell in posterior.cells:
        n, d = cell.params_nonembedding, cell.tokens
        off = np.log(d / n / ratio) if along == "params" else np.log(n / target.params_nonembedding)
        if cell.group == (target.study, target.optimizer) and abs(off) < NEAR:
            draws = optimum_draws(surface_at(posterior, Target.of_cell(cell, target.batch_tokens)))[name]
            lower, middle, upper = np.quantile(draws, [0.05, 0.5, 0.95])
            size = n if along == "params" else d
            ax.plot([size, size], [lower, upper], color="black", lw=1)
            ax.plot(size, middle, "o", color="black", markersize=4, label=label)
            label = "_"


def _laws(ax: Axes, laws: Sequence[Law], name: str, x: Floats, places: Sequence[Target]) -> None:
    """Draw published laws that come within ``LAW_REACH`` of the bands and cells."""
    limits = np.array(ax.get_ylim())
    low, high = limits[0] / LAW_REACH, limits[1] * LAW_REACH
    for number, law in enumerate(laws):
        values = np.array([_law_value(law, name, place) for place in places])
        if (seen := (low < values) & (values < high)).any():
            colour, line = OKABE_ITO[1 + number % 7], LINES[number % len(LINES)]
            ax.plot(x, values, color=colour, ls=line, lw=1.4, label=f"law: {law.name}")
            limits = np.array([min(limits[0], values[seen].min()), max(limits[1], values[seen].max())])
    ax.set_ylim(*limits)


def _law_value(law: Law, name: str, place: Target) -> float:
    """Advice of a law; NaN where it has none or breaks down."""
    try:
        return law.recommend(place.params_nonembedding, place.tokens).get(name, np.nan)
    except BadInput:
        return np.nan


def _beyond(ax: Axes, posterior: Posterior, x: Floats, places: Sequence[Target]) -> None:
    """Shade and label the range outside the fitted cells."""
    outside = np.array([max(extrapolation(posterior, place).values()) > 0 for place in places])
    if outside.any():
        ax.fill_between(
            x, 0, 1, where=outside, step="mid", transform=ax.get_xaxis_transform(), color=GREY, alpha=0.25,
            lw=0, label="beyond the fitted cells", zorder=0,
        )  # fmt: skip
