"""Is the regret that `predict` announces the regret that its advice costs?

    python -m tests.studies.announced run     # results/announced.jsonl, resumable
    python -m tests.studies.announced table

Independent targets: the five optimizers of books.csv, from runs of 9k parameters to 83k; Marin's nine from
130M to 520M; six simulated truths, from 20M to 300M parameters to 3B. Each fit has 0, 4 or 16 runs drawn at
random from the smaller cells. The law is the core, the core and its default parts, or those without
optimizers' usual multiples. All fits are Laplace approximations. The judges of real targets are fits to all
runs of that optimizer (for Marin the shipped posterior), so they are models too. See
../shared/data/README.md for the origin of Marin's runs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import surface_at
from bayeslaw.assets import BOOKS, POSTERIOR
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import Effort
from bayeslaw.law.parameters import DEFAULT_PARTS, MULTIPLES
from bayeslaw.law.places import pivot_of
from bayeslaw.law.simulation import TRUTH, example_design, simulate_runs, true_regret
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.studies.tables import markdown, read_rows, run_or_print

DATA = Path(__file__).parents[3] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "announced.jsonl"
COUNTS = (0, 4, 16)
SEEDS = range(1)
LEVEL = 0.9
WAYS = {
    "core": (),
    "default": DEFAULT_PARTS,
    "default, no multiples": tuple(part for part in DEFAULT_PARTS if part != MULTIPLES),
}
SETTINGS = ("learning_rate", "batch_tokens")
SPREADS = {"alpha": 0.5, "beta": 0.4, "gamma_path": 0.08, "epsilon": 0.08, "lr_curvature": 0.3, "rho": 0.1}
"""Standard deviations of the simulated truths about ``simulation.TRUTH``."""

Regret = Callable[[dict[str, float]], float]


@dataclass(frozen=True)
class Judged:
    """A target whose regret is known: the runs that may be had, and the price of settings there."""

    pool: pd.DataFrame
    target: Target
    regret: Regret


@functools.cache
def books() -> pd.DataFrame:
    return read_runs(BOOKS)


@functools.cache
def marin() -> pd.DataFrame:
    return import_runs(DATA / "marin_optimizer_sweep.csv", adapter="marin")[0]


def of_books(optimizer: str) -> Judged:
    runs = books()[books()["optimizer"] == optimizer]
    judge = approximate(runs, effort=Effort(optimization=0))
    return Judged(runs[runs["params_nonembedding"] < 1e4], *judged_by(judge, runs, 83280.0, 1665536.0))


def of_marin(optimizer: str) -> Judged:
    runs = marin()[marin()["optimizer"] == optimizer]
    judge = read_posterior(POSTERIOR)
    small = runs[runs["params_nonembedding"] < 2e8]
    return Judged(small, *judged_by(judge, runs, 536870912.0, 10737418240.0))


def judged_by(judge: Posterior, runs: pd.DataFrame, n: float, d: float) -> tuple[Target, Regret]:
    """A cell, and what a posterior says that a learning rate and batch cost there."""
    first = runs.iloc[0]
    target = Target(n, d, str(first["optimizer"]), str(first["study"]))
    at = surface_at(judge, target)
    best = decide(at)
    least = float(outcome_of(at, best).regret.mean())

    def regret(settings: dict[str, float]) -> float:
        advised = best | {name: settings[name] for name in SETTINGS}
        return max(float(outcome_of(at, advised).regret.mean()) - least, 0.0)

    return target, regret


def simulated(number: int) -> Judged:
    rng = np.random.default_rng([number, 8])
    truth = {name: TRUTH[name] + sd * rng.standard_normal() for name, sd in SPREADS.items()}
    pool = simulate_runs(example_design(160, study="simulated", seed=number), truth, seed=number)
    target = Target(3e9, 6e10, "adamw", "simulated")
    return Judged(pool, target, lambda settings: true_regret(target, settings, truth))


TARGETS: dict[str, Callable[[], Judged]] = {
    **{
        f"books {name}": functools.partial(of_books, name)
        for name in ("adamw", "lion", "muon", "rmsprop", "sgd")
    },
    **{
        f"marin {name}": functools.partial(of_marin, name)
        for name in ("adamw", "cautious", "kron", "lion", "mars", "mini", "muon", "soape", "sophia")
    },
    **{f"simulated {number}": functools.partial(simulated, number) for number in range(6)},
}


def run() -> None:
    """Append what is not there."""
    done = {(row["target"], row["way"], row["runs"], row["seed"]) for row in read_rows(RESULTS)}
    for name, make in TARGETS.items():
        missing = [key for key in cases() if (name, *key) not in done]
        judged = make() if missing else None
        for way, count, seed in missing:
            assert judged is not None
            row = {"target": name, "way": way, "runs": count, "seed": seed}
            row |= scored(judged, way, count, seed)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def cases() -> Iterator[tuple[str, int, int]]:
    """Every way, count and seed; before the first run there is nothing to repeat."""
    for way in WAYS:
        for count in COUNTS:
            yield from ((way, count, seed) for seed in SEEDS if count or not seed)


def scored(judged: Judged, way: str, count: int, seed: int) -> dict[str, Any]:
    """The regret announced, its bound, and what the advice costs."""
    own = judged.pool.sample(count, random_state=seed).reset_index(drop=True)
    at = surface_at(believed(judged.pool, own, WAYS[way], seed), judged.target, independent=True)
    settings = decide(at)
    regret = outcome_of(at, settings).regret
    bound = float(np.quantile(regret, LEVEL))
    return {
        "announced": float(regret.mean()),
        "bound": bound,
        "realised": judged.regret(settings),
        **{name: settings[name] for name in SETTINGS},
    }


def believed(pool: pd.DataFrame, own: pd.DataFrame, parts: Sequence[str], seed: int) -> Posterior:
    """What the runs say; before the first, what the priors say near the pool."""
    if len(finished_runs(own)):
        return approximate(own, parts, seed=seed, effort=Effort(optimization=0))
    return prior_posterior(seed=seed, parts=parts, pivot=pivot_of(pool, parts))


def table() -> str:
    """One row per way and number of runs, over all targets; then the ratio by kind of target."""
    rows = read_rows(RESULTS)
    body = []
    for way in WAYS:
        for count in COUNTS:
            mine = [row for row in rows if (row["way"], row["runs"]) == (way, count)]
            if mine:
                body.append([way, str(count), *line(mine)])
    head = ["law", "own runs", "targets", "announced, mean", "cost, mean", "ratio", "median ratio"]
    title = "The announced regret beside what the advice costs"
    whole = markdown(title, [*head, f"within the {LEVEL:.0%} bound"], body)
    kinds = list(dict.fromkeys(name.split()[0] for name in TARGETS))
    ratios = [[way, *(by_count(rows, way, kind) for kind in kinds)] for way in WAYS]
    asked = "announced over cost, by own runs " + ", ".join(map(str, COUNTS))
    return whole + "\n\n" + markdown(asked.capitalize(), ["law", *kinds], ratios)


def by_count(rows: Sequence[dict[str, Any]], way: str, kind: str) -> str:
    """Mean announced over mean cost for each number of runs."""
    found = []
    for count in COUNTS:
        mine = [
            row for row in rows if (row["way"], row["runs"], row["target"].split()[0]) == (way, count, kind)
        ]
        if mine:
            announced, realised = (sum(row[name] for row in mine) for name in ("announced", "realised"))
            found.append(f"{announced / realised:.1f}")
    return ", ".join(found)


def line(rows: Sequence[dict[str, Any]]) -> list[str]:
    announced, realised = (np.array([row[name] for row in rows]) for name in ("announced", "realised"))
    within = np.mean([row["realised"] <= row["bound"] for row in rows])
    return [
        str(len({row["target"] for row in rows})),
        f"{announced.mean():.2%}",
        f"{realised.mean():.2%}",
        f"{announced.mean() / realised.mean():.1f}",
        f"{np.median(announced / np.maximum(realised, 1e-4)):.1f}",
        f"{within:.0%}",
    ]


if __name__ == "__main__":
    run_or_print(__doc__, run, table)
