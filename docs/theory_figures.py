"""Draw the figures of theory.md: ``python docs/theory_figures.py``.

Nothing is random: the files change only where formulas or runs do.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslaw.assets import BOOKS
from bayeslaw.files import write_atomically
from bayeslaw.plots.theory import (
    plot_burn_in,
    plot_contours,
    plot_paths,
    plot_penalties,
    plot_slopes,
    plot_tuned,
)
from bayeslaw.theory.burn_in import burn_in_samples, tune_with_burn_in
from bayeslaw.theory.contours import (
    batch_penalty,
    contour_batch,
    corner,
    fewest_samples,
    learning_rate_penalty,
)
from bayeslaw.theory.lmo import UNIT, bound, bound_coefficients, largest_batch, tune_at_batch
from bayeslaw.theory.measured import Slopes, measure_slopes
from bayeslaw.theory.paths import tune_all, tune_given_batch

FOLDER = Path(__file__).parent
WITHIN = (0.1, 0.2, 0.4)
MOMENTA = (0.999, 0.934)
BATCH = 1072
"""Of the paper's second figure (secondary)."""

PROXY = UNIT._replace(burn_in=0.0)
"""The bound that Theorem 2 minimises: unit constants, no burn-in."""


def main() -> None:
    """Write all of them."""
    drawn = {"batch": draw_batches, "tuned": draw_tuned, "cost": draw_costs, "measured": draw_measured}
    for name, draw in drawn.items():
        path = FOLDER / f"theory-{name}.png"
        with write_atomically(path) as temporary:  # small files: they are part of the repository
            draw().savefig(temporary, format="png", dpi=90, pil_kwargs={"optimize": True})
        print(path)


def draw_batches():
    """Best batch at a fixed momentum, and the batches that a tuned momentum allows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    samples, searched = np.geomspace(1e4, 1e18, 57), 10.0 ** np.arange(4, 19)
    labels = {f"momentum {momentum}": 1 - momentum for momentum in MOMENTA}
    closed = {label: tune_with_burn_in(samples, alpha).batch for label, alpha in labels.items()}
    found = {label: (searched, searched_batches(searched, alpha)) for label, alpha in labels.items()}
    plot_burn_in(samples, closed, found, {x: float(burn_in_samples(a)) for x, a in labels.items()}, left)
    c = bound_coefficients()
    widest = {share: widest_batches(samples, share) for share in (0.01, 0.1)}
    paths = {
        "q = 1/2: cap of Corollary 1": largest_batch(samples, c),
        "q = 1/6: Theorem 3": tune_all(samples, c).batch,
        "q = 0: batch of 4": np.full_like(samples, 4.0),
    }
    plot_paths(samples, widest, paths, right)
    return figure


def draw_tuned():
    """Momentum and learning rate, both tuned at a batch of 1072."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.7), layout="constrained")
    samples, searched = np.geomspace(1e4, 1e18, 57), 10.0 ** np.arange(4, 19)
    best = tune_at_batch(samples, BATCH)
    found = np.array([searched_settings(float(t)) for t in searched])
    names = {"best 1 - momentum": best.alpha, "best learning rate": best.learning_rate}
    label = f"batch {BATCH}"
    for ax, dots, (name, closed) in zip(figure.subplots(1, 2), found.T, names.items(), strict=True):
        plot_tuned(samples, {label: closed}, {label: (searched, dots)}, 4.0 * BATCH**2, name, ax)
    return figure


