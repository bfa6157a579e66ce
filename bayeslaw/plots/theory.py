"""What theory predicts, beside brute force and beside what runs say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.plots.axes import (
    BLUE,
    GREY,
    LINES,
    OKABE_ITO,
    legend_above,
    legend_beside,
    name_rows,
    new_axis,
)
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARKERS = "os^Dv"
NINETY = 1.645
"""Standard errors from the mean to either end of a 90% interval."""


def plot_burn_in(
    samples: Floats,
    closed: Mapping[str, Floats],
    found: Mapping[str, tuple[Floats, Floats]],
    ends: Mapping[str, float],
    ax: Axes | None = None,
) -> Axes:
    """The best batch against the samples at momenta that are not tuned: one sample, until burn-in ends.

    Args:
        samples: T, shape (point,).
        closed: label of a momentum -> best batch by the closed form, shape (point,).
        found: label -> samples and best batches by brute force; drawn as dots.
        ends: label -> samples at which burn-in ends.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.5, 3.8))
    _lines_and_dots(ax, samples, closed, found)
    for number, label in enumerate(closed):
        ax.axvline(ends[label], color=OKABE_ITO[number % len(OKABE_ITO)], lw=0.8, ls=(0, (1, 3)), label="_")
    ax.plot([], [], "o", color="black", ms=4, mfc="none", label="brute force")
    ax.plot([], [], color="black", lw=0.8, ls=(0, (1, 3)), label="burn-in ends")
    ax.set(xscale="log", yscale="log", xlabel="T, samples", ylabel="best batch [samples]")
    legend_above(ax, 2)
    return ax


def plot_tuned(
    samples: Floats,
    closed: Mapping[str, Floats],
    found: Mapping[str, tuple[Floats, Floats]],
    cap: float,
    name: str,
    ax: Axes | None = None,
) -> Axes:
    """A tuned setting against the samples: closed forms as lines, brute force as dots.

    Args:
        samples: T, shape (point,).
        closed: label -> the setting by its closed form, shape (point,).
        found: label -> samples and the setting by brute force.
        cap: samples below which there is no momentum left to tune.
        name: of the setting, the label of the axis.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (4.8, 3.8))
    _lines_and_dots(ax, samples, closed, found)
    ax.axvline(cap, color="black", lw=0.8, ls=(0, (1, 3)), label="momentum 0 below")
    ax.plot([], [], "o", color="black", ms=4, mfc="none", label="brute force")
    ax.set(xscale="log", yscale="log", xlabel="T, samples", ylabel=name)
    legend_above(ax, 2)
    return ax


def _lines_and_dots(
    ax: Axes, samples: Floats, closed: Mapping[str, Floats], found: Mapping[str, tuple[Floats, Floats]]
) -> None:
    """Closed forms as lines through what brute force found, as dots."""
    for number, (label, values) in enumerate(closed.items()):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        ax.plot(samples, values, color=colour, ls=("-", *LINES)[number % 7], label=label)
        ax.plot(*found[label], MARKERS[number % 5], color=colour, ms=4, mfc="none", label="_")


def plot_paths(
    samples: Floats, widest: Mapping[float, Floats], paths: Mapping[str, Floats], ax: Axes | None = None
) -> Axes:
    """Batches that are as good as the best one where the momentum is tuned too, and paths among them.

    Args:
        samples: T, shape (point,).
        widest: share above the least bound -> the largest batch within it, shape (point,).
        paths: label -> batch, shape (point,).
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.5, 3.8))
    shades = np.linspace(0.45, 0.15, len(widest))
    below = np.ones_like(samples)
    for shade, (share, batches) in zip(shades, sorted(widest.items()), strict=True):
        ax.fill_between(samples, below, batches, color=BLUE, alpha=shade, lw=0, label=f"within {share:.0%}")
        below = batches
    for number, (label, batches) in enumerate(paths.items()):
        colour = OKABE_ITO[(1 + number) % len(OKABE_ITO)]
        ax.plot(samples, batches, color=colour, ls=("-", *LINES)[number % 7], lw=1.4, label=label)
    ax.set(xscale="log", yscale="log", xlabel="T, samples", ylabel="batch [samples]")
    ax.set_xlim(samples[0], samples[-1])
    ax.set_ylim(bottom=1)
    legend_above(ax, 2)
    return ax


