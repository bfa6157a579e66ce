"""Look-up worlds: cells of a published sweep that answer any learning rate and batch, with noise.

A **world** is one cell (N, D, optimizer). Its loss is the smoothed surface of the cell's runs; a run's ln
loss scatters about it by the surface's leave-one-out error near the minimum. Beyond the runs the surface is
their nearest edge, a lower bound, and the answer says so. A **family** is a sweep in two parts: cheap worlds
from which methods buy runs, and costly ones that are the tasks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.hull import in_hull, nearest_in_hull
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.runs.cells import comparable_runs, finished_runs, group_cells
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.io import read_runs, read_table
from bayeslaw.runs.layouts import fitting
from bayeslaw.runs.schema import REQUIRED, validate
from bayeslaw.target import Target

DATA = Path(__file__).parents[4] / "shared" / "data"
FILES = ("scalebench_lr_bsz_train.parquet", "marin_optimizer_sweep.csv", "opda_deberta_base_mnli.csv")

TARGET_SHARE, POOL_SHARE = 0.1, 0.1
"""A target costs at least this share of the costliest world, a world of the pool at most this share of the
cheapest target; where no world is that cheap, the costliest is the only target and the pool costs at most
``NEAR_POOL`` of it."""
NEAR_POOL = 0.25

SEED_NOISE = 3.6e-4
"""Sd of ln loss between seeds where a cell has too few runs to tell: modded-nanogpt's 365 repeats."""

FINE_TUNED = {"num_train_epochs", "train_batch_size", "learning_rate", "final_acc"}
"""Columns of a table of fine-tuning runs."""
FINE_TUNED_PARAMS, EXAMPLES, EXAMPLE_TOKENS = 1.0e8, 392_702, 128
"""DeBERTa-base without embeddings; MNLI's training examples; padded length. Assumed: they set the unit of
FLOPs, which cancels in every comparison of costs."""
NEIGHBOURS = 9
"""Runs whose share of failures is the chance that a run between them fails."""


@dataclass(frozen=True)
class Box:
    """Natural logarithms of the settings that the sweep tried; a batch that it did not vary has no width."""

    rate: tuple[float, float]
    batch: tuple[float, float]

    @property
    def dimensions(self) -> int:
        """1 where the batch is fixed, else 2."""
        return 1 if self.batch[0] == self.batch[1] else 2

    def at(self, place: Sequence[float]) -> tuple[float, float]:
        """Learning rate and batch [tokens] of a place in the unit cube, (dimension,).

        >>> Box((0.0, 0.0), (np.log(8.0), np.log(8.0))).at([0.3])[1].round(6)
        np.float64(8.0)
        """
        share = [*place, 0.0][:2]
        ends = (self.rate, self.batch)
        return tuple(np.exp(low + u * (high - low)) for u, (low, high) in zip(share, ends, strict=True))


@dataclass(frozen=True)
class World:
    """A cell that answers.

    Attributes:
        target: its N, D, optimizer and study, with the batch where the sweep fixed it.
        box: settings that were tried.
        surface: (learning rate, batch) -> loss, and whether runs surround it.
        chance_failed: (learning rate, batch) -> probability that the run fails.
        best: loss at the smoothed minimum; ``optimum``: learning rate and batch there.
        noise: sd of ln loss of one run about the surface.
        failed: loss of a failed run.
        judged: whether the minimum lies among the runs, so that it can score advice.
    """

    target: Target
    box: Box
    surface: Callable[[float, float], tuple[float, bool]] = field(repr=False)
    chance_failed: Callable[[float, float], float] = field(repr=False)
    best: float
    optimum: tuple[float, float]
    noise: float
    failed: float
    judged: bool = True

    @property
    def cost(self) -> float:
        """FLOPs of a run, 6 N D."""
        return 6.0 * self.target.params_nonembedding * self.target.tokens

    @property
    def name(self) -> str:
        """Of the cell, within its family."""
        return f"N={self.target.params_nonembedding:.3g} D={self.target.tokens:.3g}"