def draw_costs():
    """Contours of equal performance, and what wrong settings cost."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    levels = {f"P = {level:g}": level for level in (0.3, 0.1, 0.03)}
    steps = np.geomspace(10.0, 1e6, 400)
    plot_contours(
        steps,
        {label: contour_batch(level, steps) for label, level in levels.items()},
        {label: tuple(map(float, fewest_samples(level))) for label, level in levels.items()},
        left,
    )
    left.set_xlim(0.8 * float(corner(0.3).steps), steps[-1])
    ratios = np.geomspace(1 / 8, 8, 101)
    penalties = {
        "batch, learning rate retuned": batch_penalty(ratios),
        "learning rate, at the best batch": learning_rate_penalty(ratios),
    }
    plot_penalties(ratios, penalties, right)
    return figure


def draw_measured():
    """Exponents of the best learning rate in batch and momentum, by the runs of books.csv."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = optimizers()
    found = {name: {within: slopes_of(name, within) for within in WITHIN} for name in names}
    for ax, key, axis, predicted in (
        (left, "batch", "d ln(learning rate) / d ln(batch)", {"predicted": 0.5}),
        (right, "alpha", "d ln(learning rate) / d ln(1 - momentum)", {"averaged": 0.5, "heavy ball": 1.5}),
    ):
        estimates = {
            name: {
                f"ln loss within {within:g}": (each.mean[key], each.error[key])
                for within, each in found[name].items()
            }
            for name in names
        }
        plot_slopes(estimates, predicted, axis, ax)
    return figure


def searched_batches(samples: Iterable[float], alpha: float) -> np.ndarray:
    """Best batches by a search of all learning rates and batches on a grid, which is refined four times."""
    return np.array([_searched(float(t), alpha) for t in samples])


def _searched(samples: float, alpha: float) -> float:
    rates, batches = (-0.75 * log(samples) - 5, 5.0), (0.0, 0.6 * log(samples) + 1)
    for _ in range(5):
        x, y = np.linspace(*rates, 61), np.linspace(*batches, 61)
        values = bound(np.exp(x)[:, None], np.exp(y), alpha, samples)
        i, j = np.unravel_index(values.argmin(), values.shape)
        rates = (x[max(i - 2, 0)], x[min(i + 2, 60)])
        batches = (y[max(j - 2, 0)], y[min(j + 2, 60)])
    return float(np.exp(y[j]))


def searched_settings(samples: float) -> tuple[float, float]:
    """Best alpha and learning rate at a batch of ``BATCH``, by a search as of ``searched_batches``."""
    alphas, rates = (-0.5 * log(samples) - 2, 0.0), (-0.75 * log(samples) - 2, 5.0)
    for _ in range(6):
        x, y = np.linspace(*alphas, 61), np.linspace(*rates, 61)
        values = bound(np.exp(y), BATCH, np.exp(x)[:, None], samples, PROXY)
        i, j = np.unravel_index(values.argmin(), values.shape)
        alphas = (x[max(i - 2, 0)], x[min(i + 2, 60)])
        rates = (y[max(j - 2, 0)], y[min(j + 2, 60)])
    return float(np.exp(x[i])), float(np.exp(y[j]))


def widest_batches(samples: np.ndarray, share: float) -> np.ndarray:
    """Largest batches whose bound, learning rate and momentum tuned, is within a share of the least one."""
    batches = np.geomspace(1.0, 1e10, 801)
    values = tune_given_batch(samples[:, None], batches, bound_coefficients()).bound
    good = values <= (1 + share) * values.min(axis=1, keepdims=True)
    return np.array([batches[row].max() for row in good])


def optimizers() -> list[str]:
    """Of books.csv, those with an averaged momentum first."""
    return ["adamw", "muon", "lion", "rmsprop", "sgd"]


def slopes_of(optimizer: str, within: float) -> Slopes:
    """Measured exponents of one optimizer of books.csv."""
    runs = pd.read_csv(BOOKS)
    runs = runs[(runs["status"] == "finished") & (runs["optimizer"] == optimizer)]
    settings = {
        "batch": runs["batch_tokens"],
        "alpha": 1 - runs["momentum"],
        "decay": runs["weight_decay"] + 0.01,
    }
    sizes = {"params": runs["params_nonembedding"], "tokens": runs["tokens"]}
    cells = [f"{n} {d}" for n, d in zip(runs["params_nonembedding"], runs["tokens"], strict=True)]
    return measure_slopes(runs["learning_rate"], settings, sizes, runs["loss"], cells, within)


if __name__ == "__main__":
    main()
