"""Is the gradient noise scale the best batch? Minutes, outside CI, resumable.

    python -m tests.studies.noise_scale run      # appends to results/noise_scale.jsonl
    python -m tests.studies.noise_scale table    # prints its part of docs/benchmarks.md

Networks of books.csv train on D = 20 N at a batch of 1,024 tokens and their optimizer's usual rate. The noise
scale is measured after 20 steps and after shares of the run, on the sequences that the run reads next. The
best batch of the same cell is that of books.csv: its smoothed minimum, and the law's (Laplace approximation).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bayeslaw.advice.target_surface import surface_at
from bayeslaw.assets import BOOKS
from bayeslaw.evaluation.smoothing import smooth_cell
from bayeslaw.inference.approximation import approximate
from bayeslaw.lab.data.tokens import Corpus, prepare
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.lab.train.spec import RunSpec
from bayeslaw.runs.cells import group_cells
from bayeslaw.runs.io import read_runs
from bayeslaw.spectra import noise_scale
from bayeslaw.target import Target
from tests.studies.early_curvature import RATES, STEPS, places, spec_of
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "noise_scale.jsonl"
CORPUS = "../shared/data/gutenberg"
OPTIMIZERS = ("adamw", "muon")
SIZES = (9.3e3, 24.7e3, 83.3e3)
SEEDS = (0, 1)
SHARES = (0.1, 0.5)
MEASURED = 256
"""Sequences: enough for noise scales of thousands of tokens."""
TIMES = 4
"""Usual rate over the rate of the probes of ``early_curvature``."""
MOMENTS = ("step 20", "10%", "50%")


def usual(optimizer: str, params: float, seed: int) -> RunSpec:
    """A run at the usual rate, as ``early_curvature`` has it at a quarter of that."""
    return replace(spec_of(optimizer, params, CORPUS), learning_rate=TIMES * RATES[optimizer], seed=seed)


def measured(corpus: Corpus, optimizer: str, params: float, seed: int) -> Iterator[Row]:
    """Noise scales of one run [tokens]; negative or infinite where the signal is lost in the noise."""
    spec = usual(optimizer, params, seed)
    steps = (STEPS, *(round(share * spec.steps) for share in SHARES))
    by_steps = sorted(zip(steps, MOMENTS, strict=True))
    at = places(spec, corpus, [number for number, _ in by_steps], MEASURED)
    for (number, moment), (here, step) in zip(by_steps, at, strict=True):
        own = noise_scale(here), noise_scale(here, step.inverse_root)
        values = [found.value * spec.sequence_length for found in own]
        place = {"what": "noise", "optimizer": optimizer, "params": params_of(size_for(params)), "seed": seed}
        yield place | {"moment": moment, "step": number, "simple": values[0], "preconditioned": values[1]}


def best_batches() -> Iterator[Row]:
    """Best batch [tokens] of each cell of D = 20 N in books.csv: smoothed minimum, and the law's interval."""
    runs = read_runs(BOOKS)
    mine = runs[runs["optimizer"].isin(OPTIMIZERS)].reset_index(drop=True)
    posterior = approximate(mine, draws=1000)
    for key, rows in group_cells(mine):
        if key.tokens > 22 * key.params_nonembedding or key.params_nonembedding > 1.1 * max(SIZES):
            continue
        cell = smooth_cell(key, rows)
        batches = np.exp(surface_at(posterior, Target.of_cell(key)).log_batch)
        low, middle, high = np.quantile(batches, [0.05, 0.5, 0.95])
        smoothed = cell.batch_tokens if cell.scorable and cell.axis == "both" else None
        place = {"what": "best", "optimizer": key.optimizer, "params": int(key.params_nonembedding)}
        yield place | {"smoothed": smoothed, "law": middle, "low": low, "high": high}


def run() -> None:
    """Measure what is not there, and find the best batches anew."""
    torch.set_num_threads(1)
    known = [row for row in read_rows(RESULTS) if row["what"] == "noise"]
    done = {(row["optimizer"], row["params"], row["seed"]) for row in known}
    corpus = prepare(CORPUS)
    for params in SIZES:
        for seed in SEEDS:
            for optimizer in OPTIMIZERS:
                if (optimizer, params_of(size_for(params)), seed) not in done:
                    known += list(measured(corpus, optimizer, params, seed))
                    _write(known)
    _write([*known, *best_batches()])


def _write(rows: Sequence[Row]) -> None:
    shown = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in shown))


def table(rows: Sequence[Row]) -> str:
    """Noise scales beside best batches."""
    body = []
    for best in (row for row in rows if row["what"] == "best"):
        mine = [
            row
            for row in rows
            if row["what"] == "noise"
            and (row["optimizer"], row["params"]) == (best["optimizer"], best["params"])
        ]
        shown = [
            _told([row[kind] for row in mine if row["moment"] == moment])
            for kind in ("simple", "preconditioned")
            for moment in MOMENTS
        ]
        smoothed = f"{best['smoothed']:,.0f}" if best["smoothed"] else "-"
        law = f"{best['law']:,.0f} ({best['low']:,.0f} to {best['high']:,.0f})"
        body.append([best["optimizer"], f"{best['params']:,}", *shown, smoothed, law])
    head = ["optimizer", "N", *MOMENTS, *(f"preconditioned, {moment}" for moment in MOMENTS)]
    head += ["best batch, smoothed", "best batch of the law (90%)"]
    return markdown("Gradient noise scale by seed, and the best batch, in tokens; D = 20 N", head, body)


def _told(values: Sequence[float]) -> str:
    return " / ".join(f"{value:,.0f}" if np.isfinite(value) else "lost in noise" for value in sorted(values))


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
