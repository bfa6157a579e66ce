"""Structures of the law on future sizes of ScaleBench. Slow, outside CI, resumable.

    python -m tests.studies.structures run [--method laplace|nuts]   # appends to results/structures.jsonl
    python -m tests.studies.structures table                         # prints its part of docs/benchmarks.md

Development splits: each size is predicted from all smaller ones. Real runs come from ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.comparison.folds import Fold, future_folds
from bayeslaw.comparison.judge import Judged, judged_cells
from bayeslaw.comparison.structures import Fit, scores_of, structure_named, summarise
from tests.studies.fits import fit_parts
from tests.studies.heldout import table as read_table
from tests.studies.tables import read_rows

RESULTS = Path(__file__).parent / "results" / "structures.jsonl"
ALL = "drift+second+smooth"
STRUCTURES = {
    "laplace": ("core", "drift", "second", "drift+second", "smooth", "drift+smooth", ALL),
    "nuts": ("core", ALL),
}
"""By method of the fit: Gaussian approximations of all structures, full fits of the first and the best."""


def by_laplace(runs: pd.DataFrame, parts: Sequence[str]) -> Any:
    """A Gaussian approximation."""
    from bayeslaw.inference.approximation import approximate

    return approximate(runs, parts)


METHODS: dict[str, Fit] = {"laplace": by_laplace, "nuts": fit_parts}


def folds() -> Iterator[tuple[Fold, list[Judged]]]:
    """Each size with its judged cells, to be predicted from the smaller ones."""
    for fold in future_folds(read_table("scalebench"), "params"):
        if cells := judged_cells(fold.held_out):
            yield fold, cells


def run(method: str) -> None:
    """Score what is not in the results."""
    fit, key = METHODS[method], ("method", "fold", "structure")
    done = {tuple(row[name] for name in key) for row in read_rows(RESULTS)}
    for fold, cells in folds():
        for text in STRUCTURES[method]:
            row: dict[str, Any] = dict(zip(key, (method, fold.name, text), strict=True))
            if tuple(row.values()) in done:
                continue
            began = time.perf_counter()
            row |= scores_of(fit(fold.fitted, structure_named(text)), fold, cells)
            row["seconds"] = time.perf_counter() - began
            with RESULTS.open("a") as file:
                file.write(json.dumps({k: rounded(v) for k, v in row.items()}) + "\n")
            print({k: rounded(v) for k, v in row.items()}, flush=True)


def rounded(value: Any) -> Any:
    """A number to four digits, for a result line; anything else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "structure": lambda r: r["structure"].replace("+", " + "),
    "folds": lambda r: str(r["folds"]),
    "gain [nats]": lambda r: f"{r['gain']:+.1f} ± {r['gain_sd']:.1f}",
    "folds won": lambda r: str(r["folds_won"]),
    "CRPS": lambda r: f"{r['crps']:.4f}",
    "R2 within cells": lambda r: f"{r['r2_within_cells']:.3f}",
    "losses in 50%": lambda r: f"{r['coverage_50']:.0%}",
    "losses in 90%": lambda r: f"{r['coverage_90']:.0%}",
    "optima in 90%": lambda r: f"{r['optimum_coverage_90']:.0%}",
    "their factor": lambda r: f"{r['optimum_factor']:.2f}",
    "mean regret": lambda r: f"{r['regret_mean']:.3%}",
    "largest": lambda r: f"{r['regret_max']:.3%}",
}


def table(rows: list[dict[str, Any]]) -> str:
    """One Markdown table per method: a row per structure, over the folds that all its structures have."""
    texts = []
    for method, structures in STRUCTURES.items():
        own = [row for row in rows if row["method"] == method and row["structure"] in structures]
        if not own:
            continue
        counted = pd.DataFrame(own).groupby("fold")["structure"].nunique()
        kept = [row for row in own if counted[row["fold"]] == len(structures)]
        if not kept:
            continue
        words = {"laplace": "Gaussian approximations", "nuts": "Full fits (NUTS)"}[method]
        texts += [f"{words}:\n", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
        texts += [f"| {' | '.join(show(row) for show in COLUMNS.values())} |" for row in summarise(kept)]
        texts.append("")
    return "\n".join(texts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--method", choices=list(METHODS), default="laplace")
    given = parser.parse_args()
    if given.what == "run":
        run(given.method)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
