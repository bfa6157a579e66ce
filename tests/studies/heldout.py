"""Held-out scales: fit on small models, score on large ones. Slow, outside CI, resumable.

    python -m tests.studies.heldout run [--only PREFIX] [--law core]   # appends what is not there
    python -m tests.studies.heldout table                              # prints its part of docs/benchmarks.md

The results are in results/heldout.jsonl.

Real runs come from ../shared/data, which is never committed; see its README for their origin.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.evaluation import baselines
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.heldout import evaluate, law_advisor
from bayeslaw.evaluation.scores import coverage, crps
from bayeslaw.law.terms import to_coordinate
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.schema import CELL
from bayeslaw.target import Target
from tests.studies.fits import fit_core, fit_default
from tests.studies.tables import heldout_tables, read_rows

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "heldout.jsonl"
FILES = {
    "steplaw": "steplaw_dense.csv",
    "scalebench": "scalebench_lr_bsz_train.parquet",
    "marin": "marin_optimizer_sweep.csv",
}
SEEDS = range(10)
Fit = Callable[[pd.DataFrame], Posterior]
Case = tuple[str, Callable[[Fit], tuple[Any, pd.DataFrame]]]


def table(name: str) -> pd.DataFrame:
    return import_runs(DATA / FILES[name], adapter=name)[0]


FITS = {"default": fit_default, "core": fit_core}
"""Laws by name, as ``bayeslaw fit`` and ``bayeslaw fit --parts core`` have them."""


def flops(runs: pd.DataFrame) -> np.ndarray:
    return (6 * runs["params_nonembedding"] * runs["tokens"]).to_numpy()


def share_of_flops(pool: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Runs drawn at random without replacement for as long as they fit into the budget."""
    budget, spent, chosen = share * flops(pool).sum(), 0.0, []
    cost = flops(pool)
    for i in np.random.default_rng(seed).permutation(len(pool)):
        if spent + cost[i] > budget:
            break
        spent += cost[i]
        chosen.append(i)
    return pool.iloc[sorted(chosen)].reset_index(drop=True)


def cases() -> Iterator[Case]:
    steplaw, scalebench = table("steplaw"), table("scalebench")
    n = "params_nonembedding"
    sizes = np.sort(steplaw[n].unique())
    for cut in sizes[2:]:
        yield (
            f"steplaw/origin N<{cut:.3g}",
            lambda fit, cut=cut: _pair(fit, steplaw[steplaw[n] < cut], steplaw[steplaw[n] >= cut]),
        )
    small, large = steplaw[steplaw[n] < 5e8], steplaw[steplaw[n] > 5e8]
    methods = {
        "argmin": baselines.fit_argmin,
        "huber": baselines.fit_huber,
        "near-optimal": baselines.fit_near_optimal,
    }
    for name, method in methods.items():
        yield f"steplaw/baseline {name}", lambda _, method=method: (method(small), large)
    for law in ("step", "constant", "porian", "deepseek", "bjorck", "kaplan"):
        yield f"steplaw/law {law}", lambda _, law=law: (law_advisor(law), large)
    for cut in (2.5e8, 4e8, 5e8):
        small = scalebench[n] < cut
        next_up = (scalebench[n] >= cut) & (scalebench[n] < 2.1 * cut)
        yield (
            f"scalebench/origin N<{cut:.3g}",
            lambda fit, small=small, next_up=next_up: _pair(fit, scalebench[small], scalebench[next_up]),
        )
    pool, target = scalebench[scalebench[n] < 1e9], scalebench[scalebench[n] > 1e9]
    yield "scalebench/N<1e9", lambda fit: _pair(fit, pool, target)
    last = (scalebench[n] > 1e9) & (scalebench["tokens"] > 5e10)
    yield "scalebench/last cell", lambda fit: _pair(fit, scalebench[~last], scalebench[last])
    for seed in SEEDS:
        yield (
            f"scalebench/1% seed {seed}",
            lambda fit, seed=seed: _pair(fit, share_of_flops(pool, 0.01, seed), target),
        )
    for seed in SEEDS:
        yield (
            f"scalebench/last cell 1% seed {seed}",
            lambda fit, seed=seed: _pair(
                fit, share_of_flops(scalebench[~last], 0.01, seed), scalebench[last]
            ),
        )
    for seed in SEEDS:
        own = steplaw[steplaw[n] < 3e8].sample(8, random_state=seed)
        yield f"newstudy/alone seed {seed}", lambda fit, own=own: _pair(fit, own, large)
    marin = table("marin")
    for seed in SEEDS:
        own = steplaw[steplaw[n] < 3e8].sample(8, random_state=seed)
        yield (
            f"newstudy/with marin seed {seed}",
            lambda fit, own=own: _pair(fit, pd.concat([marin, own]), large),
        )
    for optimizer in sorted(marin["optimizer"].unique()):
        mine = marin["optimizer"] == optimizer
        own, test = marin[mine & (marin[n] < 2e8)], marin[mine & (marin[n] > 5e8)]
        yield f"marin/{optimizer} none", lambda fit, own=own, test=test: _pair(fit, own, test)
        both = pd.concat([marin[~mine], own])
        yield f"marin/{optimizer} partial", lambda fit, both=both, test=test: _pair(fit, both, test)
        yield (
            f"marin/{optimizer} complete",
            lambda fit, both=both, test=test: _pair(
                fit, both.assign(optimizer="any"), test.assign(optimizer="any")
            ),
        )


