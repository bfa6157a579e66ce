"""Batches that grow, learning rate dropout, and dropout in several epochs, on small networks of our own.

    python -m train.sweep --plan train/plans/growth.toml --out out/growth --workers 1
    python -m train.collect out/growth -o tests/studies/results/growth.csv
    python -m tests.studies.growth run      # fits the law of dropout: results/growth.jsonl
    python -m tests.studies.growth table    # prints its part of docs/benchmarks.md

Losses of one group of runs have the same network, optimizer and tokens. A growing batch is compared with the
best fixed one seed by seed, at equal tokens and by its serial steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.inference.approximation import approximate
from bayeslaw.intervals import ends
from bayeslaw.law.parameters import PARAMETERS, Parameter
from bayeslaw.law.terms import OPTIMA, Optimum, Term, Transform
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from bayeslaw.text import short
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RUNS = Path(__file__).parent / "results" / "growth.csv"
RESULTS = RUNS.with_suffix(".jsonl")
USUAL = {"extra_batch_schedule": "", "extra_lr_dropout": 0.0, "extra_epochs": 1}
"""What a record leaves out."""
FIXED = {"wsd": "wsd", "constant": "cosine"}
"""Schedule of a run whose batch grows -> that of the fixed batch it stands beside."""


def load() -> pd.DataFrame:
    """Finished runs, with the choices that runs leave out at their usual values."""
    runs = read_runs(RUNS)
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *USUAL]))).fillna(USUAL)
    return runs[runs["status"] == "finished"].rename(columns=lambda name: str(name).removeprefix("extra_"))


def pairs(runs: pd.DataFrame) -> Iterator[tuple[list[str], np.ndarray, float]]:
    """Each plan of a batch beside the fixed batch of its network, optimizer and schedule.

    Yields:
        What was compared, in words; 1000 ln(loss / fixed loss) by seed; steps over those of the fixed batch.
    """
    paired = runs[runs["seed"] > 0]
    growing = paired[paired["batch_schedule"] != ""]
    plan = ["optimizer", "params_nonembedding", "schedule", "batch_schedule", "batch_tokens", "learning_rate"]
    for (optimizer, n, schedule, switches, batch, rate), mine in growing.groupby(plan, sort=False):
        beside = paired[(paired["optimizer"] == optimizer) & (paired["params_nonembedding"] == n)]
        fixed = beside[(beside["batch_schedule"] == "") & (beside["schedule"] == FIXED[schedule])]
        fixed = fixed[fixed["seed"].isin(mine["seed"])]
        if fixed.empty:
            continue
        best = fixed.groupby("batch_tokens")["loss"].mean().idxmin()
        tried = ", ".join(f"{size:.0f}" for size in sorted(fixed["batch_tokens"].unique()))
        fixed = fixed[fixed["batch_tokens"] == best]
        both = mine.merge(fixed, on="seed", suffixes=("", "_fixed")).sort_values("seed")
        last = str(switches).split(",")[-1].split(":")
        words = [
            f"{optimizer}, N = {short(n)}",
            f"{FIXED[schedule]}, {best:.0f} (of {tried})",
            f"{int(batch)} to {last[1]}, rate {rate:.2g} to {float(last[2]):.2g}",
            f"{both['loss_fixed'].mean():.4f}",
        ]
        gain = 1000 * np.log(both["loss"] / both["loss_fixed"])
        yield words, gain.to_numpy(float), float((both["steps"] / both["steps_fixed"]).mean())


def scatter(gains: Iterable[np.ndarray]) -> tuple[float, int]:
    """Standard deviation of a pair's gain between seeds, pooled over plans of several, and their number."""
    several = [gain for gain in gains if len(gain) > 1]
    free = sum(len(gain) - 1 for gain in several)
    return float(np.sqrt(sum(np.sum((gain - gain.mean()) ** 2) for gain in several) / free)), len(several)


