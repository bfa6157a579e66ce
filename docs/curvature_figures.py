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
MOMENTS = {"0": 0, "0.08": 20, "0.5": 128, "1": 256}
LOW = 3e-3


def main() -> None:
    """Write both."""
    for name, draw in (("sharpness", draw_sharpness), ("density", draw_densities)):
        path = FOLDER / f"curvature-{name}.png"
        with write_atomically(path) as temporary:  # small files: they are part of the repository
            draw().savefig(temporary, format="png", dpi=90, pil_kwargs={"optimize": True})
        print(path)


def draw_sharpness():
    """Largest eigenvalue of H, and of the preconditioned Hessian beside AdamW's limit, over training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    raw, own = measured("lambda_max"), measured("lambda_preconditioned")
    steps = np.array([*MOMENTS.values()], float)
    plot_sharpness(steps, raw, {}, left)
    left.set_ylabel("largest eigenvalue of H")
    path = np.arange(1.0, STEPS)
    rates = LOW * np.array([schedules.fraction("cosine", int(s), STEPS, WARMUP, 0.1) for s in path])
    plot_sharpness(steps, own, {next(iter(own)): (path, thresholds.moving_average(0.9) / rates)}, right)
    right.set_ylabel("largest eigenvalue, preconditioned")
    return figure


def measured(column: str) -> dict[str, np.ndarray]:
    """A column at each moment, by network: AdamW's runs at the low rate."""
    runs = read_runs(SHAPES)
    runs = runs[(runs["study"] == "shapes") & (runs["optimizer"] == "adamw") & (runs["learning_rate"] == LOW)]
    found = {}
    for width, depth in SHOWN:
        (row,) = runs[(runs["width"] == width) & (runs["depth"] == depth)].to_dict("records")
        values = [row[f"{column}_at_{share}"] for share in MOMENTS]
        found[f"width {width}, depth {depth}"] = np.array(values, float)
    return found


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
