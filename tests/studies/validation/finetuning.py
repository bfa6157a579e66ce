"""Families of fine-tuning: random search at several numbers of epochs; the fewest advise on the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.hull import in_hull, nearest_in_hull
from bayeslaw.runs.schema import validate
from bayeslaw.target import Target
from tests.studies.validation.worlds import (
    EXAMPLE_TOKENS,
    EXAMPLES,
    FINE_TUNED_PARAMS,
    Box,
    Family,
    World,
)

FINE_TUNED = {"num_train_epochs", "train_batch_size", "learning_rate", "final_acc"}
"""Columns of a table of fine-tuning runs."""
NEIGHBOURS = 9
"""Runs whose share of failures is the chance that a run between them fails."""
LEAST_RUNS = 20
"""Runs that trained, of one number of epochs, below which its surface is not drawn."""
FELL = 0.6
"""No run failed where the worst accuracy is above this share of the best: chance is below it."""


def fine_tuned(raw: pd.DataFrame, name: str) -> tuple[list[Family], list[str]]:
    """Random search of fine-tuning: runs of the fewest epochs are the pool, each longer training a task.

    A second family has the two shortest trainings in its pool, which show how the optimum moves with epochs.
    The loss is the error rate, 1 - accuracy.

    Args:
        raw: columns of ``FINE_TUNED``; with a column ``model`` that has several values, families for each.
        name: of the families, with the model where there are several.

    Returns:
        The families, and in plain words what was read and assumed.

    Raises:
        BadInput: accuracies that are none, one batch, or fewer than two numbers of epochs.
    """
    models = raw["model"].nunique() if "model" in raw else 1
    parts = {f"{name}-{model}": rows for model, rows in raw.groupby("model")} if models > 1 else {name: raw}
    found, notes = [], []
    for each, rows in parts.items():
        worlds, runs, said = _worlds(rows.reset_index(drop=True), each)
        notes += said
        found += [
            _from_shortest(f"{each}{suffix}", f"fine-tuning{suffix}", worlds, count, runs)
            for count, suffix in ((1, ""), (2, ", two horizons"))
            if count < len(worlds)
        ]
    return found, [*notes, ASSUMED]


ASSUMED = (
    f"assumed of fine-tuning, since the table does not say it: {FINE_TUNED_PARAMS:.0e} parameters, "
    f"{EXAMPLES:,} examples of {EXAMPLE_TOKENS} tokens; they set FLOPs, kWh and CO2e, and cancel in every "
    "comparison of costs"
)


def _worlds(raw: pd.DataFrame, name: str) -> tuple[list[World], pd.DataFrame, list[str]]:
    """A world for each number of epochs that has runs enough; their runs; what was read."""
    runs, notes = fine_tuned_runs(raw, name)
    trained = runs["status"] == "finished"
    counts = trained.groupby(runs["tokens"]).sum()
    few = counts[counts < LEAST_RUNS]
    kept = runs[~runs["tokens"].isin(few.index)].reset_index(drop=True)
    if len(few):
        notes.append(
            f"{name}: left out, fewer than {LEAST_RUNS} runs of so many epochs trained: " + _listed(few)
        )
    if kept["tokens"].nunique() < 2:
        raise BadInput(
            f"{name}: num_train_epochs (runs that trained): {_listed(counts)}; expected at "
            f"least two numbers of epochs with {LEAST_RUNS} runs that trained, the fewest to learn from and "
            "others to advise on; name a table that varies the epochs"
        )
    if kept["batch_tokens"].nunique() < 2:
        raise BadInput(
            f"{name}: train_batch_size = {raw['train_batch_size'].iloc[0]:g} in all runs; expected several "
            "values; name a table that varies the batch"
        )
    return [_fine_tuned_world(rows) for _, rows in kept.groupby("tokens")], kept, notes


def _listed(counts: pd.Series, most: int = 8) -> str:
    """Epochs, each with its number of runs."""
    said = [f"{_epochs(tokens):g} ({count})" for tokens, count in counts.items()]
    return ", ".join(said[:most]) + (f", and {len(said) - most} more" if len(said) > most else "")


def _epochs(tokens: float) -> float:
    return tokens / (EXAMPLES * EXAMPLE_TOKENS)


def _from_shortest(name: str, kind: str, worlds: Sequence[World], count: int, runs: pd.DataFrame) -> Family:
    small = runs[runs["tokens"] <= worlds[count - 1].target.tokens].reset_index(drop=True)
    return Family(name, tuple(worlds[:count]), tuple(worlds[count:]), small, runs, kind)


def fine_tuned_runs(raw: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """The run table of fine-tuning runs, and what was read.

    A run fails that has no accuracy, or whose accuracy is nearer to the worst than to the best: it learnt
    nothing, or next to nothing. Where no accuracy fell below ``FELL`` of the best, only runs without one
    failed. A failed run has status diverged and keeps its error rate in ``error``, the table's largest where
    it has none.
    """
    accuracy, notes = _accuracies(raw["final_acc"], name)
    best, worst = np.nanmax(accuracy), np.nanmin(accuracy)
    limit = (best + worst) / 2 if worst <= FELL * best else -np.inf
    failed = ~(accuracy >= limit)
    said = f", or accuracy below {limit:.1%}" if np.isfinite(limit) else ""
    notes.append(f"{name}: {failed.sum()} of {len(raw)} runs failed: no accuracy{said}")
    error = 1 - np.where(np.isnan(accuracy), worst, accuracy)
    error = np.maximum(error, error[error > 0].min() / 2)  # the logarithm of no errors at all is none
    table = pd.DataFrame(
        {
            "run_id": [f"{name}-{i}" for i in range(len(raw))],
            "study": name,
            "optimizer": "adamw",
            "params_nonembedding": FINE_TUNED_PARAMS,
            "tokens": raw["num_train_epochs"].to_numpy(float) * EXAMPLES * EXAMPLE_TOKENS,
            "batch_tokens": raw["train_batch_size"].to_numpy(float) * EXAMPLE_TOKENS,
            "learning_rate": raw["learning_rate"].to_numpy(float),
            "loss": np.where(failed, np.nan, error),
            "status": np.where(failed, "diverged", "finished"),
            "error": error,
        }
    )
    return validate(table, name), notes


def _accuracies(values: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    """Fractions, NaN where a run has none.

    Raises:
        BadInput: text, a number below 0 or above 100, fractions beside percents, or one value in all runs.
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)
    known = np.isfinite(numbers)
    if text := [v for v, k in zip(values, known, strict=True) if not k and isinstance(v, str) and v.strip()]:
        words = {"nan", "none", "null", "inf", "-inf", "diverged", "failed"}
        if odd := [v for v in text if v.strip().lower() not in words]:
            raise BadInput(
                f"{name}: final_acc = {odd[0]!r}; expected an accuracy; correct it or leave it empty"
            )
    numbers = np.where(known, numbers, np.nan)
    if not known.any() or np.ptp(numbers[known]) == 0:
        shown = f"{numbers[known][0]:g} in all runs" if known.any() else "missing in all runs"
        raise BadInput(f"{name}: final_acc is {shown}; expected accuracies; name the file that has them")
    low, high = numbers[known].min(), numbers[known].max()
    notes = []
    if high > 1:
        if low < 0 or high > 100 or np.median(numbers[known]) <= 1:
            raise BadInput(
                f"{name}: final_acc from {low:g} to {high:g}; expected accuracies, all as "
                "fractions up to 1 or all as percents up to 100; convert the column"
            )
        notes.append(f"{name}: final_acc up to {high:g} is read as percent and divided by 100")
        numbers = numbers / 100
    elif low < 0:
        raise BadInput(f"{name}: final_acc = {low:g}; expected an accuracy from 0 to 1; correct the column")
    return numbers, notes


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
        name=f"{_epochs(first['tokens']):g} epoch{'' if _epochs(first['tokens']) == 1 else 's'}",
    )


DEGREES = (2, 3, 4, 5, 6)
CORE = 0.05
"""ln loss above the smoothed minimum: where the noise is measured."""


def smoothed(points: np.ndarray, ln_loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A polynomial of total degree 2 to 6 in both settings, the degree by leave-one-out error.

    All rows weigh the same: a window of the lowest losses, as ``evaluation.smoothing`` takes it, would keep
    the lucky runs where noise (2% of an error rate) is as large as the basin is deep.
    """
    allowed = [d for d in DEGREES if (d + 1) * (d + 2) <= len(points)]  # two rows for each coefficient
    fits = [_polynomial(points, ln_loss, degree) for degree in allowed]
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