DROPOUT = {
    "best_dropout": Parameter("best_dropout", "group", math.log(0.1), 0.7, "usual values", 0.2, 0.7),
    "best_dropout_n": Parameter("best_dropout_n", "group", 0.0, 0.3, "nothing known", 0.1, 0.1),
    "dropout_curvature": Parameter("dropout_curvature", "group", math.log(0.02), 0.7, "flat", 0.2, 0.2),
}
"""Rows of the law by which dropout has an optimum, one for each N and number of epochs."""


def best_dropouts(runs: pd.DataFrame) -> Iterator[Row]:
    """The best dropout of each network and number of epochs, by the core of the law with its rows."""
    swept = _dropout_runs(runs)
    study = [f"{epochs:g}" for epochs in swept["epochs"]]
    fitted = swept.drop(columns=["epochs", "lr_dropout", "batch_schedule"])
    terms = (Term("best_dropout"), Term("best_dropout_n", "n"))
    coordinate = (Transform(0.02), (math.log(0.02), 0.0))
    optimum = Optimum("dropout", terms, *coordinate, "dropout_curvature", "dropout")
    with patch.dict(PARAMETERS, DROPOUT), patch.dict(OPTIMA, {"dropout": optimum}):
        posterior = approximate(fitted.assign(study=study), parts=())
        for epochs, n, d in sorted({*zip(study, fitted["params_nonembedding"], fitted["tokens"])}):
            draws = optimum_draws(surface_at(posterior, Target(n, d, "adamw", epochs)))["dropout"]
            low, high = np.quantile(draws, ends(0.9))
            found = {"median": float(np.median(draws)), "lower": float(low), "upper": float(high)}
            yield {"epochs": int(epochs), "params": n} | {k: round(v, 4) for k, v in found.items()}


def _dropout_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Those of the grids of dropout."""
    return runs[(runs["seed"] == 0) & (runs["batch_tokens"] == 1024)].reset_index(drop=True)


def grid(runs: pd.DataFrame, row: str, column: str) -> tuple[list[str], Iterable[list[str]]]:
    """Loss by two columns of the run table; the least of each row in bold."""
    losses = runs.pivot_table(index=row, columns=column, values="loss")
    header = [f"{value:g}" for value in losses.columns]
    return header, ([f"{name:g}", *_marked(values)] for name, values in losses.iterrows())


def _marked(values: pd.Series) -> list[str]:
    return ["-" if np.isnan(x) else f"**{x:.4f}**" if x == values.min() else f"{x:.4f}" for x in values]


def table() -> str:
    """All tables, one under the other."""
    runs = load()
    header = ["network", "best fixed batch", "growing batch", "loss, fixed", "growing: ‰ by seed", "steps"]
    found = list(pairs(runs))
    body = [[*words, ", ".join(f"{g:+.1f}" for g in gain), f"{steps:.2f}"] for words, gain, steps in found]
    parts = [markdown("A batch that grows against the best fixed batch tried", header, body)]
    sd, plans = scatter(gain for _, gain, _ in found)
    parts.append(
        f"Between seeds a pair's difference has a standard deviation of {sd:.1f}‰ ({plans} plans of two)."
    )
    rest = runs[runs["seed"] == 0]
    for name, mine in rest[rest["batch_tokens"] == 512].groupby("optimizer"):
        rates, body = grid(mine, "lr_dropout", "learning_rate")
        parts.append(markdown(f"Learning rate dropout, {name}: loss", ["dropped", *rates], body))
    for n, mine in _dropout_runs(runs).groupby("params_nonembedding"):
        shares, body = grid(mine, "epochs", "dropout")
        parts.append(markdown(f"Dropout, N = {short(n)}: loss", ["epochs", *shares], body))
    body = [
        [
            short(row["params"]),
            str(row["epochs"]),
            f"{row['median']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})",
        ]
        for row in read_rows(RESULTS)
    ]
    parts.append(markdown("Best dropout by the law", ["N", "epochs", "best dropout, 90% interval"], body))
    return "\n\n".join(part for part in parts if part)


def run() -> None:
    """Fit the law of dropout."""
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in best_dropouts(load())))


if __name__ == "__main__":
    run_or_print(__doc__, run, table)
