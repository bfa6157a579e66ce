"""The default law against its core on splits that chose nothing. Slow, outside CI, resumable; run once.

    python -m tests.studies.confirmation run     # appends to results/confirmation.jsonl what is not there
    python -m tests.studies.confirmation table   # prints its part of docs/benchmarks.md

Full fits (NUTS). Real runs come from ../shared/data; books.csv is ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.assets import BOOKS
from bayeslaw.comparison.folds import Fold
from bayeslaw.comparison.judge import judged_cells
from bayeslaw.comparison.structures import loss_scores, optimum_scores, structure_named
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.scores import r2
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.io import read_runs
from tests.studies.fits import fit_parts
from tests.studies.heldout import table as read_table
from tests.studies.structures import ALL, rounded
from tests.studies.tables import read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "confirmation.jsonl"
STRUCTURES = ("core", ALL)


def splits() -> Iterator[Fold]:
    """Runs to fit and larger ones to score."""
    dense, marin, books = read_table("scalebench"), read_table("marin"), read_runs(BOOKS)
    last = (dense["params_nonembedding"] > 1e9) & (dense["tokens"] > 5e10)
    yield _split("ScaleBench, D > 1.9e10", dense, dense["tokens"] > 1.9e10)
    yield _split("ScaleBench, last cell", dense, last)
    yield _split("our books, N = 332k", books, books["params_nonembedding"] > 2e5)
    for optimizer in ("adamw", "muon"):
        own = marin[marin["optimizer"] == optimizer]
        yield _split(f"Marin {optimizer}, N = 537M", own, own["params_nonembedding"] > 5e8)


def _split(name: str, runs: pd.DataFrame, held_out: pd.Series) -> Fold:
    return Fold(name, runs[~held_out].reset_index(drop=True), runs[held_out].reset_index(drop=True))


def scores(posterior: Posterior, fold: Fold) -> dict[str, Any]:
    """Scores of losses, and of optima where the held-out cells show theirs."""
    finished = finished_runs(fold.held_out)
    middle = np.median(PosteriorAdvisor(posterior).loss_draws(finished), axis=0)
    result = loss_scores(posterior, fold) | {"r2": r2(middle, finished["loss"].to_numpy(float))}
    cells = judged_cells(fold.held_out)
    return result | (optimum_scores(posterior, cells) if cells else {})


def run() -> None:
    """Score what is not in the results."""
    done = {(row["split"], row["structure"]) for row in read_rows(RESULTS)}
    for fold in splits():
        for text in STRUCTURES:
            if (fold.name, text) in done:
                continue
            began = time.perf_counter()
            posterior = fit_parts(fold.fitted, structure_named(text))
            row = {"split": fold.name, "structure": text, "runs": len(fold.held_out)}
            row |= scores(posterior, fold) | {"seconds": time.perf_counter() - began}
            row["converged"] = bool(posterior.diagnostics["converged"])
            with RESULTS.open("a") as file:
                file.write(json.dumps({k: rounded(v) for k, v in row.items()}) + "\n")
            print(row, flush=True)


def _share(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: f"{row[key]:.0%}" if key in row else ""


COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "split": lambda row: row["split"],
    "law": lambda row: "core" if row["structure"] == "core" else "default",
    "runs": lambda row: str(row["runs"]),
    "R2": lambda row: f"{row['r2']:.3f}",
    "within cells": lambda row: f"{row['r2_within_cells']:.3f}",
    "CRPS": lambda row: f"{row['crps']:.4f}",
    "losses in 50%": _share("coverage_50"),
    "in 90%": _share("coverage_90"),
    "optima in 90%": _share("optimum_coverage_90"),
    "their factor": lambda row: f"{row['optimum_factor']:.2f}" if "optimum_factor" in row else "",
    "mean regret": lambda row: f"{row['regret_mean']:.3%}" if "regret_mean" in row else "",
    "joint density [nats]": lambda row: f"{row['density']:+.1f}" if "density" in row else "",
}


def table(rows: list[dict[str, Any]]) -> str:
    """A row per split and law, and what all runs together are covered by."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(show(row) for show in COLUMNS.values())} |" for row in rows]
    pooled = []
    for text in STRUCTURES:
        own = [row for row in rows if row["structure"] == text]
        weights = [row["runs"] for row in own]
        inside = [
            np.average([row[f"coverage_{level}"] for row in own], weights=weights) for level in (50, 90)
        ]
        pooled.append(
            f"{'the core' if text == 'core' else 'the default'}: {inside[0]:.0%} and {inside[1]:.0%}"
        )
    return "\n".join([*lines, "", f"All held-out runs in their 50 and 90% intervals: {'; '.join(pooled)}."])


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
