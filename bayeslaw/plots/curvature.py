"""Eigenvalues of a network's Hessian: how they are spread, and how the largest moves while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.plots.axes import LINES, OKABE_ITO, legend_above, new_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_DECADES = 7
"""Decades of density below its highest point; quadrature resolves no more."""


def plot_spectral_density(
    grid: Floats,
    densities: Mapping[str, Floats],
    largest: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The share of eigenvalues by size, with the largest marked.

    Args:
        grid: eigenvalues, shape (point,).
        densities: label -> share of eigenvalues per unit, shape (point,); see ``spectra.density_at``.
        largest: label -> largest eigenvalue, marked in the label's colour where given.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.5, 3.8))
    for number, (label, density) in enumerate(densities.items()):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        ax.plot(grid, density, color=colour, ls=("-", *LINES)[number % 7], lw=1.3, label=label)
        if largest and label in largest:
            ax.axvline(largest[label], color=colour, lw=0.8, ls=(0, (1, 3)), label="_")
    if largest:
        ax.plot([], [], color="black", lw=0.8, ls=(0, (1, 3)), label="largest, by Lanczos")
    top = max(float(np.max(density)) for density in densities.values())
    ax.set(yscale="log", ylim=(top / 10**SHOWN_DECADES, 3 * top), xlim=(grid[0], grid[-1]))
    ax.set(xlabel="eigenvalue", ylabel="share of eigenvalues per unit")
    ax.locator_params(axis="x", nbins=5)
    ax.ticklabel_format(axis="x", scilimits=(-3, 4))
    legend_above(ax, 2)
    return ax


def plot_sharpness(
    steps: Floats,
    sharpness: Mapping[str, Floats],
    limits: Mapping[str, tuple[Floats, Floats]],
    ax: Axes | None = None,
) -> Axes:
    """The largest eigenvalue while networks train, beside the largest at which their steps are stable.

    Args:
        steps: at which it was measured, shape (moment,).
        sharpness: label -> largest eigenvalue, of the Hessian or the preconditioned one, shape (moment,).
        limits: label -> steps and threshold over the learning rate in use, each of shape (point,); dashed, in
            the label's colour.
        ax: axis to draw on; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.5, 3.8))
    for number, (label, values) in enumerate(sharpness.items()):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        ax.plot(steps, values, "o-", color=colour, ms=4, lw=1.3, label=label)
        if label in limits:
            ax.plot(*limits[label], color=colour, ls="--", lw=1, label="_")
    if limits:
        ax.plot([], [], color="black", ls="--", lw=1, label="largest that is stable")
    ax.set(yscale="log", xlabel="step", ylabel="largest eigenvalue")
    legend_above(ax, 2)
    return ax
