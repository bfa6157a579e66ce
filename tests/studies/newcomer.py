"""An optimizer nobody has tuned: how many small runs until its settings at 520M parameters are good?

    python -m tests.studies.newcomer run [--only OPTIMIZER]   # results/newcomer.jsonl
    python -m tests.studies.newcomer table

Some five CPU hours, so that ``--only`` divides it. Marin, leave one optimizer out. Pooled: the fits hold the
others' runs (a third of them, for speed) beside the newcomer's; alone: the newcomer's only, with the
literature's priors. Its runs of 130M and 300M parameters are bought one by one, by our policy (each run at
the price of one) or at random. Marin's runs at 520M vary one hyperparameter at a time about a good setting,
and no cell can be smoothed: the judge is the posterior that the package ships, fitted to all its runs.
Resumable. See ../shared/data/README.md for the origin of the runs.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import TargetSurface, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.planning.batches import choose
from bayeslaw.planning.candidates import places
from bayeslaw.planning.conditioning import joint_draws
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.importing import import_runs
from bayeslaw.target import Target
from tests.studies.fits import fit_core
from tests.studies.tables import markdown, percent, read_rows, study_parser

DATA = Path(__file__).parents[3] / "shared" / "data" / "marin_optimizer_sweep.csv"
RESULTS = Path(__file__).parent / "results" / "newcomer.jsonl"
COUNTS = {"pooled": (0, 1, 4), "alone": (0, 1, 2, 4, 8, 16)}
"""Runs of the newcomer. A pooled fit takes 4 to 13 CPU minutes."""
SMALL, LARGE = 4e8, 5e8
OTHERS = 1 / 3
ENOUGH = 0.01
"""Regret at which the settings count as good."""
WAYS = [("pooled", "regret"), ("pooled", "random"), ("alone", "regret"), ("alone", "random")]
EXTRAS = ("weight_decay", "momentum")

Settings = dict[str, float]


def run(only: str | None) -> None:
    runs = import_runs(DATA, adapter="marin")[0]
    done = {(row["optimizer"], row["fit"], row["policy"]) for row in read_rows(RESULTS)}
    large = runs[runs["params_nonembedding"] > LARGE]
    optimizers = [name for name in sorted(large["optimizer"].unique()) if only in (None, name)]
    # alone first, which takes seconds a fit; then pooled, where an optimizer's two ways share their first fit
    asked = sorted(itertools.product(optimizers, WAYS), key=lambda each: each[1][0])
    for optimizer, (way, policy) in asked:
        if (optimizer, way, policy) not in done:
            row = {"optimizer": optimizer, "fit": way, "policy": policy}
            row["steps"] = steps(runs, optimizer, way, policy)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def steps(runs: pd.DataFrame, optimizer: str, way: str, policy: str) -> list[dict[str, Any]]:
    """Regrets of the advice, and of the best run so far, after each of the way's ``COUNTS``."""
    mine = runs[runs["optimizer"] == optimizer]
    pool = mine[mine["params_nonembedding"] < SMALL].reset_index(drop=True)
    cells = mine[mine["params_nonembedding"] > LARGE].groupby(["params_nonembedding", "tokens"])
    targets = [Target(float(n), float(d), optimizer, "marin") for n, d in cells.groups]
    order = np.random.default_rng(0).permutation(len(pool))
    posterior = before(optimizer) if way == "pooled" else nothing()
    bought: list[int] = []
    found = []
    for count in COUNTS[way]:
        if count > len(bought):
            left = [i for i in order if i not in bought]
            bought += (
                left[: count - len(bought)]
                if policy == "random"
                else wanted(posterior, targets, pool, left, count - len(bought))
            )
            posterior = after(optimizer, way, pool.iloc[bought].reset_index(drop=True))
        regrets = [judged(target, advice(posterior, target, pool.iloc[bought])) for target in targets]
        finished = finished_runs(pool.iloc[bought])
        best = [judged(target, best_run(finished)) for target in targets] if len(finished) else []
        found.append(
            {
                "runs": count,
                "regret": float(np.mean(regrets)),
                "regret_max": float(np.max(regrets)),
                "announced": float(np.mean([announced(posterior, target) for target in targets])),
                "best_run": float(np.mean(best)) if best else None,
                "converged": bool(posterior.diagnostics["converged"]),
            }
        )
        print("   ", optimizer, way, policy, found[-1], flush=True)
    return found


@functools.lru_cache(1)
def others(optimizer: str) -> pd.DataFrame:
    runs = import_runs(DATA, adapter="marin")[0]
    return runs[runs["optimizer"] != optimizer].sample(frac=OTHERS, random_state=0).reset_index(drop=True)


@functools.lru_cache(1)
def before(optimizer: str) -> Posterior:
    """What the others' runs say before the newcomer's first."""
    return fit_core(others(optimizer), 0)


@functools.lru_cache(1)
def nothing() -> Posterior:
    """The literature's priors."""
    return prior_posterior(EXTRAS)