@dataclass(frozen=True)
class Family:
    """A sweep: worlds to buy runs from, tasks, the published runs of the pool, and all published runs."""

    name: str
    pool: tuple[World, ...]
    targets: tuple[World, ...]
    runs: pd.DataFrame = field(repr=False)
    every: pd.DataFrame = field(repr=False)
    kind: str = "pre-training"

    @property
    def optimizer(self) -> str:
        """Of all its worlds."""
        return self.targets[0].target.optimizer


@dataclass(frozen=True)
class Setting:
    """What a method asks for."""

    world: World
    learning_rate: float
    batch_tokens: float


@dataclass(frozen=True)
class Outcome:
    """What it is told: the loss (of failure where it failed), the cost [FLOP] and the optimizer's steps."""

    loss: float
    failed: bool
    cost: float
    steps: float


def answer(setting: Setting, seed: int, number: int) -> Outcome:
    """Result of a run; the same for the same world, seed and number of the run in its search."""
    world = setting.world
    key = zlib.crc32(repr(world.target).encode())
    rng = np.random.default_rng([seed, key, number])
    failed = bool(rng.random() < world.chance_failed(setting.learning_rate, setting.batch_tokens))
    loss, _ = world.surface(setting.learning_rate, setting.batch_tokens)
    noisy = float(loss * np.exp(world.noise * rng.standard_normal()))
    steps = world.target.tokens / setting.batch_tokens
    return Outcome(world.failed if failed else noisy, failed, world.cost, steps)


# ------------------------------------------------------------------------------------------ pre-training


def families(path: Path) -> list[Family]:
    """All families of a table: fine-tuning runs, a run table, or a sweep in a known layout.

    Raises:
        BadInput: a table of none of these kinds, or one without a pool and a target.
    """
    raw = read_table(path)
    if set(raw.columns) >= FINE_TUNED:
        return fine_tuned(raw, path.stem)
    found = [f for f in (_pre_trained(runs, path) for runs in _sweeps(raw, path)) if f]
    if not found:
        raise BadInput(
            f"{path}: no optimizer has a target and cheaper cells whose optimum can be smoothed; expected at "
            "least two cells with four learning rates each; name another sweep"
        )
    return found


def _sweeps(raw: pd.DataFrame, path: Path) -> list[pd.DataFrame]:
    if set(raw.columns) >= set(REQUIRED):
        runs = read_runs(path)
    else:
        layouts = fitting(raw)
        if not layouts:
            raise BadInput(
                f"{path}: columns {', '.join(map(str, raw.columns))}; expected a run table, a published "
                f"sweep, or fine-tuning runs with {', '.join(sorted(FINE_TUNED))}; import it first"
            )
        runs = import_runs(path, adapter=layouts[0])[0]
    return [rows.reset_index(drop=True) for _, rows in runs.groupby(["study", "optimizer"])]


def _pre_trained(runs: pd.DataFrame, path: Path) -> Family | None:
    """A family of one study and optimizer; None where too few of its cells can be smoothed."""
    cells = [(smooth_cell(key, rows), rows) for key, rows in group_cells(runs)]
    worlds = [_smoothed_world(cell, rows) for cell, rows in cells if np.isfinite(cell.loss)]
    pool, targets = divided(worlds)
    if not pool or not targets:
        return None
    limit = max(world.cost for world in pool)
    cost = 6 * runs["params_nonembedding"] * runs["tokens"]
    small = runs[cost <= limit * (1 + 1e-9)].reset_index(drop=True)
    name = f"{path.stem.split('_')[0]}-{runs['optimizer'].iloc[0]}"
    return Family(name, tuple(pool), tuple(targets), small, runs)


