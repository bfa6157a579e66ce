"""Choose the next batch of runs for a target, with its expected value and the decision to stop.

posterior + targets + candidates --joint_draws--> Joint --choose--> Batch --design--> Design --> plan.csv
                                                                              |
                                                                          stop_rule
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayeslaw.advice.prediction import extrapolation
from bayeslaw.advice.target_surface import fitted_cell
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.terms import own_bowls
from bayeslaw.planning.candidates import SETTINGS, places
from bayeslaw.planning.conditioning import Joint, chosen, joint_draws
from bayeslaw.planning.policies import (
    WORTHWHILE,
    View,
    expected_regret,
    policy_named,
    reduction,
    regret_and_reduction,
)
from bayeslaw.planning.result import Design, ExpectedRegret, Request
from bayeslaw.planning.stopping import percent, seed_noise, verdict
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.schema import BY_NAME
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

BATCH = 8
"""Default number of runs in a batch."""

POLICY = "regret"
"""Default policy; the others serve for comparison."""

RISKY = 0.3
"""Chance of divergence of a proposed run above which a warning is given."""


@dataclass(frozen=True)
class Batch:
    """Runs in the order chosen.

    Attributes:
        rows: positions in the table of candidates.
        reductions: reduction of the expected regret by each run given those above [fraction of the loss],
            (run,).
        first: reduction of the expected regret by each candidate alone, (candidate,).
        before: expected regret before the batch, by decision [fraction of the loss].
        joint: remaining uncertainty after the batch.
    """

    rows: tuple[int, ...]
    reductions: Floats
    first: Floats
    before: dict[str, float]
    joint: Joint

    @property
    def after(self) -> float:
        """Expected regret once the batch has run and the advice is revised."""
        return sum(self.before.values()) - float(self.reductions.sum())


@threadpool_limits.wrap(
    limits=1, user_api="blas"
)  # products too small to share: threads would wait on each other
def choose(
    joint: Joint,
    cost: Floats,
    place: Floats,
    budget: float,
    batch: int = BATCH,
    policy: str = POLICY,
    seed: int = 0,
) -> Batch:
    """Choose a batch in greedy steps: the best score, then the best score given that run.

    Greedy steps lose little where runs are redundant (Krause, Singh & Guestrin 2008, JMLR 9). But runs also
    complement each other, such as those on two sides of a bowl, so the default policy then exchanges runs.

    Args:
        joint: outcomes and regrets (``conditioning.joint_draws``).
        cost: of each candidate, (candidate,), above 0.
        place: ``candidates.places``, for policies that fill space.
        budget: budget of the whole batch, in the unit of ``cost``.
        batch: maximum number of runs; fewer if the budget ends.
        policy: a name in ``policies.POLICIES``.
        seed: seed of policies that draw.

    Raises:
        BadInput: an unknown policy, a batch below 1, or a budget below the cheapest candidate.
    """
    policy_named(policy)
    if batch < 1:
        raise BadInput(f"batch = {batch}; expected at least one run; raise it")
    if not budget >= cost.min():
        raise BadInput(
            f"budget = {budget:g}; the cheapest of {len(cost)} candidates costs {cost.min():.3g}; "
            "expected a budget that pays for one; raise it, or offer smaller runs"
        )
    first, before = reduction(joint), expected_regret(joint)
    rows = greedy(joint, cost, place, budget, batch, policy, seed)
    if policy == POLICY:
        rows = _exchanged(joint, cost, budget, rows, sum(before.values()))
    regrets = [sum(before.values())]
    for row in rows:
        joint = chosen(joint, row)
        regrets.append(sum(expected_regret(joint).values()))
    return Batch(tuple(rows), -np.diff(regrets), first, before, joint)


def greedy(
    joint: Joint | None,
    cost: Floats,
    place: Floats,
    budget: float,
    batch: int,
    policy: str = POLICY,
    seed: int = 0,
) -> list[int]:
    """Positions of the runs of a batch: the best score, then the best score given that run, and so on.

    Arguments as of ``choose``; ``joint`` may be None for a policy without a model.
    """
    rows: list[int] = []
    score = policy_named(policy).score
    left, waiting = budget, np.ones(len(cost), bool)
    while len(rows) < batch and (waiting & (cost <= left)).any():
        affordable = waiting & (cost <= left)
        view = View(cast(Joint, joint), cost, affordable, place, len(rows), seed)
        best = int(np.argmax(np.where(affordable, score(view), -np.inf)))
        rows.append(best)
        joint = chosen(joint, best) if joint is not None else None
        left -= float(cost[best])
        waiting[best] = False
    return rows


def _exchanged(joint: Joint, cost: Floats, budget: float, rows: Sequence[int], before: float) -> list[int]:
    """Replace each run in turn by the one that, given the others, gives the batch most value per unit cost.

    One pass of coordinate exchange (Meyer & Nachtsheim 1995, Technometrics 37). It revises runs that were
    chosen when their partners were unknown, such as the first run of a set-up.
    """
    kept = list(rows)
    for place in range(len(kept)):
        others = kept[:place] + kept[place + 1 :]
        given = joint  # already includes the runs above this position
        for row in kept[place + 1 :]:
            given = chosen(given, row)
        left, gain = regret_and_reduction(given)
        spent = float(cost[others].sum())
        allowed = (cost <= budget - spent) & (gain >= WORTHWHILE * gain.max())
        allowed[others], allowed[kept[place]] = False, True
        bought = before - left + gain
        kept[place] = int(np.argmax(np.where(allowed, bought / (spent + cost), -np.inf)))
        joint = chosen(joint, kept[place])
    return kept


# ------------------------------------------------------------------------------------ the whole answer


def design(
    posterior: Posterior,
    targets: Sequence[Target],
    candidates: pd.DataFrame,
    budget: float,
    batch: int = BATCH,
    policy: str = POLICY,
    tolerance: float | None = None,
    target_cost: float | None = None,
    unit: str = "FLOP",
    weights: Floats | None = None,
    seed: int = 0,
) -> Design:
    """Design a batch for targets: runs, cost, what they are expected to buy, and whether to stop.

    Args:
        posterior: the fit.
        targets: one or more; their regrets are averaged.
        candidates: with ``cost`` (``candidates.with_cost``).
        budget: budget of the batch, in the unit of the cost.
        batch: maximum number of runs.
        policy: a name in ``policies.POLICIES``.
        tolerance: regret small enough to stop at [fraction of the loss].
        target_cost: cost of all target runs together, in the unit of the cost; by default 6 N D of each where
            that unit is FLOP.
        unit: unit of the cost, for texts.
        weights: weights of the draws (``reweighting.reweight``).
        seed: seed of the draws.

    Raises:
        BadInput: no target, a number out of its range, or as ``choose``.
    """
    if not targets:
        raise BadInput("design: no target; expected at least one; give one as N,D,OPTIMIZER")
    check_request(budget, batch, policy, tolerance, target_cost)
    cost = candidates["cost"].to_numpy(float)
    affordable = cost <= budget
    if not affordable.any():
        affordable[:] = True  # `choose` refuses it and states the numbers
    offered = candidates[affordable]
    joint = joint_draws(posterior, targets, offered, weights, seed)
    found = choose(joint, cost[affordable], places(offered), budget, batch, policy, seed)
    found = _in_table(found, np.flatnonzero(affordable), len(candidates))
    noise = float(np.mean([seed_noise(posterior, t, weights, seed) for t in targets]))
    spent = float(cost[list(found.rows)].sum())
    reduction = float(found.reductions.sum())
    stop = verdict(posterior, targets, reduction, spent, unit, tolerance, target_cost, weights, seed)
    diverges = np.full(len(candidates), np.nan)
    diverges[affordable] = joint.linear.diverges
    runs = _runs(candidates, found, diverges)
    return Design(
        request=Request(tuple(targets), budget, unit, batch, policy, tolerance, target_cost),
        runs=tuple(runs),
        cost=spent,
        regret=ExpectedRegret(sum(found.before.values()), found.after, found.before, noise),
        stop=stop,
        offered=len(candidates),
        affordable=int((cost <= budget).sum()),
        alone=found.first,
        posterior=dict(posterior.provenance),
        warnings=tuple(_warnings(posterior, targets, candidates, runs, found.before)),
    )


def check_request(
    budget: float, batch: int, policy: str, tolerance: float | None, target_cost: float | None
) -> None:
    """Refuse what no batch can be designed for; arguments as of ``design``.

    Raises:
        BadInput: a number out of its range, or an unknown policy.
    """
    given = (
        ("budget", budget, "1e18"),
        ("tolerance", tolerance, "0.001"),
        ("target cost", target_cost, "1e21"),
    )
    for name, value, example in given:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise BadInput(f"{name} = {value:g}; expected a finite number above 0; give it as {example}")
    policy_named(policy)
    if batch < 1:
        raise BadInput(f"batch = {batch}; expected at least one run; raise it")


def _in_table(batch: Batch, positions: NDArray[np.int64], count: int) -> Batch:
    """Renumber the batch of a part of the candidates in all of them; the value of the others is NaN."""
    first = np.full(count, np.nan)
    first[positions] = batch.first
    rows = tuple(int(positions[row]) for row in batch.rows)
    return Batch(rows, batch.reductions, first, batch.before, batch.joint)


def plan_table(candidates: pd.DataFrame, found: Design) -> pd.DataFrame:
    """Table of the chosen candidates in order, with all their columns, readable by ``train.plan``.

    Adds ``cost`` and, for people, ``expected_regret_reduction`` [fraction of the loss], which a sweep
    ignores.
    """
    plan = candidates.iloc[found.rows].reset_index(drop=True)
    for name in plan:
        column = BY_NAME.get(str(name))
        if column is not None and column.kind == "count" and (plan[name] % 1 == 0).all():
            plan[name] = plan[name].astype("int64")
    gains = [float(f"{run['regret_reduction']:.3g}") for run in found.runs]
    return plan.assign(expected_regret_reduction=gains)


def _runs(candidates: pd.DataFrame, batch: Batch, diverges: Floats) -> list[dict[str, Any]]:
    shown = ("run_id", *SETTINGS, *own_bowls(), "cost")
    names = [name for name in shown if name in candidates]
    runs = []
    for row, gain in zip(batch.rows, batch.reductions, strict=True):
        settings = candidates.iloc[row][names].to_dict()
        kept = {
            name: value
            for name, value in settings.items()
            if not (isinstance(value, float) and math.isnan(value))
        }
        runs.append(
            {"row": row + 1}
            | kept
            | {"regret_reduction": float(gain), "chance_diverges": float(diverges[row])}
        )
    return runs


def _warnings(
    posterior: Posterior,
    targets: Sequence[Target],
    candidates: pd.DataFrame,
    runs: Sequence[dict[str, Any]],
    regret: Mapping[str, float],
) -> list[str]:
    said = []
    if not posterior.diagnostics.get("converged", False):
        said.append("the fit has not converged: what runs are expected to buy is uncertain")
    for target in targets:
        name = f"target N = {target.params_nonembedding:.3g}, D = {target.tokens:.3g}"
        beyond = extrapolation(posterior, target) if posterior.cells else {}
        if fitted_cell(posterior, target) is not None:
            said.append(f"{name} is a fitted cell: runs there tell more than any elsewhere")
        elif posterior.cells and not any(beyond.values()):
            said.append(f"{name} lies inside the fitted runs: no extrapolation is left to improve")
        if posterior.optimizers and target.optimizer not in posterior.optimizers:
            said.append(f"optimizer {target.optimizer} was never seen: drawn from the population")
    for name in own_bowls():
        if name in regret and (name not in candidates or candidates[name].nunique() < 2):
            said.append(
                f"no candidate varies {name.replace('_', ' ')}: its share of the regret, "
                f"{percent(regret[name])}, hardly changes"
            )
    largest = min(6.0 * t.params_nonembedding * t.tokens for t in targets)
    big = int((6.0 * candidates["params_nonembedding"] * candidates["tokens"] >= largest).sum())
    if big:
        said.append(f"candidates as large as a target or larger: {big} of {len(candidates)}")
    risky = [str(i) for i, run in enumerate(runs, start=1) if run["chance_diverges"] > RISKY]
    if risky:
        said.append(f"runs likely to diverge (above {RISKY:.0%}), as a bound from above: {', '.join(risky)}")
    return said