def _pair(fit: Fit, train: pd.DataFrame, test: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    return PosteriorAdvisor(fit(train)), test


def run(only: str, law: str) -> None:
    """Score the cases that are not in the results; baselines and published laws need no fit, so once."""
    RESULTS.parent.mkdir(exist_ok=True)
    done = {row["case"] for row in read_rows(RESULTS) if row.get("law", law) == law}
    for name, build in cases():
        if name in done or not name.startswith(only):
            continue
        print(name, flush=True)
        began = time.perf_counter()
        scores = score(*build(FITS[law]))
        of = {"law": law} if "fit" in scores else {}
        row = {"case": name} | of | scores | {"seconds": round(time.perf_counter() - began, 1)}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print("   ", {k: v for k, v in row.items() if k != "case"}, flush=True)


SCORES = ("n", "r2", "r2_within_cells", "mae", "crps", "coverage", "effective_n", "joint_pit")
"""What is kept of ``evaluate``'s scores of runs."""


def score(advisor: Any, test: pd.DataFrame) -> dict[str, Any]:
    result = evaluate(advisor, test)
    runs, summary = result["runs"], result["summary"]
    row = {k: _short(runs.get(k)) for k in SCORES}
    row["summary"] = {k: _short(v) if isinstance(v, float) else v for k, v in summary.items()}
    row["cells"] = [
        {k: _short(c.get(k)) for k in ("params", "tokens", "regret")} | {"covered": c.get("optimum_covered")}
        for c in result["cells"]
        if c["scorable"]
    ]
    if isinstance(advisor, PosteriorAdvisor):
        row["side"] = side_optima(advisor, test)
        d = advisor.posterior.diagnostics
        row["fit"] = {
            k: _short(d[k]) for k in ("rhat_max", "ess_bulk_min", "ess_tail_min", "divergences", "seconds")
        }
        row["fit"]["rows"] = advisor.posterior.provenance["rows"]
    return row


def side_optima(advisor: PosteriorAdvisor, test: pd.DataFrame) -> dict[str, Any]:
    """Weight decay and momentum of each cell's best run against the draws of their optimum.

    CRPS in nats of ``terms.to_coordinate``; only cells that hold two values. A best run is a noisy optimum on
    a coarse grid: of use to compare methods on the same cells, not to judge coverage.
    """
    found: dict[str, Any] = {}
    finished = test[test["status"] == "finished"]
    for name in ("weight_decay", "momentum"):
        scores, inside = [], []
        for key, runs in finished.groupby(list(CELL)):
            study, optimizer, n, d = key
            target = Target(float(n), float(d), str(optimizer), str(study))
            if name not in runs or runs[name].nunique() < 2:
                continue
            draws = advisor.optimum_draws(target)
            if name in draws:
                best = to_coordinate(name, runs.loc[runs["loss"].idxmin(), name])
                scores.append(crps(to_coordinate(name, draws[name])[:, None], [best]))
                inside.append(coverage(to_coordinate(name, draws[name])[:, None], [best], 0.9))
        if scores:
            found[name] = {
                "cells": len(scores),
                "crps_nats": _short(float(np.mean(scores))),
                "covered": _short(float(np.mean(inside))),
            }
    return found


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--only", default="", help="cases whose name starts so, such as scalebench/")
    parser.add_argument("--law", choices=FITS, default="default")
    given = parser.parse_args()
    if given.what == "run":
        run(given.only, given.law)
    else:
        print(heldout_tables(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
