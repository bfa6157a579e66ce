"""Active design replayed on a finished sweep: what a policy would have learnt for the same cost.

    sweep --task.study_of--> Study --replayed: buy, refit, score--> one row a budget
                                                                                |
                                                bayeslaw.rehearsal.many: files, processes, curves

Runs of the pool are hidden until they are selected; runs at the target judge the advice and are never
selected. All policies share the model, the start, the budgets and the rule that a run must fit into the
budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import surface_at
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.heldout import evaluate
from bayeslaw.evaluation.result import AdviceScores, ScoredCell
from bayeslaw.law.observations import varied_settings
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.places import pivot_of
from bayeslaw.planning.batches import choose, greedy
from bayeslaw.planning.candidates import places
from bayeslaw.planning.conditioning import Joint, joint_draws
from bayeslaw.planning.policies import expected_regret, policy_named
from bayeslaw.planning.stopping import seed_noise, verdict
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.prior import Fit, prior_posterior
from bayeslaw.rehearsal.task import Study
from bayeslaw.runs.cells import finished_runs
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.9
"""Level of the intervals that are scored."""


def replayed(
    study: Study, policy: str, seed: int, fit: Fit, done: Sequence[dict[str, Any]] = ()
) -> Iterator[dict[str, Any]]:
    """Select runs, refit and score, budget by budget.

    Args:
        study: study to replay.
        policy: a name in ``policies.POLICIES``.
        seed: seed of the start, of policies that draw, and of the fits.
        fit: function from the selected runs, at least one of them finished, to a posterior.
        done: rows of an interrupted replay of this kind, by rising budget; the replay resumes after them.

    Yields:
        One JSON-ready row a budget, as ``scored`` returns it, with ``policy``, ``seed``, ``budget``,
        ``spent`` (in the unit of the cost), ``runs``, ``finished``, ``bought`` (run_ids), ``fits`` and
        ``seconds``. Policies that use the model also have ``foretold``, the regret expected by the update
        without a refit once these runs are seen, and ``next``, the stop rule's verdict on the best batch that
        the last budget still pays for (``_verdict``; None if it pays for none).

    Raises:
        BadInput: an unknown policy.
    """
    model = policy_named(policy).model
    position = {run_id: i for i, run_id in enumerate(study.pool["run_id"])}
    bought = [position[run_id] for run_id in done[-1]["bought"]] if done else _start(study, seed)
    posterior: Posterior | None = None
    for step in range(len(done), len(study.budgets)):
        began, fits, foretold = time.perf_counter(), 0, None
        before, budget = study.budgets[step - 1] if step else 0.0, study.budgets[step]
        rounds = study.refits if model else 1
        for k in range(1, rounds + 1):
            limit = before + (budget - before) * k / rounds
            if model and posterior is None:
                posterior, fits = _believed(study, bought, seed, fit), fits + bool(bought)
            new, joint = _bought(study, policy, bought, limit, posterior, (seed, step, k))
            if new:
                bought, posterior = bought + new, None
                foretold = sum(expected_regret(joint).values()) if joint else None
        if posterior is None:
            posterior, fits = _believed(study, bought, seed, fit), fits + bool(bought)
        rows = study.pool.iloc[bought]
        yield {
            "policy": policy,
            "seed": seed,
            "budget": budget,
            "spent": float(study.cost[bought].sum()),
            "runs": len(bought),
            "finished": int((rows["status"] == "finished").sum()),
            **scored(posterior, study, seed),
            "foretold": foretold,
            "next": _verdict(study, bought, posterior, seed) if model else None,
            "fits": fits,
            "seconds": round(time.perf_counter() - began, 1),
            "bought": [str(run_id) for run_id in rows["run_id"]],
        }


def scored(posterior: Posterior, study: Study, seed: int = 0) -> dict[str, Any]:
    """Score a posterior at the targets.

    Returns:
        ``regret`` (mean over the smoothed cells, a fraction of the loss) and ``regret_max``; ``r2``,
        ``coverage`` and ``crps`` of the losses there; ``width`` of the optimum's interval [nats, upper less
        lower end, mean over cells, learning rate and batch] and ``optimum_coverage``; ``announced``, the
        posterior's expected regret of its own advice, and ``announced_upper``, its bound with probability
        ``LEVEL``; ``cells``: the same by cell. None if there is nothing to score.
    """
    result = evaluate(PosteriorAdvisor(posterior, seed=seed), study.judges, LEVEL)
    cells = [_cell(posterior, cell, cell.advice, seed) for cell in result.cells if cell.advice]

    def mean(name: str) -> float | None:
        values = [cell[name] for cell in cells if cell[name] is not None]
        return float(np.mean(values)) if values else None

    losses = result.losses
    return {
        "regret": mean("regret"),
        "regret_max": max((cell["regret"] for cell in cells), default=None),
        "r2": losses and losses.r2,
        "coverage": losses and losses.coverage,
        "crps": losses and losses.crps,
        "width": mean("width"),
        "optimum_coverage": mean("covered"),
        "announced": mean("announced"),
        "announced_upper": mean("announced_upper"),
        "within": mean("within"),
        "converged": bool(posterior.diagnostics.get("converged", False)),
        "cells": cells,
    }


def exact(runs: pd.DataFrame, seed: int) -> Posterior:
    """Fit with NUTS, as ``bayeslaw fit`` does; the default ``Fit``."""
    from bayeslaw.inference.fitting import fit

    return fit(runs, seed=seed)


# ---------------------------------------------------------------------------------------------- steps


def _believed(study: Study, bought: Sequence[int], seed: int, fit: Fit) -> Posterior:
    """Posterior of the selected runs, or the priors while none of them finished."""
    rows = study.pool.iloc[list(bought)].reset_index(drop=True)
    if len(finished_runs(rows)):
        return fit(rows, seed)
    pivot = pivot_of(study.pool, DEFAULT_PARTS)
    return prior_posterior(varied_settings(study.pool), seed=seed, pivot=pivot)


def _start(study: Study, seed: int) -> list[int]:
    """Draw the starting runs at random, as far as the first budget pays for them."""
    chosen: list[int] = []
    left = study.budgets[0]
    for i in np.random.default_rng([seed, 4]).permutation(len(study.pool)):
        if len(chosen) < study.start and study.cost[i] <= left:
            chosen.append(int(i))
            left -= float(study.cost[i])
    return chosen


def _bought(
    study: Study,
    policy: str,
    bought: Sequence[int],
    limit: float,
    posterior: Posterior | None,
    key: tuple[int, ...],
) -> tuple[list[int], Joint | None]:
    """Select runs while one fits under the limit; return their positions and what the model expects."""
    waiting, left = _waiting(study, bought, limit)
    if not len(waiting):
        return [], None
    table, cost = study.pool.iloc[waiting].reset_index(drop=True), study.cost[waiting].copy()
    place, seed = places(table), int(np.random.default_rng(key).integers(2**31))
    if not policy_named(policy).model:
        return [int(waiting[row]) for row in greedy(None, cost, place, left, len(cost), policy, seed)], None
    assert posterior is not None
    rows: list[int] = []
    joint = joint_draws(posterior, study.targets, table, seed=key[0])
    while (cost <= left).any():
        found = choose(joint, cost, place, left, study.batch, policy, seed + len(rows))
        rows += found.rows
        left -= float(cost[list(found.rows)].sum())
        cost[list(found.rows)] = math.inf  # selected once; the joint knows what is pending
        joint = found.joint
    return [int(waiting[row]) for row in rows], joint


def _waiting(study: Study, bought: Sequence[int], limit: float) -> tuple[NDArray[np.int64], float]:
    """Positions of the remaining runs that fit under the limit, and the remaining budget."""
    left = limit - float(study.cost[list(bought)].sum())
    waiting = np.setdiff1d(np.arange(len(study.pool)), np.array(bought, int))
    return waiting[study.cost[waiting] <= left], left


def _verdict(
    study: Study, bought: Sequence[int], posterior: Posterior, seed: int
) -> dict[str, bool | float] | None:
    """Verdict of the stop rule: ``stop``, ``reduction`` of the regret by the best batch, ``cost``,
    ``noise``."""
    waiting, left = _waiting(study, bought, study.budgets[-1])
    if not len(waiting):
        return None
    table = study.pool.iloc[waiting].reset_index(drop=True)
    cost = study.cost[waiting]
    joint = joint_draws(posterior, study.targets, table, seed=seed)
    found = choose(joint, cost, places(table), left, study.batch, seed=seed)
    reduction, spent = float(found.reductions.sum()), float(cost[list(found.rows)].sum())
    noise = float(np.mean([seed_noise(posterior, target, seed=seed) for target in study.targets]))
    stop = verdict(posterior, study.targets, reduction, spent, study.unit, seed=seed).stop
    return {"stop": stop, "reduction": reduction, "cost": spent, "noise": noise}


def _cell(posterior: Posterior, cell: ScoredCell, advice: AdviceScores, seed: int) -> dict[str, Any]:
    """Scores of a judged cell, with the regret that the posterior announces for it."""
    limits, covered = advice.optimum_interval or {}, advice.optimum_covered or {}
    fixed = None if "batch_tokens" in covered else advice.recommendation["batch_tokens"]
    target = Target(cell.params, cell.tokens, cell.optimizer, cell.study, fixed)
    at = surface_at(posterior, target, seed)
    regret = outcome_of(at, decide(at), seed).regret
    upper = float(np.quantile(regret, LEVEL))
    return {
        "params": cell.params,
        "tokens": cell.tokens,
        "optimizer": cell.optimizer,
        "regret": advice.regret,
        "beyond_runs": advice.beyond_runs,
        "width": float(np.mean([math.log(high / low) for low, high in limits.values()])),
        "covered": float(np.mean(list(covered.values()))),
        "announced": float(regret.mean()),
        "announced_upper": upper,
        "within": float(advice.regret <= upper),
    }
