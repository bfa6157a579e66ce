"""Many replays: policies and seeds in parallel, one line per result, resumable; and their curves."""

from __future__ import annotations

import fcntl
import json
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bayeslaw.errors import BadInput, check_count
from bayeslaw.files import alone, check_writable, plain_json
from bayeslaw.intervals import interval
from bayeslaw.planning.policies import policy_named
from bayeslaw.posterior.prior import Fit
from bayeslaw.processes import die_with_parent
from bayeslaw.rehearsal.one import exact, replayed
from bayeslaw.rehearsal.task import Study

METRICS = ("regret", "r2", "coverage", "width", "announced")
"""Metrics of ``curves``, besides the calibration of the announced regret."""

BAND = 0.8
"""Quantiles over seeds that bound a band."""

MOST = 10_000
"""Seeds, or processes."""

PLAIN = 1e-6
"""Floor of regrets in an area over their logarithm."""

Rows = list[dict[str, Any]]


def run(
    study: Study,
    policies: Sequence[str],
    seeds: Sequence[int],
    path: Path,
    fit: Fit = exact,
    workers: int = 1,
    tell: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Rows:
    """Replay every policy with every seed, except for results already in the file.

    The row of each budget is appended when it ends, so that a killed replay loses at most its current budget.

    Args:
        study: study to replay.
        policies: names in ``policies.POLICIES``.
        seeds: one replay each.
        path: file of JSON lines; created if missing.
        fit: function that fits; at the top level of a module if ``workers`` is above 1.
        workers: number of processes; 1 uses this process.
        tell: receives each new row.

    Returns:
        The requested rows of this study in the file, by policy, seed and budget.

    Raises:
        BadInput: an unknown policy, no seed or too many, a file that cannot be written, holds another study,
            or has another replay at work on it.
    """
    for policy in policies:
        policy_named(policy)
    for name, count in {"policies": len(policies), "seeds": len(seeds), "workers": workers}.items():
        check_count(f"replay: {name}", count, 1, MOST)
    check_writable(path)
    with alone(path.with_name(f".{path.name}.lock"), "replay", str(path)):
        return _filled(study, policies, seeds, path, fit, workers, tell)


def _filled(
    study: Study,
    policies: Sequence[str],
    seeds: Sequence[int],
    path: Path,
    fit: Fit,
    workers: int,
    tell: Callable[[dict[str, Any]], None],
) -> Rows:
    done = read(path, study.digest)
    tasks = [(p, s, _of(done, p, s)) for s in seeds for p in policies]
    open_ = [task for task in tasks if len(task[2]) < len(study.budgets)]
    if workers == 1:
        for policy, seed, earlier in open_:
            for row in replayed(study, policy, seed, fit, earlier):
                append(path, row | {"study": study.digest})
                tell(row)
    elif open_:
        _in_processes(study, open_, path, fit, workers, tell)
    rows = read(path, study.digest)
    return [row for policy in policies for seed in seeds for row in _of(rows, policy, seed)]


def read(path: Path, digest: str | None = None) -> Rows:
    """Read a file of replays, each (policy, seed, budget) once; no rows without a file.

    A last line that a killed replay cut short is left out.

    Raises:
        BadInput: another line that is not a JSON object, or a row of another study than ``digest``.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    rows: dict[tuple[str, int, float], dict[str, Any]] = {}
    for number, line in enumerate(lines[:-1], start=1):  # text after the last newline was cut short
        try:
            row = json.loads(line)
            key = (row["policy"], row["seed"], row["budget"])
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                f"{path}: line {number} is no row of a replay; expected lines that `bayeslaw replay` wrote; "
                "delete the line, or name another file"
            ) from None
        if digest is not None and row.get("study") != digest:
            raise BadInput(
                f"{path}: line {number} is of another replay (study {row.get('study')}, asked {digest}); "
                "expected the same pool, targets, budgets, batch, refits and start; name another file"
            )
        rows.setdefault(key, row)
    return list(rows.values())


def append(path: Path, row: dict[str, Any]) -> None:
    """Append one line under a lock, after removing the incomplete line of an earlier process.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write((json.dumps(plain_json(row)) + "\n").encode())
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from None


# ---------------------------------------------------------------------------------------------- curves


def curves(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Aggregate metrics over seeds, by policy and budget.

    Returns:
        policy -> one entry per budget: ``budget``, ``seeds``, ``runs`` (mean), each of ``METRICS`` as
        {median, lower, upper} (``BAND``; None if no seed has it), and for the announced regret
        ``announced_ratio``, realised over announced in the mean over seeds, and ``within``, the share of
        cells whose regret stays below the announced 90% bound.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for policy in dict.fromkeys(row["policy"] for row in rows):
        mine = [row for row in rows if row["policy"] == policy]
        for budget in sorted({row["budget"] for row in mine}):
            here = [row for row in mine if row["budget"] == budget]
            entry: dict[str, Any] = {
                "budget": budget,
                "seeds": len(here),
                "runs": float(np.mean([row["runs"] for row in here])),
            }
            entry |= {name: _band([row[name] for row in here]) for name in METRICS}
            pairs = [(row["regret"], row["announced"]) for row in here if row["announced"]]
            realised, announced = np.array(pairs, float).reshape(-1, 2).sum(axis=0)
            entry["announced_ratio"] = float(realised / announced) if announced else None
            within = [row["within"] for row in here if row["within"] is not None]
            entry["within"] = float(np.mean(within)) if within else None
            found.setdefault(policy, []).append(entry)
    return found


def area(rows: Rows, name: str, log: bool = False) -> float | None:
    """Mean of a metric over the logarithm of the budget, from the first to the last (trapezoids).

    Args:
        rows: rows of one replay: one policy, one seed.
        name: name of the metric.
        log: whether the metric's logarithm is averaged; the result is then a geometric mean.

    Returns:
        Mean in the unit of the metric; None if a budget lacks it.
    """
    points = sorted((row["budget"], row[name]) for row in rows if row[name] is not None)
    if len(points) < len(rows) or not points:
        return None
    x, y = np.log([p[0] for p in points]), np.array([p[1] for p in points], float)
    y = np.log(np.maximum(y, PLAIN)) if log else y
    mean = float(np.trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])
    return math.exp(mean) if log else mean


def areas(rows: Rows, name: str) -> dict[str, dict[str, float] | None]:
    """``area`` of a metric by policy: median over seeds and ``BAND``; for regrets, the geometric mean."""
    found = {}
    for policy in dict.fromkeys(row["policy"] for row in rows):
        seeds = dict.fromkeys(row["seed"] for row in rows if row["policy"] == policy)
        found[policy] = _band([area(_of(rows, policy, seed), name, name == "regret") for seed in seeds])
    return found


def cost_to(rows: Rows, regret: float, share: float = 0.9) -> float | None:
    """Smallest budget from which a share of the seeds stays at or below a regret; None if never.

    Args:
        rows: rows of one policy, all seeds.
        regret: a fraction of the loss.
        share: share of the seeds.
    """
    reached = None
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        here = [row["regret"] for row in rows if row["budget"] == budget and row["regret"] is not None]
        if not here or np.mean(np.array(here) <= regret) < share - 1e-9:
            break
        reached = budget
    return reached


# -------------------------------------------------------------------------------------------- processes


def _in_processes(
    study: Study,
    tasks: Sequence[tuple[str, int, Rows]],
    path: Path,
    fit: Fit,
    workers: int,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Run replays in their own processes; their rows are reported as they reach the file."""
    seen = {_key(row) for row in read(path)}
    context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
    size, others = min(workers, len(tasks)), multiprocessing.active_children()
    with ProcessPoolExecutor(size, mp_context=context, initializer=die_with_parent) as executor:
        waiting: set[Future[None]] = {
            executor.submit(_one, study, policy, seed, fit, earlier, path) for policy, seed, earlier in tasks
        }
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for row in read(path):
                    if _key(row) not in seen:
                        seen.add(_key(row))
                        tell(row)
                for each in ended:
                    each.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()  # otherwise leaving waits until its replay ends
            raise


@threadpool_limits.wrap(limits=1, user_api="blas")  # the processes already share the cores
def _one(study: Study, policy: str, seed: int, fit: Fit, earlier: Rows, path: Path) -> None:
    for row in replayed(study, policy, seed, fit, earlier):
        append(path, row | {"study": study.digest})


def _of(rows: Rows, policy: str, seed: int) -> Rows:
    mine = [row for row in rows if row["policy"] == policy and row["seed"] == seed]
    return sorted(mine, key=lambda row: row["budget"])


def _key(row: dict[str, Any]) -> tuple[str, int, float]:
    return row["policy"], row["seed"], row["budget"]


def _band(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return interval(known, BAND).to_json()
