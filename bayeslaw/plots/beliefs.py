"""Prior and posterior of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import (
    PARAMETERS,
    SPREAD_LOG_SD,
    derived,
    natural,
    short_name,
    usual_shifts,
)
from bayeslaw.law.published import THEORY, published
from bayeslaw.plots.axes import (
    BLUE,
    GREY,
    LINES,
    OKABE_ITO,
    check_known,
    interval_line,
    legend_above,
    legend_beside,
    name_rows,
    new_axis,
    round_ticks,
    value_axis,
)
from bayeslaw.plots.quotient import Group
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import population_draws

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"gamma": ("gamma_path", "delta")}
"""A parameter that is a difference of parameters, which are independent."""


def plot_spread(posterior: Posterior, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Plot standard deviations of parameters between optimizers, 50 and 90%: posterior, and prior below it.

    The prior is log-normal about the parameter's ``between_optimizers`` (``parameters.SPREAD_LOG_SD``). Where
    the two agree, these runs say nothing about how much optimizers differ.

    Args:
        posterior: the fit.
        names: of group parameters, or ``gamma``.
        ax: where to draw; None makes a figure.

    Returns:
        The axis; parameters at heights 0, -1, ...

    Raises:
        BadInput: no name, or an unknown one.
    """
    for name in names or [""]:
        check_known("plot_spread", name, (*posterior.between_optimizers, *PARTS))
    ax = new_axis(ax, (6.4, 1.3 + 0.45 * len(names)))
    for row, name in enumerate(names):
        interval_line(ax, -row - 0.28, prior_spread(name), GREY, hollow=True)
        interval_line(ax, -row, spread_draws(posterior, name))
    ax.plot([], [], "o-", color=BLUE, markersize=5, label="posterior, 50 and 90%")
    ax.plot([], [], "o-", color=GREY, markersize=5, mfc="white", lw=1, label="prior, 90%")
    name_rows(ax, [short_name(name) for name in names])
    ax.set(xscale="log")
    ax.set_xlabel("standard deviation between optimizers")
    round_ticks(ax.xaxis)
    legend_above(ax, 2)
    return ax


def spread_draws(posterior: Posterior, name: str) -> Floats:
    """Standard deviation of a parameter between optimizers, (draw,)."""
    parts = [posterior.between_optimizers[part] for part in PARTS.get(name, (name,))]
    return np.sqrt(np.sum(np.square(parts), axis=0))


def prior_spread(name: str, kind: str = "between_optimizers", count: int = 2000) -> Floats:
    """Prior of the same between optimizers or studies: evenly spaced quantiles, (count,).

    Of a difference, draws.

    >>> float(np.median(prior_spread("delta")).round(3))
    0.12
    """
    parts = PARTS.get(name, (name,))
    normals = np.tile(stats.norm.ppf((np.arange(count) + 0.5) / count), (len(parts), 1))
    for row in range(1, len(parts)):
        normals[row] = np.random.default_rng(row).permutation(normals[row])
    medians = np.array([[getattr(PARAMETERS[part], kind)] for part in parts])
    return np.sqrt(np.sum(np.square(medians * np.exp(SPREAD_LOG_SD * normals)), axis=0))


def plot_prior_posterior(
    posterior: Posterior,
    name: str,
    group: Group | str | None = None,
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    """Plot prior and posterior density of a parameter, each scaled to its peak, with theory and published
    laws.

    Args:
        posterior: the fit.
        name: of a group parameter, ``gamma``, or a study parameter.
        group: (study, optimizer) of the group; None for the mean of its population. Of a study
            parameter, the study; None for all studies.
        ax: where to draw; None makes a figure.
        seed: of the population's mean.

    Returns:
        The axis.

    Raises:
        BadInput: an unknown name or group, or a group without the parameter.
    """
    drawn = _posterior_of(posterior, name, group, seed)
    ax = new_axis(ax, (7.2, 3.6))
    mean, sds = _prior_of(posterior, name, group)
    everything = np.concatenate(list(drawn.values()))
    low = min(mean - 2.8 * float(np.median(sds)), everything.min())
    high = max(mean + 2.8 * float(np.median(sds)), everything.max())
    grid = np.linspace(low, high, 400)
    prior = stats.norm.pdf(grid[:, None], mean, sds).mean(axis=1)
    ax.fill_between(natural(name, grid), prior / prior.max(), color=GREY, alpha=0.45, lw=0, label="prior")
    for number, (label, draws) in enumerate(drawn.items()):
        density = stats.gaussian_kde(draws)(grid)
        colour, line = OKABE_ITO[number % 8], ("-", *LINES)[number % 7]
        ax.plot(natural(name, grid), density / density.max(), color=colour, ls=line, lw=1.8, label=label)
    _marks(ax, name, posterior.reference)
    ax.set(ylim=(0, 1.08), yticks=[])
    ax.set_ylabel("density, each to its peak")
    value_axis(ax, name, posterior.reference)
    legend_beside(ax)
    return ax


def _posterior_of(posterior: Posterior, name: str, group: Group | str | None, seed: int) -> dict[str, Floats]:
    """Draws to plot by label."""
    values = posterior.group | derived(posterior.group)
    check_known("plot_prior_posterior", name, (*values, *posterior.study))
    if name in posterior.study:
        labels: dict[Group | str, str] = {study: f"posterior, {study}" for study in posterior.studies}
        members = dict(zip(labels, posterior.study[name].T, strict=True))
    elif group is None:
        return {"posterior, population mean": population_draws(posterior, seed)[name]}
    else:
        labels = {each: f"posterior, {each[1]} in {each[0]}" for each in posterior.groups}
        members = dict(zip(labels, values[name].T, strict=True))
        members = {each: draws for each, draws in members.items() if np.isfinite(draws).all()}
    if group is not None and group not in members:
        known = ", ".join(map(str, members))
        raise BadInput(
            f"plot_prior_posterior: no {name} of {group!r}; expected one of {known}; name one of these"
        )
    return {labels[each]: draws for each, draws in members.items() if group in (None, each)}


def _prior_of(posterior: Posterior, name: str, group: Group | str | None) -> tuple[float, Floats]:
    """Mean and standard deviations of the even mixture that approximates the prior."""
    if name in posterior.study_prior:
        mean, sd = posterior.study_prior[name]
        return mean, np.array([sd])
    parts = [posterior.group_prior[part] for part in PARTS.get(name, (name,))]
    mean = parts[0][0] - sum(part[0] for part in parts[1:])
    variance = np.array([sum(part[1] ** 2 for part in parts)])
    if group is not None:
        mean += float(usual_shifts(name, [group[1]], posterior.provenance.get("parts", ()))[0])
        rng = np.random.default_rng(0)
        for kind in ("between_optimizers", "between_studies"):
            variance = variance + rng.permutation(prior_spread(name, kind, 300)) ** 2
    return mean, np.sqrt(variance)


def _marks(ax: Axes, name: str, pivot: tuple[float, float]) -> None:
    """Draw theory as black and published laws as coloured vertical lines."""
    for number, (label, value) in enumerate(THEORY.get(name, {}).items()):
        ax.axvline(value, color="black", lw=1.2, ls=("-", LINES[0])[number % 2], label=label)
    for number, (law, value) in enumerate(published(name, pivot).items()):
        colour, line = OKABE_ITO[1 + number % 7], LINES[number % len(LINES)]
        ax.axvline(float(natural(name, np.array(value))), color=colour, ls=line, lw=1.6, label=f"law: {law}")
