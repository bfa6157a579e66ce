"""A finished sweep, divided for a replay: runs that can be selected, and runs at the targets that judge."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.advice.target_surface import SAME_SIZE
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.planning.batches import BATCH
from bayeslaw.planning.candidates import with_cost
from bayeslaw.runs.cells import finished_runs, group_cells
from bayeslaw.target import Target
from bayeslaw.text import parse_size

if TYPE_CHECKING:
    import pandas as pd

REFITS = 2
"""Default number of refits per budget step."""


@dataclass(frozen=True)
class Study:
    """Study to replay; equal for all policies and seeds.

    Attributes:
        pool: runs that can be selected, with results.
        cost: cost of each run, (run,), above 0.
        judges: finished runs at the targets.
        targets: cells of the judges.
        budgets: rising; each is the total since the start, in the unit of ``cost``.
        batch: number of runs chosen together; later batches of a round count the earlier ones as pending.
        refits: number of refits between two budgets, for policies that use the model.
        start: number of runs drawn at random before the first choice; 0 starts without runs.
        unit: unit of ``cost``.
    """

    pool: pd.DataFrame
    cost: Floats
    judges: pd.DataFrame
    targets: tuple[Target, ...]
    budgets: tuple[float, ...]
    batch: int = BATCH
    refits: int = REFITS
    start: int = 0
    unit: str = "FLOP"

    @property
    def digest(self) -> str:
        """Digest of everything that must be equal for results to be comparable."""
        runs = [*self.pool["run_id"], "at the targets", *self.judges["run_id"]]
        asked = [repr(t) for t in self.targets]
        numbers = [self.cost.tolist(), list(self.budgets), self.batch, self.refits, self.start]
        return hashlib.sha256(json.dumps([runs, asked, numbers]).encode()).hexdigest()[:12]


def study_of(
    runs: pd.DataFrame,
    targets: Sequence[Target],
    budgets: Sequence[float | str],
    batch: int = BATCH,
    refits: int = REFITS,
    start: int = 0,
    below: float | None = None,
    place: str = "pool",
) -> Study:
    """Divide a finished sweep: the runs of the targets' cells judge, the others are the pool.

    Args:
        runs: a valid run table.
        targets: targets whose N, D and optimizer are those of finished runs; a study of None matches all.
        budgets: budgets in the unit of the pool's cost (``candidates.with_cost``: a column of it, else
            6 N D), or shares of the pool's whole cost such as ``10%``.
        batch: as in ``Study``.
        refits: as in ``Study``.
        start: as in ``Study``.
        below: bound on the parameters of the pool's runs. By default the smallest target's N, or no bound if
            no run is below it.
        place: name of the table in messages.

    Raises:
        BadInput: a target without finished runs, a pool without any, a budget below its cheapest run, equal
            budgets, or a count out of its range.
    """
    _check_counts(batch, refits, start)
    judging = np.zeros(len(runs), bool)
    found: list[Target] = []
    for target in targets:
        here = _at(runs, target)
        cells = [key for key, rows in group_cells(runs[here]) if len(finished_runs(rows))]
        if not cells:
            raise BadInput(
                f"{place}: no finished run at the target {_named(target)}; expected runs there, for they "
                f"judge the advice; name one of the table's cells, such as {_largest(runs)}"
            )
        judging |= here
        found += [Target(key.params_nonembedding, key.tokens, key.optimizer, key.study) for key in cells]
    sizes = runs["params_nonembedding"].to_numpy(float)
    smallest = min(t.params_nonembedding for t in found)
    limit = below if below is not None else smallest
    buyable = ~judging & (sizes < limit)
    if below is None and not buyable.any():
        buyable = ~judging
    pool = runs[buyable].reset_index(drop=True)
    if not len(finished_runs(pool)):
        raise BadInput(
            f"{place}: {len(pool)} runs besides the targets', none of them finished; expected a pool of "
            "finished runs to buy from; add runs, or name fewer targets"
        )
    pool = pool[pool["status"] != "stopped"].reset_index(drop=True)
    priced, unit = with_cost(pool, place)
    cost = priced["cost"].to_numpy(float)
    judges = finished_runs(runs[judging]).reset_index(drop=True)
    return Study(pool, cost, judges, tuple(found), _budgets(budgets, cost), batch, refits, start, unit)


def _check_counts(batch: int, refits: int, start: int) -> None:
    for name, count, least in (("batch", batch, 1), ("refits", refits, 1), ("start", start, 0)):
        if count < least:
            raise BadInput(f"{name} = {count}; expected at least {least}; raise it")


def _budgets(budgets: Sequence[float | str], cost: Floats) -> tuple[float, ...]:
    given = tuple(sorted(_amount(b, float(cost.sum())) for b in budgets))
    rising = all(b > a for a, b in itertools.pairwise(given))
    if not given or not rising or not all(math.isfinite(b) for b in given):
        shown = ", ".join(b if isinstance(b, str) else f"{b:g}" for b in budgets) or "none"
        raise BadInput(
            f"budgets = {shown}; expected one or more that differ; "
            "give them as 1e18 and 1e19, or as 1% and 10%"
        )
    if given[0] < cost.min():
        raise BadInput(
            f"budget = {given[0]:g}; the cheapest of {len(cost)} runs in the pool costs {cost.min():.3g}; "
            "expected a budget that pays for one; raise it"
        )
    return given


def _amount(budget: float | str, whole: float) -> float:
    """Parse a number, or a share of the whole such as ``10%``; NaN for anything else.

    >>> _amount("10%", 200.0), _amount("3e2", 200.0), _amount("2k", 200.0)
    (20.0, 300.0, 2000.0)
    """
    text = str(budget)
    return parse_size(text[:-1]) / 100 * whole if text.endswith("%") else parse_size(text)


def _at(runs: pd.DataFrame, target: Target) -> Any:
    """Mask of the target's cell, in its study or in all, (run,)."""
    near = np.ones(len(runs), bool)
    for name in ("params_nonembedding", "tokens"):
        near &= np.abs(np.log(runs[name].to_numpy(float) / getattr(target, name))) < SAME_SIZE
    near &= (runs["optimizer"] == target.optimizer).to_numpy()
    return near & (runs["study"] == target.study).to_numpy() if target.study else near


def _named(target: Target) -> str:
    return f"{target.params_nonembedding:g},{target.tokens:g},{target.optimizer}"


def _largest(runs: pd.DataFrame) -> str:
    row = runs.loc[(runs["params_nonembedding"].astype(float) * runs["tokens"].astype(float)).idxmax()]
    return f"{row['params_nonembedding']:.8g},{row['tokens']:.8g},{row['optimizer']}"
