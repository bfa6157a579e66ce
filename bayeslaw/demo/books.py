"""From the shipped sweep of small networks to advice for a larger one: ``python -m bayeslaw.demo``.

Writes a posterior and a figure under out/demo.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import BOOKS
from bayeslaw.cli.tables import print_fit, print_table, say
from bayeslaw.diagnosis.summary import fit_summary
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.baselines import fit_argmin
from bayeslaw.law.terms import words_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from bayeslaw.text import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGET = Target(984_448, 19_688_960, "adamw", "books")
"""A transformer of width 128 and depth 5 (``models.families``), at 20 tokens per parameter."""

COLOURS = {"adamw": "#0072B2", "muon": "#D55E00", "lion": "#009E73", "rmsprop": "#CC79A7", "sgd": "#666666"}


def main() -> None:
    """Fit, recommend and draw; print the paths last."""
    run_in_folder("demo", __doc__, _run)


def run_in_folder(name: str, description: str | None, run: Callable[[Path, Path | None], None]) -> None:
    """Run the command line of a module that writes to out/NAME; ``run`` gets the folder, and a fit if
    given."""
    parser = argparse.ArgumentParser(prog=f"python -m bayeslaw.{name}", description=description)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out") / name, help="folder for the results"
    )
    parser.add_argument("--posterior", type=Path, help="draw from this fit of the sweep; default: fit it now")
    asked = parser.parse_args()
    began = time.perf_counter()
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
        run(asked.output, asked.posterior)
    except (BadInput, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    say(f"{time.perf_counter() - began:.0f} s in all")


def _run(folder: Path, fitted: Path | None) -> None:
    runs = read_runs(BOOKS)
    posterior = read_posterior(fitted) if fitted else _fit(runs, folder / "posterior.nc")
    for optimizer in sorted(set(runs["optimizer"])):
        print_advice(posterior, runs, replace(TARGET, optimizer=optimizer))
    picture = folder / "recommendation.png"
    draw(posterior, runs, picture)
    for path in (fitted or folder / "posterior.nc", picture):
        print(path)


def _fit(runs: pd.DataFrame, path: Path) -> Posterior:
    """Fit the core of the law: with the default parts, the two modes of Lion's weight decay take minutes."""
    from bayeslaw.inference.fitting import fit

    n = runs["params_nonembedding"]
    say(f"{BOOKS.name}: {len(runs)} runs of {n.min():,.0f} to {n.max():,.0f} parameters, trained by us")
    posterior = fit(runs, seed=0, sources=(BOOKS.name,), say=say, parts=())
    write_posterior(posterior, path)
    print_fit({"output": path} | fit_summary(posterior, runs))
    return posterior


def print_advice(posterior: Posterior, runs: pd.DataFrame, target: Target) -> None:
    """Print the advice with intervals, beside that of least squares through the best run of each cell."""
    result = predict(posterior, target)
    usual = usual_method(runs, target)
    rows = []
    for name, value in result.recommendation.items():
        best = result.optimum[name]
        span = f"{setting(name, best.lower)} to {setting(name, best.upper)}"
        rows.append(
            [words_of(name), setting(name, value), span, setting(name, usual[name]) if name in usual else "-"]
        )
    loss = result.loss_nats_per_token
    rows.append(["loss, nats/token", f"{loss.median:.3f}", f"{loss.lower:.3f} to {loss.upper:.3f}", "-"])
    given = result.regret
    rows.append(["loss given away", f"{given.expected:.1%}", f"below {given.upper:.1%}", "-"])
    title = (
        f"{target.optimizer}, N = {target.params_nonembedding:,.0f}, D = {target.tokens / 1e6:.1f}M tokens"
    )
    print_table(["", "use", "90% interval", "best of each cell, regressed"], rows, title=title)
    for text in result.warnings:
        print(f"warning: {text}")


def usual_method(runs: pd.DataFrame, target: Target) -> dict[str, float]:
    """Advice of the common method (``bayeslaw.evaluation.baselines.fit_argmin``); empty with too few
    cells."""
    try:
        return fit_argmin(runs, target.optimizer).recommend(target)
    except BadInput:
        return {}


def draw(posterior: Posterior, runs: pd.DataFrame, path: Path) -> None:
    """Draw two panels: the cost of each learning rate at the target, and the best learning rate against N."""
    from matplotlib.figure import Figure

    from bayeslaw.plots import plot_recommendation, save_figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_recommendation(posterior, TARGET, left)
    left.set_title(f"AdamW, N = {TARGET.params_nonembedding:,.0f}, D = 20 N")
    _optimum_against_size(posterior, runs, right)
    save_figure(figure, path)


def _optimum_against_size(posterior: Posterior, runs: pd.DataFrame, ax: Axes) -> None:
    """Draw the best learning rate of each optimizer along D = 20 N, with 50% intervals, and the fitted
    sizes."""
    sizes = np.geomspace(runs["params_nonembedding"].min(), 3 * TARGET.params_nonembedding, 13)
    largest = runs["params_nonembedding"].max()
    ax.axvspan(sizes[0], largest, color="#666666", alpha=0.15, lw=0, label="sizes run")
    for optimizer in sorted(set(runs["optimizer"])):
        advice = [predict(posterior, Target(n, 20 * n, optimizer, TARGET.study), level=0.5) for n in sizes]
        middle, low, high = zip(*(each.optimum["learning_rate"] for each in advice), strict=True)
        ax.fill_between(sizes, low, high, color=COLOURS[optimizer], alpha=0.2, lw=0)
        ax.plot(sizes, middle, color=COLOURS[optimizer], lw=1.5, label=optimizer)
    ax.set(xscale="log", yscale="log", xlim=(sizes[0], sizes[-1]))
    ax.set_xlabel("N, non-embedding parameters, at 20 tokens each")
    ax.set_ylabel("best peak learning rate, 50% intervals")
    ax.set_title("Optimizers pooled in one population")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9, edgecolor="none")
