"""The table of trials: one line for each task, method and seed, appended as it is known; resumable."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.processes import die_with_parent
from bayeslaw.rehearsal.many import append
from tests.studies.validation.advice import Seen, Settings, as_runs
from tests.studies.validation.methods import METHODS, Method, asked
from tests.studies.validation.scores import best_of
from tests.studies.validation.searches import History, run_search
from tests.studies.validation.worlds import Family, World, answer, families

Row = dict[str, Any]
RESULTS = Path(__file__).parents[1] / "results" / "validation.jsonl"
PUBLISHED = "random search, published runs"
"""Name of the rows that no method made: what the published fine-tuning runs say exactly."""


class Unit(NamedTuple):
    """What one process does at a time: a method with one seed, on all targets of one family."""

    family: str
    method: str
    seed: int


def read(path: Path) -> list[Row]:
    """Rows so far; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def key(row: Row) -> tuple[str, str, str, int]:
    """Family, task, method and seed: what is in the table once."""
    return row["family"], row["task"], row["method"], row["seed"]


def units(found: Sequence[Family], names: Sequence[str], seeds: int) -> list[Unit]:
    """Seed by seed, so that an interrupted study has all methods with its first seeds; Protein last.

    Protein takes minutes a search.
    """
    every = [
        Unit(family.name, name, seed)
        for seed in range(seeds)
        for family in found
        for name in names
        if seed < METHODS[name].seeds
    ]
    return sorted(every, key=lambda unit: METHODS[unit.method].needs == "pufferlib")


def run(paths: Sequence[Path], results: Path, names: Sequence[str], seeds: int, workers: int) -> None:
    """Append what the table lacks. Methods whose package is missing are left out, and said so."""
    for name in names:
        if METHODS[name].missing:
            print(f"left out, {METHODS[name].needs} is not installed: {name}")
    names = [name for name in names if not METHODS[name].missing]
    found = [family for path in paths for family in families(path)]
    done = {key(row) for row in read(results)}
    for row in (published_row(family, world) for family in found for world in family.targets):
        if row and key(row) not in done:
            append(results, row)
    waiting = _waiting(found, names, seeds, done)
    print(f"{len(waiting)} units to run")
    if workers == 1:
        _alone(paths, results, waiting, done)
        return
    context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent) as executor:
        shares = _shares(waiting, workers)
        for job in [executor.submit(_alone, tuple(paths), results, part, done) for part in shares]:
            job.result()


def _waiting(found: Sequence[Family], names: Sequence[str], seeds: int, done: set[Any]) -> list[Unit]:
    """Units of which the table lacks a row."""
    tasks = {family.name: [world.name for world in family.targets] for family in found}
    return [
        unit
        for unit in units(found, names, seeds)
        if any((unit.family, task, unit.method, unit.seed) not in done for task in tasks[unit.family])
    ]