def after(optimizer: str, way: str, own: pd.DataFrame) -> Posterior:
    """What is believed of the newcomer after its own runs."""
    if way == "pooled":
        return fit_core(pd.concat([others(optimizer), own], ignore_index=True), 0)
    return fit_core(own, 0) if len(finished_runs(own)) else nothing()


def wanted(
    posterior: Posterior, targets: list[Target], pool: pd.DataFrame, left: list[int], count: int
) -> list[int]:
    """The runs that our policy buys next, all at one price."""
    offered = pool.iloc[left].reset_index(drop=True)
    price = np.ones(len(left))
    batch = choose(joint_draws(posterior, targets, offered), price, places(offered), count, count)
    return [left[row] for row in batch.rows]


def advice(posterior: Posterior, target: Target, own: pd.DataFrame) -> Settings:
    """Decay and momentum are those of the runs bought where the posterior knows nothing of them."""
    known = {name: float(own[name].median()) for name in EXTRAS if len(own)}
    return known | decide(surface_at(posterior, target))


def best_run(finished: pd.DataFrame) -> Settings:
    row = finished.loc[finished["loss"].idxmin()]
    return {name: float(row[name]) for name in ("learning_rate", "batch_tokens", *EXTRAS)}


def announced(posterior: Posterior, target: Target) -> float:
    at = surface_at(posterior, target)
    return float(outcome_of(at, decide(at)).regret.mean())


@functools.cache
def judge(target: Target) -> TargetSurface:
    return surface_at(read_posterior(POSTERIOR), target)


def judged(target: Target, settings: Settings) -> float:
    """Expected regret under the judge, over that of the judge's own advice."""
    at = judge(target)
    own, given = (outcome_of(at, s).regret.mean() for s in (decide(at), settings))
    return float(given - own)


def table(rows: list[dict[str, Any]]) -> str:
    """Regret by runs bought, and from how many on it stays small, of the optimizers done in every way."""
    ways = collections.Counter(row["optimizer"] for row in rows)
    rows = [row for row in rows if ways[row["optimizer"]] == len(WAYS)]
    if not rows:
        return "No optimizer is done in every way yet: run newcomer.py run."
    body = []
    for way in WAYS:
        mine = [row["steps"] for row in rows if (row["fit"], row["policy"]) == way]
        body.append([", ".join(way), *_line(mine, "regret")])
        if way == ("alone", "random"):
            body.append(["best run bought at random, as it is", *_line(mine, "best_run")])
    head = ["fit, policy", *map(_runs, COUNTS["alone"])]
    title = f"Regret at 520M: mean over {len(mine)} optimizers (worst), and how many are within {ENOUGH:.0%}"
    fits = [step["converged"] for row in rows for step in row["steps"] if _fitted(row, step)]
    first = {
        way: np.mean([row["steps"][0]["announced"] for row in rows if row["fit"] == way]) for way in COUNTS
    }
    pooled, alone = (percent(float(first[way]), 2) for way in ("pooled", "alone"))
    note = (
        f"Before the first run the expected regret, as announced, is {pooled} pooled and {alone} alone. "
        f"{sum(fits)} of {len(fits)} fits converged."
    )
    return markdown(title, [*head, "within it from then on"], body) + "\n\n" + note


def _fitted(row: dict[str, Any], step: dict[str, Any]) -> bool:
    """Whether a step made a fit: alone not before a run finished; pooled, both policies share the first."""
    if row["fit"] == "alone":
        return step["best_run"] is not None
    return bool(step["runs"]) or row["policy"] == "regret"


def _line(optimizers: list[list[dict[str, Any]]], name: str) -> list[str]:
    """One cell a count, then the median count from which on it is within ``ENOUGH``."""
    by_count = [{step["runs"]: step[name] for step in steps} for steps in optimizers]
    cells = [_cell([known.get(count) for known in by_count]) for count in COUNTS["alone"]]
    since = sorted(_since(steps, name) for steps in optimizers)
    middle = since[len(since) // 2]
    never = sum(math.isinf(count) for count in since)
    shown = "never" if math.isinf(middle) else _runs(int(middle))
    return [*cells, f"{shown} (median; {never} never)" if never else f"{shown} (median)"]


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _cell(regrets: list[float | None]) -> str:
    known = [regret for regret in regrets if regret is not None]
    if not known:
        return "-"
    good = sum(regret <= ENOUGH for regret in known)
    return f"{percent(float(np.mean(known)), 2)} ({percent(max(known), 2)}), {good} of {len(known)}"


def _since(steps: list[dict[str, Any]], name: str) -> float:
    bad = [k for k, step in enumerate(steps) if step[name] is None or step[name] > ENOUGH]
    first = bad[-1] + 1 if bad else 0
    return steps[first]["runs"] if first < len(steps) else math.inf


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--only", help="one optimizer")
    given = parser.parse_args()
    if given.what == "run":
        run(given.only)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
