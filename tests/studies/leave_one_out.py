"""What does the pooled law say of a study that it has never seen?

    python -m tests.studies.leave_one_out run     # fits in out/leave_one_out, results/leave_one_out.jsonl
    python -m tests.studies.leave_one_out table

Each source of the shipped posterior is left out in turn: Step Law (with ScaleBench), Marin, Schaipp and
Hägele (three studies). The same law is fitted to the others, by the Gaussian approximation
(``inference.approximation``, somewhat too sure of itself, minutes), and asked for the best learning rate and
batch in every cell of the one left out, as a set-up never seen, with its covariates and schedule. The shipped
posterior, drawn by NUTS with all rows, is the judge: the middle of its best settings stands for the truth in
the cells where it knows the rate to a factor of two. Our books, three decades smaller, were never in: there
the shipped posterior is asked, and a fit to the books alone judges. Where a study has one batch at a size,
rates are compared at that batch. Resumable. See ../shared/data/README.md for the origin of the runs.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import TargetSurface, log_lr_at_batch, optimum_draws, surface_at
from bayeslaw.assets import BOOKS, POSTERIOR
from bayeslaw.inference.approximation import approximate
from bayeslaw.intervals import interval
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.io import read_runs
from bayeslaw.runs.optimizer_families import USUAL_RATES
from bayeslaw.target import Target
from tests.studies.tables import counted, markdown, percent, read_rows, run_or_print

DATA = Path(__file__).parents[3] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "leave_one_out.jsonl"
FITS = Path("out/leave_one_out")
PARTS = (*DEFAULT_PARTS, "schedule_slope")
LEVEL = 0.9
SETTINGS = ("learning_rate", "batch_tokens")
KNOWN = 2.0
"""Upper over lower end of the judge's interval of the best rate, at most, for a cell to judge."""


@functools.cache
def step_law() -> pd.DataFrame:
    """Step Law's runs and ScaleBench's, each once."""
    tables = [
        import_runs(DATA / file, adapter=adapter)[0].assign(study="steplaw")
        for file, adapter in (
            ("steplaw_dense.csv", "steplaw"),
            ("scalebench_lr_bsz_train.parquet", "scalebench"),
        )
    ]
    both = pd.concat(tables, ignore_index=True)
    key = ["params_nonembedding", "tokens", "batch_tokens", "learning_rate"]
    return both[~both[key].round(9).duplicated()].reset_index(drop=True)


@functools.cache
def marin() -> pd.DataFrame:
    return import_runs(DATA / "marin_optimizer_sweep.csv", adapter="marin")[0]


SOURCES: dict[str, Callable[[], pd.DataFrame]] = {
    "steplaw": step_law,
    "marin": marin,
    "schaipp": lambda: import_runs(DATA / "schaipp_haegele_runs.csv", adapter="schaipp")[0],
    "books": lambda: read_runs(BOOKS),
}
SHIPPED = ("steplaw", "marin", "schaipp")
"""Sources of the shipped posterior."""


@functools.cache
def shipped() -> Posterior:
    return read_posterior(POSTERIOR)


@functools.cache
def judge(source: str) -> Posterior:
    """A posterior that holds all runs of a source."""
    return shipped() if source in SHIPPED else _fitted(source, [source])


@functools.cache
def without(source: str) -> Posterior:
    """The law of all other sources."""
    if source not in SHIPPED:
        return shipped()
    return _fitted(f"without_{source}", [name for name in SHIPPED if name != source])


def _fitted(name: str, sources: Sequence[str]) -> Posterior:
    """A fit to some sources, from its file if there is one."""
    path = FITS / f"{name}.nc"
    if not path.exists():
        runs = pd.concat([SOURCES[source]() for source in sources], ignore_index=True)
        FITS.mkdir(parents=True, exist_ok=True)
        write_posterior(approximate(runs, PARTS, draws=1000), path)
    return read_posterior(path)


def run() -> None:
    """Append what is not there."""
    done = {row["source"] for row in read_rows(RESULTS)}
    for source in SOURCES:
        if source not in done:
            row = {"source": source, "cells": cells_of(source), "unaided": unaided(source)}
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(table(read_rows(RESULTS)), flush=True)