def divided(worlds: Sequence[World]) -> tuple[list[World], list[World]]:
    """Pool and targets, by cost (see ``TARGET_SHARE``)."""
    judged = [w for w in worlds if w.judged]
    if not judged:
        return [], []
    costliest = max(w.cost for w in judged)
    targets = [w for w in judged if w.cost >= TARGET_SHARE * costliest * (1 - 1e-9)]
    limit = POOL_SHARE * min(w.cost for w in targets)
    pool = [w for w in worlds if w.cost <= limit * (1 + 1e-9)]
    if not pool:
        targets = [w for w in judged if w.cost == costliest]
        pool = [w for w in worlds if w.cost <= NEAR_POOL * costliest]
    return pool, targets


def _smoothed_world(cell: SmoothedCell, rows: pd.DataFrame) -> World:
    tried = comparable_runs(finished_runs(rows))
    fixed = cell.batch_tokens if cell.axis == "learning_rate" else None
    if fixed is not None:
        tried = tried[np.abs(np.log(tried["batch_tokens"].to_numpy(float) / fixed)) < 1e-3]
    lr, batch = (np.log(tried[name].to_numpy(float)) for name in ("learning_rate", "batch_tokens"))
    ends = (np.log(fixed),) * 2 if fixed else (batch.min(), batch.max())
    key = cell.key

    def surface(rate: float, batch_tokens: float) -> tuple[float, bool]:
        at = (rate, batch_tokens if fixed is None else fixed)
        return float(cell.loss * (1 + cell.regret(*at)[0] / 100)), bool(cell.inside(*at)[0])

    return World(
        Target(key.params_nonembedding, key.tokens, key.optimizer, key.study, fixed),
        Box((lr.min(), lr.max()), ends),
        surface,
        lambda rate, batch_tokens: 0.0,
        cell.loss,
        (cell.learning_rate, cell.batch_tokens),
        cell.noise if np.isfinite(cell.noise) else SEED_NOISE,
        float(rows["loss"].max()),
        cell.scorable,
    )


# -------------------------------------------------------------------------------------------- fine-tuning


def fine_tuned(raw: pd.DataFrame, name: str) -> list[Family]:
    """Random search of fine-tuning: runs of the fewest epochs are the pool, each longer training a task.

    A second family has the two shortest trainings in its pool, which show how the optimum moves with epochs.
    The loss is the error rate, 1 - accuracy. A run fails if its accuracy is nearer to the worst than to the
    best: it learnt nothing, or next to nothing.
    """
    runs = fine_tuned_runs(raw, name)
    worlds = [_fine_tuned_world(rows) for _, rows in runs.groupby("tokens")]
    return [
        _from_shortest(f"{name}{suffix}", f"fine-tuning{suffix}", worlds, count, runs)
        for count, suffix in ((1, ""), (2, ", two horizons"))
        if count < len(worlds)
    ]


def _from_shortest(name: str, kind: str, worlds: Sequence[World], count: int, runs: pd.DataFrame) -> Family:
    small = runs[runs["tokens"] <= worlds[count - 1].target.tokens].reset_index(drop=True)
    return Family(name, tuple(worlds[:count]), tuple(worlds[count:]), small, runs, kind)


def fine_tuned_runs(raw: pd.DataFrame, name: str) -> pd.DataFrame:
    """The run table of fine-tuning runs; a failed run has status diverged and keeps its loss in ``error``."""
    accuracy = raw["final_acc"].to_numpy(float)
    failed = accuracy < (accuracy.max() + accuracy.min()) / 2
    table = pd.DataFrame(
        {
            "run_id": [f"{name}-{i}" for i in range(len(raw))],
            "study": name,
            "optimizer": "adamw",
            "params_nonembedding": FINE_TUNED_PARAMS,
            "tokens": raw["num_train_epochs"].to_numpy(float) * EXAMPLES * EXAMPLE_TOKENS,
            "batch_tokens": raw["train_batch_size"].to_numpy(float) * EXAMPLE_TOKENS,
            "learning_rate": raw["learning_rate"].to_numpy(float),
            "loss": np.where(failed, np.nan, 1 - accuracy),
            "status": np.where(failed, "diverged", "finished"),
            "error": 1 - accuracy,
        }
    )
    return validate(table, name)


