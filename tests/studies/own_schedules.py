"""Laws of the schedule and a regression on its numbers, on our own small networks; and who diverges.

Final losses are predicted here, curves in ``own_curves``, which this study runs and prints, too.

    python -m train.sweep --plan train/plans/schedules.toml --out out/schedules --workers 1
    python -m train.collect out/schedules -o tests/studies/results/own_schedules.csv
    python -m tests.studies.own_schedules curves   # results/own_curves.parquet from out/schedules
    python -m tests.studies.own_schedules run      # results/own_schedules.jsonl, some minutes
    python -m tests.studies.own_schedules table    # prints its part of docs/benchmarks.md

Final losses and divergence are of the first two parts of the plan: one seed, and a decay share of 0.2.

The runs of Schaipp et al. are those of ``tests.studies.schedules``. The regression
(``bayeslaw.schedules.regression``) is in the spirit of Opt-Laws, whose features are not published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.law.scalars import WSD_DECAY
from bayeslaw.schedules.features import schedule_features
from bayeslaw.schedules.fitting import fit_schedule, predicted_losses
from bayeslaw.schedules.laws import LAWS
from bayeslaw.schedules.regression import fit_regression
from tests.studies import own_curves
from tests.studies import schedules as public
from tests.studies.own_runs import HOT, collect_curves, own
from tests.studies.tables import Row, markdown, read_rows, study_parser

RESULTS = Path(__file__).parent / "results" / "own_schedules.jsonl"
REGRESSION = "regression"


class Task(NamedTuple):
    """Schedules and losses to fit, and to predict."""

    name: str
    fitted: list[Floats]
    losses: Floats
    ahead: list[Floats]
    truth: Floats


def first_parts() -> pd.DataFrame:
    """The runs of the first two parts of the plan."""
    runs = own()
    usual = (runs["schedule"] != "wsd") | (runs["share"] == WSD_DECAY)
    return runs[usual & (runs["seed"] == 0)].reset_index(drop=True)


def tasks(runs: pd.DataFrame) -> Iterator[Task]:
    """Longer runs and another shape, of ours and of Schaipp et al."""
    cool = runs[runs["learning_rate"] < HOT]
    longest = cool["tokens"] == cool["tokens"].max()
    yield _task("ours: twice as long", cool[~longest], cool[longest], "loss")
    cosine = cool["schedule"] == "cosine"
    yield _task("ours: cosine from other shapes", cool[~cosine], cool[cosine], "loss")
    theirs = public.load()
    table = theirs.table.assign(rates=[public.rates(row) for row in theirs.table.itertuples()])
    decays = public.linear_decays(theirs).table.index
    linear = table[table.index.isin(decays)]
    short = linear[linear["iterations"] <= public.SHORT]
    column = "final_val_loss"
    yield _task("theirs: 35k and 50k steps", short, linear[linear["iterations"] > public.SHORT], column)
    yield _task("theirs: cosine from linear", short, table[table["schedule"] == "cos"], column)


def _task(name: str, fitted: pd.DataFrame, ahead: pd.DataFrame, column: str) -> Task:
    losses, truth = (table[column].to_numpy(float) for table in (fitted, ahead))
    return Task(name, list(fitted["rates"]), losses, list(ahead["rates"]), truth)


def predicted(method: str, task: Task) -> tuple[Floats, float]:
    """Draws of the losses ahead, (draw, loss), without the noise of a run, and that noise."""
    if method == REGRESSION:
        found = fit_regression(task.fitted, task.losses)
        return found.loss_draws(task.ahead), found.noise
    fit = fit_schedule(LAWS[method], schedule_features(task.fitted), task.losses)
    return predicted_losses(fit, LAWS[method], schedule_features(task.ahead)), fit.noise


def scored(method: str, task: Task) -> Row:
    """Errors per mille, coverage, and what the loss of the chosen schedule exceeds the best by."""
    draws, noise = predicted(method, task)
    middle = np.median(draws, axis=0)
    off = middle / task.truth - 1.0
    noisy = draws * np.exp(noise * np.random.default_rng(0).standard_normal(draws.shape))
    low, high = np.quantile(noisy, [0.05, 0.95], axis=0)
    return {
        "what": "losses",
        "task": task.name,
        "method": method,
        "fitted": len(task.losses),
        "predicted": len(task.truth),
        "rms": public.per_mille(off),
        "bias": round(1e3 * float(off.mean()), 3),
        "coverage_90": round(float(np.mean((low <= task.truth) & (task.truth <= high))), 3),
        "regret": round(1e3 * float(task.truth[np.argmin(middle)] / task.truth.min() - 1.0), 3),
    }


def divergences(runs: pd.DataFrame) -> Iterator[Row]:
    """Each run's probability to diverge by the others of every length, and whether it did."""
    diverged = (runs["status"] == "diverged").to_numpy()
    losses = np.where(diverged, np.nan, runs["loss"].to_numpy(float))
    every = list(runs["rates"])
    for i, row in enumerate(runs.itertuples()):
        others = [j for j in range(len(every)) if j != i]
        found = fit_regression([every[j] for j in others], losses[others])
        yield {
            "what": "divergence",
            "peak": row.learning_rate,
            "warmup": round(row.warmup_tokens / row.tokens, 3),
            "tokens": row.tokens,
            "diverged": bool(diverged[i]),
            "probability": round(float(found.divergence_probability([every[i]])[0]), 4),
            "base": round(float(diverged[others].mean()), 4),
        }


