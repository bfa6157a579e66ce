"""Curvature of the networks of books.csv at step 20, beside their best rates. Minutes, outside CI, resumable.

    python -m tests.studies.early_curvature run      # appends to results/early_curvature.jsonl
    python -m tests.studies.early_curvature table    # prints its part of docs/benchmarks.md

Each network trains for 20 steps of a warm-up of 50 to about a quarter of its optimizer's usual rate, the same
for all sizes: a warm-up that is a share of the run would leave larger networks at lower rates at step 20. The
best rate is that of the best run of books.csv in the cell of D = 20 N: a noisy one, for comparisons that span
orders of magnitude.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

from bayeslaw.assets import BOOKS
from bayeslaw.lab.data.order import batch, sequence_order
from bayeslaw.lab.data.tokens import Corpus, prepare
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.lab.models.transformer import build
from bayeslaw.lab.train import optimizers
from bayeslaw.lab.train.spec import RunSpec, checked
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.io import read_runs
from bayeslaw.spectra import Landscape, NextStep, measure
from bayeslaw.spectra.for_torch import landscape, next_step
from docs.theory_figures import slopes_of
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "early_curvature.jsonl"
SIZES = (9.3e3, 24.7e3, 83.3e3, 332e3)
RATES = {"adamw": 3e-3, "muon": 8e-3, "lion": 4e-4, "rmsprop": 1e-3, "sgd": 0.15}
TOKENS_PER_PARAM, BATCH_TOKENS, WARMUP_STEPS, STEPS, MEASURED = 20, 1024, 50, 20, 8
FEWEST = 7
"""Finished runs of a cell whose best one tells of its best rate."""
WITHIN = 0.2
"""Of ln loss above a cell's best: the runs whose rates tell the exponent, as in docs/theory.md."""
MEASURES = ("lambda_max", "lambda_preconditioned", "critical_learning_rate")


def spec_of(optimizer: str, params: float, corpus: str) -> RunSpec:
    """The run whose first steps are trained."""
    width, depth, heads = size_for(params)
    tokens = round(TOKENS_PER_PARAM * params_of((width, depth, heads)) / BATCH_TOKENS) * BATCH_TOKENS
    plain = RunSpec(
        "early", "books", corpus, optimizer, width, depth, heads, tokens, BATCH_TOKENS, RATES[optimizer]
    )
    return checked(replace(plain, warmup_tokens=WARMUP_STEPS * BATCH_TOKENS))


def place(spec: RunSpec, corpus: Corpus, steps: int, sequences: int) -> tuple[Landscape, NextStep]:
    """Landscape and next step of a network after the first steps of its run, on the run's first sequences."""
    (found,) = places(spec, corpus, (steps,), sequences, first=0)
    return found


def places(
    spec: RunSpec, corpus: Corpus, steps: Sequence[int], sequences: int, first: int | None = None
) -> Iterator[tuple[Landscape, NextStep]]:
    """Landscape and next step of a network after each of some numbers of steps, while it trains.

    Args:
        spec: of the run.
        corpus: tokens.
        steps: increasing.
        sequences: measured.
        first: of them in the run's order; None for those that the run reads next.
    """
    order = sequence_order(len(corpus.train), spec.tokens, spec.sequence_length, spec.seed)
    model = build(spec.shape, spec.sequence_length, spec.seed)
    steppers = optimizers.build(spec.optimizer, model, spec.settings)

    def tokens_of(start: int, count: int) -> torch.Tensor:
        return torch.from_numpy(batch(corpus.train, order, start, count, spec.sequence_length))

    done = 0
    for until in steps:
        for number in range(done, until):
            cross_entropy(model, tokens_of(number * spec.batch_sequences, spec.batch_sequences)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), spec.grad_clip)
            for stepper in steppers:
                for group in stepper.param_groups:
                    group["lr"] = spec.learning_rate_at(number)
                stepper.step()
                stepper.zero_grad()
        done = until
        start = until * spec.batch_sequences if first is None else first
        here = landscape(cross_entropy, model, tokens_of(start, sequences))
        yield here, next_step(here, steppers, spec.grad_clip)


def cross_entropy(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean over tokens [nats]."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def run() -> None:
    """Measure what is not there."""
    torch.set_num_threads(1)
    done = {(row["optimizer"], row["params"]) for row in read_rows(RESULTS)}
    corpus = prepare("../shared/data/gutenberg")
    for params in SIZES:
        for optimizer in RATES:
            size = params_of(size_for(params))
            if (optimizer, size) in done:
                continue
            spec = spec_of(optimizer, params, "../shared/data/gutenberg")
            found = measure(*place(spec, corpus, STEPS, MEASURED), spec.learning_rate)
            row = {"optimizer": optimizer, "params": size, "threshold": found.threshold}
            row |= {name: getattr(found, name) for name in MEASURES}
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def best_rates() -> dict[tuple[str, int], float]:
    """Learning rate of the best run of each optimizer and size at the fewest tokens, of ``FEWEST`` runs."""
    runs = finished_runs(read_runs(BOOKS))
    short = runs[runs["tokens"] < 1.2 * TOKENS_PER_PARAM * runs["params_nonembedding"]]
    cells = short.groupby(["optimizer", "params_nonembedding"])["loss"]
    best = short.loc[cells.idxmin()[cells.size() >= FEWEST]]
    return {
        (str(r["optimizer"]), int(r["params_nonembedding"])): float(r["learning_rate"])
        for r in best.to_dict("records")
    }


def table(rows: list[Row]) -> str:
    """Exponents in N, and the best rate in units of curvature."""
    rates = best_rates()
    body = []
    for optimizer in RATES:
        mine = [row for row in rows if row["optimizer"] == optimizer]
        best = {r["params"]: np.log(rate) for r in mine if (rate := rates.get((optimizer, r["params"])))}
        own = slopes_of(optimizer, WITHIN)
        shown = [_told(mine, name, best) for name in MEASURES]
        threshold = mine[0]["threshold"]
        exponent = f"{own.mean['params']:+.2f} ± {own.error['params']:.2f}"
        body.append([optimizer, exponent, *shown, f"{threshold:.3g}" if threshold else "-"])
    curvature = ["1 / lambda_max", "1 / preconditioned", "critical rate"]
    head = ["optimizer", "eta*, B and D held", *curvature, "threshold"]
    title = (
        "Exponents in N at step 20, four networks of books.csv, 9k to 332k parameters; in brackets eta* in "
        f"units of each, geometric mean over cells of {FEWEST} runs"
    )
    return markdown(title, head, body)


def _told(rows: list[Row], name: str, best: dict[int, float]) -> str:
    """Exponent of one measure, as a learning rate, and the best rate in its units."""
    sign = 1 if name.startswith("critical") else -1
    logs = {row["params"]: sign * np.log(row[name]) for row in rows if row[name] and row[name] > 0}
    if len(logs) < len(rows):
        return "-"
    unit = np.exp(np.mean([best[size] - logs[size] for size in best]))
    slope = np.polyfit(np.log([*logs]), [*logs.values()], 1)[0]
    return f"{slope:+.2f} ({unit:.2g})"


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
