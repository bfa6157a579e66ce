"""Convergence of the draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.plots.axes import BLUE, GREY, OKABE_ITO, ORANGE, legend_above, new_axes, round_ticks
from bayeslaw.posterior.arviz import scalars
from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX, arviz_module
from bayeslaw.posterior.draws import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 8
"""Number of parameters named in each panel."""

NAME_ENDS = (22, 16)
"""Letters of a long name that are shown, of its beginning and its end."""


def plot_ranks(posterior: Posterior, names: Sequence[str], ax: Sequence[Axes] | None = None) -> Any:
    """Plot ranks of each chain's draws among all draws, one panel per parameter: flat if the chains agree.

    Source: Vehtari et al. (2021), section 5.1.

    Args:
        posterior: the fit.
        names: of parameters, with all their groups, studies or cells (``gamma``), or with one
            (``gamma[ours/adamw]``).
        ax: where to draw, one axis per panel; None makes a figure.

    Returns:
        The axes, (panel,).

    Raises:
        BadInput: an unknown name, or chains that are not known.
    """
    known = _chains("plot_ranks", posterior)
    shown = [key for name in names for key in known if name in (key, key.partition("[")[0])]
    for name in names or [""]:
        if not any(name in (key, key.partition("[")[0]) for key in known):
            families = ", ".join(dict.fromkeys(key.partition("[")[0] for key in known))
            raise BadInput(
                f"plot_ranks: unknown parameter {name!r}; expected one of {families}; name another"
            )
    columns = min(4, len(shown))
    size = (3.0 * columns, 0.4 + 2.2 * -(-len(shown) // columns))
    axes = new_axes(ax, len(shown), "plot_ranks", size, columns)
    colours = [OKABE_ITO[number % len(OKABE_ITO)] for number in range(len(known[shown[0]]))]
    for panel, key in zip(axes, shown, strict=True):
        arviz_module().plot_rank({"value": known[key]}, ax=panel, colors=colours)
        panel.set_title(key, fontsize="small")
        panel.set_xlabel("rank among all draws", fontsize="small")
        panel.set_ylabel("chain", fontsize="small")
    return axes


def plot_convergence(posterior: Posterior, ax: Sequence[Axes] | None = None) -> Any:
    """Plot R-hat, and the smaller of bulk and tail ESS, of the kept draws against their thresholds.

    The top row has every parameter, the rows below the worst ones by name. Kept draws are fewer than those
    that judged the fit, and so noisier: a diamond shows the worst value over all draws, if the diagnostics
    have it, and none is marked as failing where the diamond passes.

    Source: Vehtari et al. (2021), rank-normalised, as ArviZ computes them.

    Args:
        posterior: the fit.
        ax: two axes; None makes a figure.

    Returns:
        The two axes.

    Raises:
        BadInput: chains that are not known.
    """
    known = _chains("plot_convergence", posterior)
    draws = np.stack(list(known.values()), axis=-1)
    az = arviz_module()
    rhat = az.rhat({"x": draws})["x"].to_numpy()
    ess = np.minimum(*(az.ess({"x": draws}, method=kind)["x"].to_numpy() for kind in ("bulk", "tail")))
    axes = new_axes(ax, 2, "plot_convergence", (11, 3.8), 2)
    said = posterior.diagnostics
    least = min((said[name] for name in ("ess_bulk_min", "ess_tail_min") if name in said), default=None)
    _worst(axes[0], list(known), rhat, said.get("rhat_limit", RHAT_MAX), said.get("rhat_max"), largest=True)
    _worst(axes[1], list(known), ess, ESS_MIN, least, largest=False)
    axes[0].set_xlabel(f"R-hat of the {posterior.draws:,} kept draws")
    axes[0].locator_params(axis="x", nbins=5)
    axes[1].set_xlabel(f"effective sample size of the {posterior.draws:,} kept draws")
    axes[1].set_xscale("log")
    round_ticks(axes[1].xaxis)
    return axes


def _worst(
    ax: Axes, names: Sequence[str], scores: Floats, threshold: float, in_all: float | None, largest: bool
) -> None:
    """Draw all scores in one row, and the worst below it; orange and crossed if they fail.

    None fails where the fit was judged by all its draws and passed: kept draws are fewer, so noisier.
    """
    order = np.argsort(-scores if largest else scores)[:NAMED]
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(scores))
    fails = scores > threshold if largest else scores < threshold
    if in_all is not None and not (in_all > threshold if largest else in_all < threshold):
        fails = np.zeros_like(fails)
    everywhere = np.concatenate([jitter, -1.0 - np.arange(len(order))])
    shown, failed = np.concatenate([scores, scores[order]]), np.concatenate([fails, fails[order]])
    size = np.concatenate([np.full(len(scores), 12.0), np.full(len(order), 36.0)])
    ax.scatter(shown[~failed], everywhere[~failed], s=size[~failed], color=BLUE, alpha=0.7, lw=0)
    ax.scatter(shown[failed], everywhere[failed], s=size[failed], color=ORANGE, marker="X", lw=0)
    ax.axvline(threshold, color="black", lw=1, ls="--", label=f"threshold, {threshold:.4g}")
    if in_all is not None:
        ax.plot(
            in_all, 0, "D", color="black", mfc="white", markersize=6, label="worst in all draws of the fit"
        )
    ax.set_yticks(
        -np.arange(len(order) + 1),
        [f"all {len(names)} parameters", *(_in_short(names[place]) for place in order)],
    )
    ax.tick_params(axis="y", length=0, labelsize="small")
    ax.grid(axis="y", color=GREY, alpha=0.3)
    legend_above(ax, 2)


def _in_short(name: str) -> str:
    """A parameter's name without its middle where it would leave no room for the axes.

    >>> _in_short("cell_level[ours/adamw/50M/1B/shape=128.0/schedule=wsd]")
    'cell_level[ours/adamw/….0/schedule=wsd]'
    """
    first, last = NAME_ENDS
    return name if len(name) <= first + last + 1 else f"{name[:first]}…{name[-last:]}"


def _chains(place: str, posterior: Posterior) -> dict[str, Floats]:
    """Draws that vary, (chain, draw) each."""
    known = {key: draws for key, draws in scalars(posterior).items() if np.ptp(draws) > 0}
    if not known or len(next(iter(known.values()))) < 2:
        raise BadInput(
            f"{place}: the chains of the draws are not known; expected diagnostics with two chains or more; "
            "fit it again with `bayeslaw fit`"
        )
    return known
