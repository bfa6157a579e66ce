"""Does the population of other studies help a study that is in none of them?

    python -m tests.studies.population run [--only STUDY]   # results/population.jsonl
    python -m tests.studies.population table

One study is left out: Step Law (with ScaleBench), Marin's AdamW, Schaipp's cosine runs, and our books with
AdamW. A newcomer has 0, 8 or 24 of its small runs, drawn at random, and fits them with the literature's
priors (``none``) or with the population of the other studies, which for Marin is also compared with a fit to
all rows together (``joint``). Judged at the study's largest cells: losses by
its runs, settings by a fit to all its runs, whose best settings stand for the truth. All fits are Laplace
approximations (``inference.approximation``), and the population without Marin holds a third of Step Law's
runs, for speed. Resumable. See ../shared/data/README.md for the origin of the runs.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.target_surface import surface_at
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.scores import coverage, crps
from bayeslaw.inference.approximation import approximate as approximate_law
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.places import pivot_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.target import Target
from tests.studies.leave_one_out import (
    LEVEL,
    SOURCES,
    beside,
    best_settings,
    cost,
    marin,
    shipped,
    step_law,
    without,
)
from tests.studies.tables import counted, markdown, percent, read_rows, study_parser

RESULTS = Path(__file__).parent / "results" / "population.jsonl"
COUNTS = (0, 8, 24)
SEEDS = range(3)
PRIORS = ("none", "population", "joint")
approximate = functools.partial(approximate_law, draws=1000)


@dataclass(frozen=True)
class LeftOut:
    """A study left out.

    Attributes:
        runs: all its runs.
        small, large: which of them may be bought, and which are judged.
        others: posterior of the other studies.
        judge: posterior that holds all its runs.
        batch_is_fixed: whether the study never varied its batch.
    """

    runs: Callable[[], pd.DataFrame]
    small: Callable[[pd.DataFrame], pd.Series]
    large: Callable[[pd.DataFrame], pd.Series]
    others: Callable[[], Posterior]
    judge: Callable[[], Posterior]
    batch_is_fixed: bool = False


def marin_adamw() -> pd.DataFrame:
    return marin()[marin()["optimizer"] == "adamw"].reset_index(drop=True)


def schaipp() -> pd.DataFrame:
    """One corpus and schedule: no other setting moves its losses."""
    runs = SOURCES["schaipp"]()
    kept = (runs["study"] == "schaipp-slimpajama") & (runs["schedule"] == "cosine")
    kept &= runs["final_lr_ratio"].round(3) == 0.1
    return runs[kept].reset_index(drop=True)


def books() -> pd.DataFrame:
    runs = SOURCES["books"]()
    return runs[runs["optimizer"] == "adamw"].reset_index(drop=True)


@functools.cache
def third_of_step_law() -> pd.DataFrame:
    return step_law().sample(frac=1 / 3, random_state=0).reset_index(drop=True)


@functools.cache
def without_marin() -> Posterior:
    return approximate(third_of_step_law())


@functools.cache
def judge_of(study: str) -> Posterior:
    return approximate(STUDIES[study].runs())


STUDIES = {
    "schaipp": LeftOut(
        schaipp,
        lambda runs: runs["tokens"] < 3e9,
        lambda runs: (runs["tokens"] > 3e9) & runs["params_nonembedding"].between(8e7, 9e7),
        lambda: without("schaipp"),
        lambda: judge_of("schaipp"),
        batch_is_fixed=True,
    ),
    "books": LeftOut(
        books,
        lambda runs: runs["params_nonembedding"] < 5e4,
        lambda runs: runs["params_nonembedding"] > 5e4,
        shipped,
        lambda: judge_of("books"),
    ),
    "steplaw": LeftOut(
        step_law,
        lambda runs: runs["params_nonembedding"] < 3e8,
        lambda runs: runs["params_nonembedding"] > 5e8,
        lambda: without("steplaw"),
        shipped,
    ),
    "marin": LeftOut(
        marin_adamw,
        lambda runs: runs["params_nonembedding"] < 4e8,
        lambda runs: runs["params_nonembedding"] > 5e8,
        without_marin,
        shipped,
    ),
}


def run(only: str | None) -> None:
    """Append what is not there."""
    done = {(row["study"], row["prior"], row["runs"], row["seed"]) for row in read_rows(RESULTS)}
    for seed in SEEDS:
        for name, prior, count in cases(seed):
            if only in (None, name) and (name, prior, count, seed) not in done:
                row = {"study": name, "prior": prior, "runs": count, "seed": seed}
                row |= scored(name, prior, count, seed)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def cases(seed: int) -> Iterator[tuple[str, str, int]]:
    """Every study, prior and count; before the first run there is nothing to repeat."""
    for name in STUDIES:
        for count in COUNTS if seed == 0 else COUNTS[1:]:
            wanted = PRIORS if name == "marin" and count else PRIORS[:2]
            yield from ((name, prior, count) for prior in wanted)


def scored(name: str, prior: str, count: int, seed: int) -> dict[str, Any]:
    """Scores of one newcomer."""
    study = STUDIES[name]
    runs = study.runs()
    pool = runs[study.small(runs)]
    own = pool.sample(min(count, len(pool)), random_state=seed).reset_index(drop=True)
    began = time.perf_counter()
    posterior = believed(study, prior, pool, own, seed)
    seconds = time.perf_counter() - began
    held = runs[study.large(runs)].reset_index(drop=True)
    return {
        "own": len(own),
        "seconds": round(seconds, 1),
        "cells": [judged(study, posterior, target) for target in targets(study, held)],
        **(losses(posterior, held) if len(own) else {}),
    }


def believed(study: LeftOut, prior: str, pool: pd.DataFrame, own: pd.DataFrame, seed: int) -> Posterior:
    """What a newcomer believes with its own runs, if any; before the first, near those that it may have."""
    if prior == "joint":
        return approximate(pd.concat([third_of_step_law(), own], ignore_index=True), seed=seed)
    if len(own):
        return approximate(own, seed=seed, population=study.others() if prior == "population" else None)
    if prior == "population":
        return study.others()
    return prior_posterior(parts=DEFAULT_PARTS, pivot=pivot_of(pool, DEFAULT_PARTS))


def targets(study: LeftOut, held: pd.DataFrame) -> list[Target]:
    """The cells that judge, with the study's sequences, at its batch where it never varied it."""
    sequences = {"sequence": float(held["sequence_length"].iloc[0])}
    cells = held.groupby(["study", "optimizer", "params_nonembedding", "tokens"])["batch_tokens"].first()
    return [
        Target(n, d, optimizer, name, float(batch) if study.batch_is_fixed else None, sequences)
        for (name, optimizer, n, d), batch in cells.items()
    ]