def cells_of(source: str, optimizers: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Scores in every cell of a source that the judge knows, by default of all optimizers."""
    posterior = without(source)
    own = [cell for cell in judge(source).cells if cell.study.startswith(source)]
    own = [cell for cell in own if optimizers is None or cell.optimizer in optimizers]
    fixed = _batches(SOURCES[source]())
    targets = [Target.of_cell(cell, fixed.get((cell.study, cell.params_nonembedding))) for cell in own]
    return [found for target in targets if (found := scored(posterior, judge(source), target))]


def unaided(source: str) -> list[dict[str, Any]]:
    """The same for optimizers never seen, were their usual multiples of AdamW's rate not known."""
    seen = without(source).optimizers
    moved = [name for name, usual in USUAL_RATES.items() if usual.ratio != 1 and name not in seen]
    nothing = {"log_usual_rates": lambda names: [math.nan] * len(list(names))}
    with patch.multiple("bayeslaw.posterior.pooling", **nothing):
        return cells_of(source, moved)


def _batches(runs: pd.DataFrame) -> dict[tuple[str, float], float]:
    """The batch [tokens] of each study and N whose runs have only one."""
    found = runs.groupby(["study", "params_nonembedding"])["batch_tokens"].agg(["first", "nunique"])
    return {key: float(row["first"]) for key, row in found.iterrows() if row["nunique"] == 1}


def scored(posterior: Posterior, judge: Posterior, target: Target) -> dict[str, Any] | None:
    """Whether the intervals hold the judge's best settings, their widths, and what the advice costs."""
    truth, own = surface_at(judge, target), surface_at(posterior, target)
    known = {name: interval(draws, LEVEL) for name, draws in best_settings(truth).items()}
    if known["learning_rate"].upper - known["learning_rate"].lower > np.log(KNOWN):
        return None
    found: dict[str, Any] = {
        "study": target.study,
        "optimizer": target.optimizer,
        "params": target.params_nonembedding,
        "tokens": target.tokens,
        "regret": cost(truth, own),
    }
    for name, draws in best_settings(own).items():
        middle = known[name].median
        found[name] = beside(draws, middle) | {"off": float(np.median(draws)) - middle}
    return found


def beside(draws: np.ndarray, middle: float) -> dict[str, Any]:
    """Whether the interval of draws in logarithms holds the judge's middle, and its upper over lower end."""
    own = interval(draws, LEVEL)
    return {"inside": own.lower <= middle <= own.upper, "factor": float(np.exp(own.upper - own.lower))}


def best_settings(surface: TargetSurface) -> dict[str, np.ndarray]:
    """Draws of ln of the best learning rate and batch; of the rate at the batch where that is fixed."""
    fixed = surface.target.batch_tokens
    if fixed is not None:
        return {"learning_rate": log_lr_at_batch(surface, np.log(fixed))}
    optima = optimum_draws(surface)
    return {name: np.log(optima[name]) for name in SETTINGS}


def cost(truth: TargetSurface, own: TargetSurface) -> float:
    """Loss that learning rate and batch of the advice give away, by the judge; all else at its best."""
    best, given = decide(truth), decide(own)
    advised = best | {name: given[name] for name in SETTINGS}
    costs = [float(outcome_of(truth, settings).regret.mean()) for settings in (advised, best)]
    return costs[0] - costs[1]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a source, AdamW and the other optimizers apart."""
    body = []
    for row in sorted(rows, key=lambda each: list(SOURCES).index(each["source"])):
        for name, chosen in (("AdamW", True), ("others", False)):
            cells = [cell for cell in row["cells"] if (cell["optimizer"] == "adamw") == chosen]
            if cells:
                optimizers = len({cell["optimizer"] for cell in cells})
                label = name if chosen else f"{optimizers} {name}"
                body.append([row["source"], label, str(len(cells)), *_line(cells)])
    head = ["left out", "optimizers", "cells", "best rates inside", "width", "off by, median"]
    head += ["best batches inside", "width", "regret, mean (median)"]
    title = f"One source left out, no runs of its own: {LEVEL:.0%} intervals in its cells"
    verdict = _verdict([c for row in rows for c in row["cells"]])
    return "\n\n".join([markdown(title, head, body), verdict, multiples(rows)])


def multiples(rows: Sequence[dict[str, Any]]) -> str:
    """How far rates of optimizers never seen are off beside AdamW's, with and without usual multiples."""
    body = []
    for row in rows:
        adamw = _off([cell for cell in row["cells"] if cell["optimizer"] == "adamw"])
        for name in sorted({cell["optimizer"] for cell in row["unaided"]}):
            before, after = (
                [cell for cell in row[part] if cell["optimizer"] == name] for part in ("unaided", "cells")
            )
            line = [f"{np.exp(_off(cells) - adamw):.2f} times" for cells in (before, after)]
            line += [percent(float(np.mean([c["regret"] for c in cells])), 2) for cells in (before, after)]
            body.append([row["source"], name, *line])
    head = ["left out", "optimizer", "off without", "off", "regret without", "regret"]
    return markdown(
        "Optimizers never seen, beside AdamW: rate given over the judge's, over that of AdamW", head, body
    )


def _off(cells: Sequence[dict[str, Any]]) -> float:
    return float(np.median([cell["learning_rate"]["off"] for cell in cells]))


def _line(cells: Sequence[dict[str, Any]]) -> list[str]:
    regrets = [cell["regret"] for cell in cells]
    rate = [cell["learning_rate"] for cell in cells]
    batch = [cell["batch_tokens"] for cell in cells if "batch_tokens" in cell]
    return [
        counted([each["inside"] for each in rate]),
        f"{np.median([each['factor'] for each in rate]):.1f} times",
        f"{np.exp(np.median([abs(each['off']) for each in rate])):.2f} times",
        counted([each["inside"] for each in batch]),
        f"{np.median([each['factor'] for each in batch]):.1f} times" if batch else "-",
        f"{percent(float(np.mean(regrets)), 2)} ({percent(float(np.median(regrets)), 2)})",
    ]


def _verdict(cells: Sequence[dict[str, Any]]) -> str:
    rate = [cell["learning_rate"]["inside"] for cell in cells]
    batch = [cell["batch_tokens"]["inside"] for cell in cells if "batch_tokens" in cell]
    if not (rate and batch):
        return ""
    both = rate + batch
    return (
        f"{np.mean(both):.0%} of {len(both)} best settings lie inside: {np.mean(rate):.0%} of the rates, "
        f"{np.mean(batch):.0%} of the batches."
    )


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
