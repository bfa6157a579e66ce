"""Draw the figures of curvature.md: ``python -m docs.curvature_figures``. A minute: one small network trains.

The sharpness comes from bayeslaw/assets/shapes.csv; the densities from a network that reads the standard
library's source.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bayeslaw.assets import SHAPES
from bayeslaw.files import write_atomically
from bayeslaw.lab.data.tokens import prepare
from bayeslaw.lab.train import schedules
from bayeslaw.lab.train.spec import RunSpec, checked
from bayeslaw.plots.curvature import plot_sharpness, plot_spectral_density
from bayeslaw.runs.io import read_runs
from bayeslaw.spectra import Landscape, NextStep, density_at, spectral_density, thresholds
from tests.studies.early_curvature import place

FOLDER = Path(__file__).parent
STEPS, WARMUP, MEASURED, VECTORS = 256, 26, 4, 30
SPEC = checked(
    RunSpec(
        "density", "figure", "stdlib", "adamw", 24, 1, 3, 512 * STEPS, 512, 1e-2, warmup_tokens=512 * WARMUP
    )
)
SHOWN = ((16, 1), (16, 8), (32, 1), (24, 4))
"""Width and depth of the networks whose sharpness is drawn."""
COMPARED = (32, 4)
"""Those of the network whose optimizers are compared."""
MOMENTS = {"0": 0, "0.08": 20, "0.5": 128, "1": 256}
LOW = {"adamw": 3e-3, "muon": 6e-3, "sgd": 0.2}
"""Rates of the measured runs, about a quarter of the usual ones, as in train/plans/shapes.toml."""
NAMES = {"adamw": "AdamW", "muon": "Muon", "sgd": "SGD, momentum 0.9"}


def main() -> None:
    """Write both."""
    for name, draw in (("sharpness", draw_sharpness), ("density", draw_densities)):
        path = FOLDER / f"curvature-{name}.png"
        with write_atomically(path) as temporary:  # small files: they are part of the repository
            draw().savefig(temporary, format="png", dpi=90, pil_kwargs={"optimize": True})
        print(path)


def draw_sharpness():
    """Largest eigenvalue of H, and of the preconditioned Hessian beside the limits of stability."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    steps = np.array([*MOMENTS.values()], float)
    shapes = {f"width {width}, depth {depth}": (width, depth) for width, depth in SHOWN}
    raw, own = (
        {label: measured(column, "adamw", shape) for label, shape in shapes.items()}
        for column in ("lambda_max", "lambda_preconditioned")
    )
    plot_sharpness(steps, raw, {}, left)
    left.set_ylabel("largest eigenvalue of H, AdamW")
    plot_sharpness(steps, own, {next(iter(own)): limit("adamw")}, middle)
    middle.set_ylabel("preconditioned, AdamW")
    by_name = {NAMES[o]: measured("lambda_preconditioned", o, COMPARED) for o in LOW}
    plot_sharpness(steps, by_name, {NAMES[o]: limit(o) for o in LOW}, right)
    right.set_ylabel("preconditioned, width {}, depth {}".format(*COMPARED))
    return figure


def limit(optimizer: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and the largest eigenvalue at which an optimizer's steps are stable at the rate in use."""
    path = np.arange(1.0, STEPS)
    rates = [schedules.fraction("cosine", int(s), STEPS, WARMUP, 0.1) for s in path]
    return path, thresholds.of_optimizer(optimizer) / (LOW[optimizer] * np.array(rates))


def measured(column: str, optimizer: str, shape: tuple[int, int]) -> np.ndarray:
    """A column at each moment of an optimizer's run at the low rate; NaN where it was not measured."""
    runs = read_runs(SHAPES)
    runs = runs[(runs["study"] == "shapes") & (runs["optimizer"] == optimizer)]
    runs = runs[(runs["learning_rate"] == LOW[optimizer]) & (runs["tokens"] == SPEC.tokens)]
    runs = runs[runs["seed"] == SPEC.seed]
    (row,) = runs[(runs["width"] == shape[0]) & (runs["depth"] == shape[1])].to_dict("records")
    return np.array([row[f"{column}_at_{share}"] for share in MOMENTS], float)


def draw_densities():
    """Spectral density of H and of the preconditioned Hessian, before and after training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots(1, 2)
    torch.set_num_threads(1)
    masses = [
        (
            spectral_density(here, None, vectors=VECTORS),
            spectral_density(here, step.inverse_root, vectors=VECTORS),
        )
        for here, step in places()
    ]
    for ax, pair, name in zip(axes, zip(*masses, strict=True), ("H", "the preconditioned Hessian")):
        low, high = (f(found.span[i] for found in pair) for i, f in ((0, min), (1, max)))
        width = 0.005 * (high - low)
        grid = np.linspace(low - 5 * width, high + 5 * width, 800)
        labels = (f"{name}, before training", f"after {STEPS} steps")
        shown = {label: density_at(found, grid, width) for label, found in zip(labels, pair)}
        plot_spectral_density(grid, shown, {label: found.span[1] for label, found in zip(labels, pair)}, ax)
    return figure


def places() -> Iterator[tuple[Landscape, NextStep]]:
    """Landscape and next step of one network, before and after training."""
    corpus = prepare(SPEC.corpus)
    for steps in (0, SPEC.steps):
        yield place(SPEC, corpus, steps, MEASURED)


if __name__ == "__main__":
    main()
