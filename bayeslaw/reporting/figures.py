"""Figures of the report: pictures within the page, with a text alternative."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw import plots
from bayeslaw.errors import BadInput
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import short

if TYPE_CHECKING:
    import pandas as pd

EXPONENTS = ("gamma", "delta", "epsilon")
DPI = 120
COLOURS = 128
"""Number of colours of a picture: enough for bands, at a third of the size."""


@dataclass(frozen=True)
class Picture:
    """One figure: its caption, its text alternative, and the function that draws it."""

    caption: str
    alt: str
    draw: Callable[[], Any]
    wide: bool = False


def figures(posterior: Posterior, target: Target, runs: pd.DataFrame | None = None) -> str:
    """Format every figure as HTML, under headings; a figure that cannot be drawn states why.

    Args:
        posterior: the fit.
        target: target of the advice in the figures.
        runs: run table that it was fitted to; adds figures that need it.
    """
    chapters = {
        "The advice": _advice(posterior, target),
        "What the runs taught": _parameters(posterior),
        "The runs": [] if runs is None else _runs(posterior, target, runs),
        "The chains": _chains(posterior, target),
    }
    return "".join(
        f'<h3>{name}</h3><div class="figures">{"".join(map(_figure, pictures))}</div>'
        for name, pictures in chapters.items()
        if pictures
    )


def _advice(posterior: Posterior, target: Target) -> list[Picture]:
    run = f"{target.optimizer}, N = {short(target.params_nonembedding)}, D = {short(target.tokens)} tokens"
    shaded = "Shaded: beyond the fitted cells. Bands hold 50 and 90% of the draws."
    fitted = replace(target, params_nonembedding=_size_of_most_cells(posterior, target))
    return [
        Picture(
            f"What each learning rate loses, for {run}.",
            "Loss above its best against peak learning rate at the advised batch, with bands of 50 and 90% "
            "of the draws; a line marks the advice. The calculator says the same in numbers, for any run.",
            lambda: plots.plot_recommendation(posterior, target),
        ),
        Picture(
            f"The best peak learning rate as N grows at the example's tokens per parameter. {shaded}",
            "Best peak learning rate against N on logarithmic scales: a curve with bands that widen beyond "
            "the fitted cells, which are shown as dots with intervals.",
            lambda: plots.plot_optimum(posterior, "learning_rate", "params", target),
        ),
        Picture(
            f"The best batch as D grows, at N = {short(fitted.params_nonembedding)}. {shaded}",
            "Best batch in tokens against D on logarithmic scales: a curve with bands that widen beyond the "
            "fitted cells.",
            lambda: plots.plot_optimum(posterior, "batch_tokens", "tokens", fitted),
        ),
        Picture(
            "Loss against learning rate at the example's N, a tenth and a hundredth: the optimum moves.",
            "One curve of loss against peak learning rate for each of three sizes, with the interval of the "
            "best learning rate marked on each.",
            lambda: plots.plot_learning_rates(posterior, [_shrunk(target, by) for by in (100, 10, 1)]),
        ),
    ]


def _shrunk(target: Target, by: float) -> Target:
    """Target of a smaller model at the same tokens per parameter."""
    n, d = target.params_nonembedding / by, target.tokens / by
    return replace(target, params_nonembedding=n, tokens=d)


def _size_of_most_cells(posterior: Posterior, target: Target) -> float:
    """The N that was fitted at most D, the largest of several."""
    group = target.study, target.optimizer
    own = [cell.params_nonembedding for cell in posterior.cells if cell.group == group]
    return max(own, key=lambda n: (own.count(n), n), default=target.params_nonembedding)


def _parameters(posterior: Posterior) -> list[Picture]:
    return [
        Picture(
            "gamma, by which the best learning rate falls with N, in each group, and what its own runs say "
            "(hollow): how far pooling moved it.",
            "Medians with 50 and 90% intervals of gamma in each study and optimizer, under the mean of the "
            "population. The table of exponents has the same numbers.",
            lambda: plots.plot_forest(posterior, "gamma"),
        ),
        Picture(
            "How much optimizers differ in the exponents: after the runs, and before them.",
            "Standard deviation between optimizers of gamma, delta and epsilon, with 50 and 90% intervals, "
            "each above its prior.",
            lambda: plots.plot_spread(posterior, EXPONENTS),
        ),
        Picture(
            "gamma of the population before and after the runs, beside published laws.",
            "Prior and posterior density of the population's mean gamma, with the exponents of published "
            "laws marked.",
            lambda: plots.plot_prior_posterior(posterior, "gamma"),
        ),
    ]


def _runs(posterior: Posterior, target: Target, runs: pd.DataFrame) -> list[Picture]:
    cell = _shown_cell(target, runs)
    size = f"N = {short(cell.params_nonembedding)}, D = {short(cell.tokens)} tokens"
    return [
        Picture(
            "Measured less predicted loss in each cell: coloured cells are off.",
            "For each cell, the spread of measured less predicted log loss of its runs against the 90% "
            "interval that the model predicts.",
            lambda: plots.plot_predictive(posterior, runs),
            wide=True,
        ),
        Picture(
            f"The loss surface of one cell, {cell.optimizer} at {size}, and its runs.",
            "Contours of the loss above its best over peak learning rate and batch, with the cell's runs as "
            "dots, the ridge, the optimum and the advice.",
            lambda: plots.plot_surface(posterior, runs, cell),
            wide=True,
        ),
    ]


def _shown_cell(target: Target, runs: pd.DataFrame) -> Target:
    """The target's group if these runs have it, in the cell with most finished runs."""
    finished = runs[runs["status"] == "finished"]
    own = finished[(finished["study"] == target.study) & (finished["optimizer"] == target.optimizer)]
    counts = (finished if own.empty else own).value_counts(
        ["study", "optimizer", "params_nonembedding", "tokens"]
    )
    if counts.empty:
        return target
    study, optimizer, n, d = counts.index[0]
    return replace(target, params_nonembedding=float(n), tokens=float(d), optimizer=optimizer, study=study)


def _chains(posterior: Posterior, target: Target) -> list[Picture]:
    group = f"{target.study}/{target.optimizer}"
    return [
        Picture(
            "R-hat and effective draws of every parameter in the draws kept here, the worst by name; "
            "diamonds: in all draws of the fit, by which it was judged. Orange crosses fail.",
            "R-hat, and the lesser of bulk and tail effective draws, against their thresholds. The "
            "diagnostics below have the worst in numbers.",
            lambda: plots.plot_convergence(posterior),
            wide=True,
        ),
        Picture(
            f"Ranks of each chain's draws of the exponents of {group}: flat where the chains agree.",
            "Histograms of the ranks of each chain's draws among all of them, a panel an exponent.",
            lambda: plots.plot_ranks(posterior, [f"{name}[{group}]" for name in EXPONENTS]),
            wide=True,
        ),
    ]


def _figure(picture: Picture) -> str:
    try:
        shown = f'<img src="{_drawn(picture)}" alt="{escape(picture.alt)}">'
    except BadInput as error:
        shown = f'<p class="hint">Not drawn: {escape(str(error))}</p>'
    kind = ' class="wide"' if picture.wide else ""
    return f"<figure{kind}>{shown}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _drawn(picture: Picture) -> str:
    """Picture as a data URI: PNG of few colours."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure = np.ravel(picture.draw())[0].figure
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI)
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(COLOURS).save(packed, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
