"""Which small runs are bought, and for how much: the common budget, the proxy, and our design in rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayeslaw.planning.batches import choose
from bayeslaw.planning.candidates import places
from bayeslaw.planning.conditioning import joint_draws
from tests.studies.validation.advice import as_runs, posterior_of
from tests.studies.validation.searches import History, Search, setting_at
from tests.studies.validation.worlds import Family, Setting, World

SMALL = 24
"""Small runs of which the budget is that of everyone who buys in the pool."""
ROUNDS, CANDIDATES = 3, 300


def budget(family: Family, trials: int = SMALL) -> float:
    """FLOPs of so many runs of the pool's mean cost: what every method of small runs may spend."""
    return trials * float(np.mean([world.cost for world in family.pool]))


def proxies(pool: Sequence[World], budget: float, trials: int) -> tuple[World, ...]:
    """The costliest world of which ``trials`` runs fit into the budget; the cheapest where none does."""
    fitting = [world for world in pool if trials * world.cost <= budget * (1 + 1e-9)]
    return (max(fitting, key=lambda w: w.cost) if fitting else min(pool, key=lambda w: w.cost),)


def by_design(family: Family, trials: int, seed: int) -> Search:
    """As ``bayeslaw loop``: three rounds of 8, each chosen by expected regret per FLOP over three targets.

    The first round follows from the priors. Candidates are drawn at random in the pool; the budget is that
    of ``trials`` runs of the mean cost.
    """
    rng = np.random.default_rng([seed, 7])
    targets = [world.target for world in _spread(family.targets)]
    left = budget(family, trials)
    history: History = []
    for number in range(ROUNDS):
        offered = [_random_setting(family, rng) for _ in range(CANDIDATES)]
        cost = np.array([each.world.cost for each in offered])
        if left < cost.min():
            return
        posterior = posterior_of(as_runs(history))
        table = _candidates(offered)
        joint = joint_draws(posterior, targets, table, seed=seed)
        share = max(left / (ROUNDS - number), float(cost.min()))
        for row in choose(joint, cost, places(table), share, trials // ROUNDS, seed=seed).rows:
            outcome = yield offered[row]
            history.append((offered[row], outcome))
            left -= outcome.cost


def _random_setting(family: Family, rng: np.random.Generator) -> Setting:
    world = family.pool[rng.integers(len(family.pool))]
    return setting_at(world, rng.random(world.box.dimensions))


def _candidates(offered: Sequence[Setting]) -> pd.DataFrame:
    rows = [
        {
            "study": s.world.target.study,
            "optimizer": s.world.target.optimizer,
            "params_nonembedding": s.world.target.params_nonembedding,
            "tokens": s.world.target.tokens,
            "batch_tokens": s.batch_tokens,
            "learning_rate": s.learning_rate,
        }
        for s in offered
    ]
    return pd.DataFrame(rows)


def _spread(targets: Sequence[World], count: int = 3) -> list[World]:
    """The cheapest, a middle and the costliest target: the design averages over them."""
    ordered = sorted(targets, key=lambda w: w.cost)
    return [ordered[k] for k in sorted(set(np.linspace(0, len(ordered) - 1, count).astype(int)))]