def plot_contours(
    steps: Floats,
    contours: Mapping[str, Floats],
    corners: Mapping[str, tuple[float, float]],
    ax: Axes | None = None,
) -> Axes:
    """Batch against steps at equal performance; a dot where the fewest samples do.

    Args:
        steps: K, shape (point,).
        contours: label of a level -> batch, shape (point,); infinite where no batch is enough.
        corners: label -> steps and batch with the fewest samples.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (4.8, 3.8))
    top = 0.0
    for number, (label, batches) in enumerate(contours.items()):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        there = np.isfinite(batches)
        ax.plot(steps[there], batches[there], color=colour, ls=("-", *LINES)[number % 7], label=label)
        ax.plot(*corners[label], "o", color=colour, ms=5, label="_")
        top = max(top, 100 * corners[label][1])
    ax.plot([], [], "o", color="black", ms=5, label="fewest samples")
    ax.set(xscale="log", yscale="log", xlabel="K, steps", ylabel="batch [samples]")
    ax.set_ylim(top=top)
    legend_above(ax, 2)
    return ax


def plot_penalties(ratios: Floats, penalties: Mapping[str, Floats], ax: Axes | None = None) -> Axes:
    """What a setting off its optimum costs.

    Args:
        ratios: setting over the best one, shape (point,).
        penalties: label -> bound over the least bound, shape (point,).
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (4.8, 3.8))
    for number, (label, values) in enumerate(penalties.items()):
        colour, line = OKABE_ITO[number % len(OKABE_ITO)], ("-", *LINES)[number % 7]
        ax.plot(ratios, values, color=colour, ls=line, label=label)
    ax.set(xscale="log", xlabel="setting / best setting", ylabel="bound / least bound")
    ax.xaxis.set_major_formatter(lambda value, _: short(value) if value >= 1 else f"1/{1 / value:.3g}")
    ax.set_xticks([x for x in 2.0 ** np.arange(-10, 11) if ratios[0] <= x <= ratios[-1]])
    ax.minorticks_off()
    legend_above(ax, 1)
    return ax


def plot_slopes(
    estimates: Mapping[str, Mapping[str, tuple[float, float]]],
    predicted: Mapping[str, float],
    name: str,
    ax: Axes | None = None,
) -> Axes:
    """Measured exponents of the best learning rate, optimizer by optimizer, beside what is predicted.

    Args:
        estimates: optimizer -> how it was estimated -> mean and standard error.
        predicted: label -> exponent.
        name: of the exponent, the label of the axis.
        ax: where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = new_axis(ax, (5.5, 3.6))
    for number, (label, value) in enumerate(predicted.items()):
        ax.axvline(value, color=OKABE_ITO[1 + number], ls=LINES[number % len(LINES)], lw=1.4, label=label)
    ax.axvline(0.0, color=GREY, lw=0.8, zorder=0)
    for row, ways in enumerate(estimates.values()):
        _estimates(ax, -row, ways, first=row == 0)
    name_rows(ax, list(estimates))
    ax.set_xlabel(name)
    legend_beside(ax, "with 90% intervals")
    return ax


def _estimates(ax: Axes, row: float, ways: Mapping[str, tuple[float, float]], first: bool) -> None:
    """One row: estimates under one another, with 90% intervals."""
    offsets = np.linspace(0.22, -0.22, len(ways)) if len(ways) > 1 else np.zeros(1)
    for number, (offset, (label, (mean, error))) in enumerate(zip(offsets, ways.items(), strict=True)):
        ends = [mean - NINETY * error, mean + NINETY * error]
        ax.plot(ends, [row + offset] * 2, color=BLUE, lw=1)
        marker = MARKERS[number % len(MARKERS)]
        ax.plot(
            mean, row + offset, marker, color=BLUE, ms=4.5, mfc="white" if number else BLUE,
            label=label if first else "_",
        )  # fmt: skip