def _fine_tuned_world(rows: pd.DataFrame) -> World:
    points = np.log(rows[["learning_rate", "batch_tokens"]].to_numpy(float))
    fails = (rows["status"] == "diverged").to_numpy()
    trained, ln_loss = points[~fails], np.log(rows.loc[~fails, "loss"].to_numpy(float))
    smooth = smoothed(trained, ln_loss)
    best, noise = lowest(trained, ln_loss, smooth)
    first = rows.iloc[0]

    def surface(rate: float, batch: float) -> tuple[float, bool]:
        at = np.log([[rate, batch]])
        inside = bool(in_hull(trained, at)[0])
        return float(np.exp(smooth(at if inside else nearest_in_hull(trained, at))[0])), inside

    def chance_failed(rate: float, batch: float) -> float:
        nearest = np.argsort(((points - np.log([rate, batch])) ** 2).sum(axis=1))[:NEIGHBOURS]
        return float(fails[nearest].mean())

    return World(
        Target(first["params_nonembedding"], first["tokens"], first["optimizer"], first["study"]),
        Box(*((c.min(), c.max()) for c in points.T)),
        surface,
        chance_failed,
        float(np.exp(smooth(best[None])[0])),
        tuple(np.exp(best)),
        noise,
        float(rows.loc[fails, "error"].mean()) if fails.any() else 1.0,
    )


DEGREES = (2, 3, 4, 5, 6)
CORE = 0.05
"""ln loss above the smoothed minimum: where the noise is measured."""


def smoothed(points: np.ndarray, ln_loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A polynomial of total degree 2 to 6 in both settings, the degree by leave-one-out error.

    All rows weigh the same: a window of the lowest losses, as ``evaluation.smoothing`` takes it, would keep
    the lucky runs where noise (2% of an error rate) is as large as the basin is deep.
    """
    fits = [_polynomial(points, ln_loss, degree) for degree in DEGREES]
    return min(fits, key=lambda fit: fit[1])[0]


def _polynomial(points: np.ndarray, y: np.ndarray, degree: int) -> tuple[Any, float]:
    centre, scale = points.mean(axis=0), points.std(axis=0)

    def basis(at: np.ndarray) -> np.ndarray:
        x = (at - centre) / scale
        powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
        return np.column_stack([x[:, 0] ** i * x[:, 1] ** j for i, j in powers])

    root = np.ones(len(y))
    for _ in range(20):  # Huber weights: a run that half failed must not bend the surface
        columns = basis(points) * root[:, None]
        coefs = np.linalg.lstsq(columns, y * root, rcond=None)[0]
        residual = np.abs(y - basis(points) @ coefs)
        limit = 1.345 * 1.4826 * np.median(residual) + 1e-12
        root = np.sqrt(np.minimum(1.0, limit / np.maximum(residual, 1e-12)))
    leverage = np.sum(np.linalg.qr(columns)[0] ** 2, axis=1)
    held_out = root * (y - basis(points) @ coefs) / np.maximum(1 - leverage, 1e-3)
    return (lambda at: basis(at) @ coefs), float(np.sqrt(np.mean(held_out**2)))


def lowest(points: np.ndarray, ln_loss: np.ndarray, smooth: Any) -> tuple[np.ndarray, float]:
    """Place of the surface's minimum among the runs, and the runs' scatter about the surface near it."""
    axes = [np.linspace(c.min(), c.max(), 201) for c in points.T]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    grid = grid[in_hull(points, grid)]
    best = grid[np.argmin(smooth(grid))]
    residual = (ln_loss - smooth(points))[smooth(points) - smooth(best[None]) < CORE]
    return best, float(1.4826 * np.median(np.abs(residual)))
