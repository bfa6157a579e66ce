"""The table of trials: one line for each task, method and seed, appended as it is known; resumable."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.processes import die_with_parent
from bayeslaw.rehearsal.many import append
from tests.studies.validation.advice import SWEPT, Seen, Settings, as_runs
from tests.studies.validation.methods import METHODS, Method, asked
from tests.studies.validation.scores import best_of
from tests.studies.validation.searches import History, run_search
from tests.studies.validation.sources import digest, sources
from tests.studies.validation.worlds import Family, World, answer

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


def key(row: Row) -> tuple[str, str, str, str, int]:
    """Table's digest, family, task, method and seed: what is in the table of trials once."""
    return row.get("table", ""), row["family"], row["task"], row["method"], row["seed"]


def of_tables(rows: Sequence[Row], paths: Sequence[Path]) -> list[Row]:
    """Rows of these files as they are; all rows where a file is not there to compare with."""
    if not all(path.is_file() for path in paths):
        return list(rows)
    digests = {digest(path) for path in paths}
    return [row for row in rows if row.get("table") in digests]


def units(found: Sequence[Family], names: Sequence[str], seeds: int) -> list[Unit]:
    """Seed by seed, so that an interrupted study has all methods with its first seeds."""
    return [
        Unit(family.name, name, seed)
        for seed in range(seeds)
        for family in found
        for name in names
        if seed < METHODS[name].seeds
    ]


def run(paths: Sequence[Path], results: Path, names: Sequence[str], seeds: int, workers: int) -> None:
    """Append what the table lacks. Methods whose package is missing are left out, and said so."""
    began = time.perf_counter()
    for name in names:
        if METHODS[name].missing:
            print(f"left out, {METHODS[name].needs} is not installed: {name}")
    names = [name for name in names if not METHODS[name].missing]
    for note in (note for each in sources(paths) for note in each.notes):
        print(note)
    found = [family for each in sources(paths) for family in each.families]
    done = {key(row) for row in read(results)}
    for row in (published_row(family, world) for family in found for world in family.targets):
        if row and key(row) not in done:
            append(results, row)
    waiting = _waiting(found, names, seeds, done)
    tasks = sum(len(family.targets) for family in found)
    print(
        f"families: {len(found)}; tasks: {tasks}; to run, each a method with a seed: {len(waiting)}",
        flush=True,
    )
    _work(paths, results, waiting, done, workers)
    print(f"{results}: complete after {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)


def _waiting(found: Sequence[Family], names: Sequence[str], seeds: int, done: set[Any]) -> list[Unit]:
    """Units of which the table lacks a row."""
    tasks = {
        family.name: [(family.table, family.name, world.name) for world in family.targets] for family in found
    }
    return [
        unit
        for unit in units(found, names, seeds)
        if any((*task, unit.method, unit.seed) not in done for task in tasks[unit.family])
    ]


def _work(
    paths: Sequence[Path], results: Path, waiting: Sequence[Unit], done: set[Any], workers: int
) -> None:
    """All groups, by processes that each take the next when they are free."""
    usual = usual_seconds()
    total = sum(usual.get(unit.method, 1.0) for unit in waiting)
    context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
    progress = Progress(context.Value("d", 0.0), total, time.time())
    if workers == 1:
        for group in groups(waiting, usual):
            _alone(paths, results, group, done, progress)
        return
    begin = functools.partial(_begin, progress)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin) as executor:
        jobs = [executor.submit(_alone, tuple(paths), results, g, done) for g in groups(waiting, usual)]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def usual_seconds() -> dict[str, float]:
    """Median seconds of a unit of each method in the committed table."""
    rows = [row for row in read(RESULTS) if "seconds" in row]
    units: dict[tuple[str, str, int], float] = defaultdict(float)
    for row in rows:
        units[row["method"], row["family"], row["seed"]] += row["seconds"]
    by_method: dict[str, list[float]] = defaultdict(list)
    for (method, _, _), seconds in units.items():
        by_method[method].append(seconds)
    return {method: float(np.median(seconds)) for method, seconds in by_method.items()}


def groups(waiting: Sequence[Unit], usual: dict[str, float]) -> list[list[Unit]]:
    """Units that one process does one after the other, the first seeds and then the dearest groups first.

    Those of one family and seed share fits; but for designs, whose runs are their own.
    """
    found: dict[tuple[int, str, bool], list[Unit]] = defaultdict(list)
    for unit in waiting:
        found[unit.seed, unit.family, METHODS[unit.method].place == "design"].append(unit)
    cost = {at: sum(usual.get(unit.method, 1.0) for unit in group) for at, group in found.items()}
    return [found[at] for at in sorted(found, key=lambda at: (at[0], -cost[at]))]


class Progress(NamedTuple):
    """What all processes share: the expected seconds of units done, and of all; when the work began."""

    done: Any
    total: float
    began: float

    def step(self, seconds: float) -> str:
        """Count a unit that was expected to take so long, and say how far the work is."""
        with self.done.get_lock():
            self.done.value += seconds
            share = min(self.done.value / self.total, 1.0)
        spent = (time.time() - self.began) / 60
        return f"[{share:.0%}, {spent:.1f} min, about {spent * (1 / share - 1):.1f} min left]"


_shared: list[Progress] = []
"""In a worker: the progress of all."""


def _begin(progress: Progress) -> None:
    die_with_parent()
    _shared[:] = [progress]


def _alone(
    paths: Sequence[Path],
    results: Path,
    group: Sequence[Unit],
    done: set[Any],
    progress: Progress | None = None,
) -> None:
    usual, progress = usual_seconds(), progress or _shared[0]
    found = {family.name: family for each in sources(paths) for family in each.families}
    for unit in group:
        said = _append(results, found[unit.family], unit, done)
        print(f"{progress.step(usual.get(unit.method, 1.0))} {said}\n", end="", flush=True)


def _append(results: Path, family: Family, unit: Unit, done: set[Any]) -> str:
    """Make the rows of a unit, append those that are not there, and say what they are."""
    began = time.perf_counter()
    rows = list(made(family, METHODS[unit.method], unit.seed))
    seconds = time.perf_counter() - began
    for row in rows:
        if key(row) not in done:
            append(results, row | {"seconds": round(seconds / len(rows), 2)})
    gaps = [row["gap"] for row in rows if row["gap"] is not None]
    mean = f"mean gap {np.mean(gaps):.3%}" if gaps else "no advice"
    broken = next((f", {row['error']}" for row in rows if row["error"]), "")
    return f"{unit.family} | {unit.method} | seed {unit.seed}: {mean}, {seconds:.1f} s{broken}"


# ----------------------------------------------------------------------------------------------- one unit


def made(family: Family, method: Method, seed: int) -> Iterator[Row]:
    """Search, advise and score: a row for each target of the family.

    Where a method breaks on a table, its row says how, without advice: the others go on.
    """
    shared: History | None = None
    for target in family.targets:
        advised, error = None, ""
        shared = None if method.place == "target" else shared
        runs = pd.DataFrame(columns=list(SWEPT))
        try:
            if shared is None:
                search = asked(method, family, target, seed)
                shared = run_search(search, lambda s, k: answer(s, seed, k)) if search else []
            runs = _published(family) if method.place == "sweep" else as_runs(shared)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                advised = method.advise(Seen(family, runs), target, seed)
        except Exception as broken:
            error = " ".join(f"{type(broken).__name__}: {broken}".split())[:300]
        yield row_of(family, method, seed, target, shared or [], advised, runs) | {"error": error}


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
        "table": family.table,
        "known_study": family.known_study,
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
        "table": family.table,
        "known_study": family.known_study,
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