def run() -> None:
    """Write all result lines anew."""
    runs = first_parts()
    rows = [scored(method, task) for task in tasks(runs) for method in (*LAWS, REGRESSION)]
    rows += [*divergences(runs), *own_curves.run()]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{RESULTS} written")


def table(rows: Sequence[Row]) -> str:
    """Losses by law and task, curves, then divergence."""
    diverged = [row for row in rows if row["what"] == "divergence"]
    return "\n\n".join([_losses(rows), own_curves.table(rows), *_divergence(diverged)])


def _losses(rows: Sequence[Row]) -> str:
    found = {(row["task"], row["method"]): row for row in rows if row["what"] == "losses"}
    names = list(dict.fromkeys(task for task, _ in found))
    body = []
    for method in (*LAWS, REGRESSION):
        cells = [found[name, method] for name in names]
        body.append([method, *map(_told, cells)])
    counts = [found[name, REGRESSION] for name in names]
    head = [f"{c['task']} ({c['predicted']} from {c['fitted']} runs)" for c in counts]
    title = "Rms error (bias) [‰], losses in the 90% intervals, regret of the schedule chosen [‰]"
    return markdown(title, ["law", *head], body)


def _told(row: Row) -> str:
    return f"{row['rms']:.1f} ({row['bias']:+.1f}), {row['coverage_90']:.0%}, {row['regret']:.1f}"


def _divergence(rows: Sequence[Row]) -> list[str]:
    hot = [row for row in rows if row["peak"] > HOT]
    peaks = sorted({row["peak"] for row in hot})
    body = []
    for warmup in sorted({row["warmup"] for row in hot}):
        cells = {row["peak"]: row for row in hot if row["warmup"] == warmup}
        shown = [
            f"{'diverged' if cells[p]['diverged'] else 'finished'}, {cells[p]['probability']:.0%}"
            for p in peaks
        ]
        body.append([f"{warmup:g}", *shown])
    happened = np.array([row["diverged"] for row in rows], float)
    ours, base = (
        np.mean((np.array([row[key] for row in rows]) - happened) ** 2) for key in ("probability", "base")
    )
    title = "What became of a run, and its probability to diverge by the regression on all others"
    note = (
        f"Brier score over {len(rows)} runs: the regression {ours:.3f}, the share that diverged {base:.3f}."
    )
    return [markdown(title, ["warm-up", *(f"peak {p:g}" for p in peaks)], body), note]


def main() -> None:
    what = study_parser(__doc__, "curves").parse_args().what
    if what == "table":
        print(table(read_rows(RESULTS)))
    else:
        {"curves": collect_curves, "run": run}[what]()


if __name__ == "__main__":
    main()