def judged(study: LeftOut, posterior: Posterior, target: Target) -> dict[str, Any]:
    """Cost of the advice at one cell, and whether the intervals hold the judge's best settings."""
    truth = surface_at(study.judge(), target)
    own = surface_at(posterior, target)
    found: dict[str, Any] = {"params": target.params_nonembedding, "tokens": target.tokens}
    found["regret"] = cost(truth, own)
    middles = {name: float(np.median(draws)) for name, draws in best_settings(truth).items()}
    return found | {name: beside(draws, middles[name]) for name, draws in best_settings(own).items()}


def losses(posterior: Posterior, held: pd.DataFrame) -> dict[str, float]:
    finished = finished_runs(held)
    draws = PosteriorAdvisor(posterior).loss_draws(finished)
    observed = finished["loss"].to_numpy(float)
    return {"crps": crps(draws, observed), "coverage": coverage(draws, observed, LEVEL)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a study, count and prior."""
    body = []
    for name in STUDIES:
        for count in COUNTS:
            for prior in PRIORS:
                mine = [r for r in rows if (r["study"], r["runs"], r["prior"]) == (name, count, prior)]
                if mine:
                    body.append([name, str(count), prior, *_line(mine)])
    head = ["left out", "own runs", "prior", "regret, median (worst seed)", "best rates inside", "width"]
    head += ["best batches inside", "losses covered", "CRPS, nats"]
    title = (
        f"One study left out, {len(SEEDS)} draws of its runs: settings and losses at its largest cells, "
        f"{LEVEL:.0%} intervals"
    )
    return markdown(title, head, body) + "\n\n" + _verdict(rows)


def _line(rows: Sequence[dict[str, Any]]) -> list[str]:
    regrets = [float(np.mean([cell["regret"] for cell in row["cells"]])) for row in rows]
    factors = [cell["learning_rate"]["factor"] for row in rows for cell in row["cells"]]
    scored = [row for row in rows if "crps" in row]
    return [
        f"{percent(float(np.median(regrets)), 2)} ({percent(max(regrets), 2)})",
        _inside(rows, "learning_rate"),
        f"{np.median(factors):.1f} times",
        _inside(rows, "batch_tokens"),
        percent(float(np.mean([row["coverage"] for row in scored])), 0) if scored else "-",
        f"{np.mean([row['crps'] for row in scored]):.4f}" if scored else "-",
    ]


def _inside(rows: Sequence[dict[str, Any]], name: str) -> str:
    return counted([cell[name]["inside"] for row in rows for cell in row["cells"] if name in cell])


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """How often the population has the smaller regret and CRPS for the same own runs."""
    by = {(r["study"], r["runs"], r["seed"], r["prior"]): r for r in rows if r["runs"]}
    pairs = [
        (by[key], by[(*key[:3], "population")])
        for key in by
        if key[3] == "none" and (*key[:3], "population") in by
    ]
    if not pairs:
        return ""
    regret = [[float(np.mean([c["regret"] for c in row["cells"]])) for row in pair] for pair in pairs]
    score = [[row["crps"] for row in pair] for pair in pairs]
    ratio = np.median([one[1] / max(one[0], 1e-6) for one in regret])
    wins = [sum(one[1] < one[0] for one in values) for values in (regret, score)]
    return (
        f"With the same own runs the population has the smaller regret in {wins[0]} of {len(pairs)} fits "
        f"(median ratio {ratio:.2f}), and the smaller CRPS in {wins[1]}. {_against_joint(by)}"
    )


def _against_joint(by: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    """What the Gaussian population loses against a fit to all rows together."""
    pairs = [
        (by[(*key[:3], "population")], row)
        for key, row in by.items()
        if key[3] == "joint" and (*key[:3], "population") in by
    ]
    if not pairs:
        return ""
    score = np.median([one["crps"] / other["crps"] for one, other in pairs])
    widths = [
        np.log(mine["learning_rate"]["factor"]) / np.log(theirs["learning_rate"]["factor"])
        for one, other in pairs
        for mine, theirs in zip(one["cells"], other["cells"], strict=True)
    ]
    return (
        f"Against the joint fit its CRPS is {score:.2f} times as large, and its intervals of the learning "
        f"rate {np.median(widths):.2f} times as wide in logarithms (medians, {len(pairs)} fits)."
    )


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--only", choices=list(STUDIES), help="one study")
    given = parser.parse_args()
    if given.what == "run":
        run(given.only)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