def _shares(waiting: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Units of one family and seed together, since they share fits."""
    keys = sorted({(u.seed, u.family) for u in waiting})
    return [[u for u in waiting if keys.index((u.seed, u.family)) % workers == k] for k in range(workers)]


def _alone(paths: Sequence[Path], results: Path, part: Sequence[Unit], done: set[Any]) -> None:
    found = {family.name: family for path in paths for family in families(path)}
    for unit in part:
        _append(results, found[unit.family], unit, done)


def _append(results: Path, family: Family, unit: Unit, done: set[Any]) -> None:
    began = time.perf_counter()
    rows = list(made(family, METHODS[unit.method], unit.seed))
    seconds = time.perf_counter() - began
    for row in rows:
        if key(row) not in done:
            append(results, row | {"seconds": round(seconds / len(rows), 2)})
    gaps = [row["gap"] for row in rows if row["gap"] is not None]
    mean = f"mean gap {np.mean(gaps):.3%}" if gaps else "no advice"
    print(f"{unit.family} | {unit.method} | seed {unit.seed}: {mean}, {seconds:.1f} s", flush=True)


# ----------------------------------------------------------------------------------------------- one unit


def made(family: Family, method: Method, seed: int) -> Iterator[Row]:
    """Search, advise and score: a row for each target of the family."""
    shared: History | None = None
    for target in family.targets:
        if method.place == "target" or shared is None:
            search = asked(method, family, target, seed)
            shared = run_search(search, lambda s, k: answer(s, seed, k)) if search else []
        runs = _published(family) if method.place == "sweep" else as_runs(shared)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            advised = method.advise(Seen(family, runs), target, seed)
        yield row_of(family, method, seed, target, shared, advised, runs)


def _published(family: Family) -> pd.DataFrame:
    """The pool's published runs, without columns that only fine-tuning has."""
    runs = family.runs
    return runs[runs["status"].isin(["finished", "diverged"])].drop(columns="error", errors="ignore")


def row_of(
    family: Family,
    method: Method,
    seed: int,
    target: World,
    history: History,
    advised: Settings | None,
    runs: pd.DataFrame,
) -> Row:
    """One line of the table.

    ``gap`` is (L - L_opt) / L_opt on the smoothed surface. An advised run that fails is made again: at
    a chance of failure p it costs 1 / (1 - p) target runs; from p = 1/2 on the advice counts as failed, with
    the loss of failure. ``search_flops`` is what the runs cost, ``total_flops`` with the target's own, which
    a search at the target has made; ``curve`` after each run at the target: FLOPs so far, steps so far, gap
    of the best run so far.
    """
    at_target = method.place == "target"
    spent = sum(outcome.cost for _, outcome in history)
    steps = sum(outcome.steps for _, outcome in history)
    if method.place == "sweep":
        flops = 6 * runs["params_nonembedding"] * runs["tokens"]
        spent, steps = float(flops.sum()), float((runs["tokens"] / runs["batch_tokens"]).sum())
    loss = gap = rate = batch = inside = None
    chance = 0.0
    if advised is not None:
        rate, batch = advised
        batch = float(np.clip(batch, 1.0, target.target.tokens))
        surface, inside = target.surface(rate, batch)
        chance = 0.0 if at_target else target.chance_failed(rate, batch)
        loss = surface if chance < 0.5 else target.failed
        gap = loss / target.best - 1
    own = 0.0 if at_target else 1 / (1 - chance) if chance < 0.5 else 1.0
    own_steps = own * target.target.tokens / batch if batch else 0.0
    total = spent + own * target.cost
    return {
        "family": family.name,
        "kind": family.kind,
        "task": target.name,
        "method": method.name,
        "place": method.place,
        "seed": seed,
        "learning_rate": rate,
        "batch_tokens": batch,
        "inside": inside,
        "loss": loss,
        "loss_optimum": target.best,
        "gap": gap,
        "chance_failed": chance,
        "noise": target.noise,
        "runs": len(runs),
        "failed_runs": int((runs["status"] == "diverged").sum()) if len(runs) else 0,
        "target_flops": target.cost,
        "search_flops": spent,
        "total_flops": total,
        "total_steps": steps + own_steps,
        "curve": curve(history, target) if at_target else None,
    }


def published_row(family: Family, world: World, trials: int = 20) -> Row | None:
    """The lowest of ``trials`` published losses of a fine-tuning task, drawn without replacement: exact.

    ``loss`` is its mean, ``quantiles`` those at 5, 50 and 95%. Observed losses, not the surface's: the best
    of many is lucky, so its gap may be below 0. None for pre-training, whose runs are a grid.
    """
    if family.kind != "fine-tuning":  # the family of two horizons has the same runs
        return None
    mine = family.every[family.every["tokens"] == world.target.tokens]
    values, chance = best_of(mine["error"].tolist(), min(trials, len(mine)))
    total = np.cumsum(chance)
    return {
        "family": family.name,
        "kind": family.kind,
        "task": world.name,
        "method": PUBLISHED,
        "seed": 0,
        "loss": float(values @ chance),
        "quantiles": [float(values[np.searchsorted(total, q)]) for q in (0.05, 0.5, 0.95)],
        "loss_optimum": world.best,
        "runs": len(mine),
        "failed_runs": int((mine["status"] == "diverged").sum()),
    }


def curve(history: History, target: World) -> list[tuple[float, float, float | None]]:
    """FLOPs, steps and the gap of the best run so far, by its noisy loss; None while all have failed."""
    points, flops, steps, best, gap = [], 0.0, 0.0, math.inf, None
    for setting, outcome in history:
        flops, steps = flops + outcome.cost, steps + outcome.steps
        if not outcome.failed and outcome.loss < best:
            best = outcome.loss
            gap = target.surface(setting.learning_rate, setting.batch_tokens)[0] / target.best - 1
        points.append((flops, steps, gap))
    return points
