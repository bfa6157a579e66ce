"""Every policy keeps to one protocol; what each is for."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.planning.batches import choose
from bayeslaw.planning.candidates import drawn_from, places, with_cost
from bayeslaw.planning.conditioning import chosen, joint_draws
from bayeslaw.planning.policies import POLICIES, View, policy_named
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior

SPACE = {
    "count": 60,
    "optimizer": "adamw",
    "params_nonembedding": [5e7, 1e8, 4e8],
    "tokens_per_param": 20,
    "learning_rate": {"low": 2e-4, "high": 2e-2},
    "batch_tokens": {"low": 3e4, "high": 3e6},
}


@pytest.fixture(scope="module")
def pool():
    return with_cost(drawn_from(SPACE, "space"), "space")[0]


@pytest.fixture(scope="module")
def joint(pool):
    return joint_draws(fake_posterior(300), [Target(7e9, 1.4e11, "adamw", "ours")], pool)


def view(joint, pool, open_=None, step=0, seed=0):
    free = np.ones(len(pool), bool) if open_ is None else open_
    return View(joint, pool["cost"].to_numpy(), free, places(pool), step, seed)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_scores_every_candidate_and_repeats_itself(name, joint, pool):
    scores = POLICIES[name].score(view(joint, pool))
    assert scores.shape == (len(pool),)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, POLICIES[name].score(view(joint, pool)))
    assert "view -> candidate" in " ".join(POLICIES[name].score.__doc__.split())
    later = POLICIES[name].score(view(chosen(joint, int(np.argmax(scores))), pool, step=1))
    assert np.isfinite(later).all()


@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_keeps_to_the_budget_and_repeats_no_run(name, joint, pool):
    cost = pool["cost"].to_numpy()
    budget = 4.5 * cost.min()
    batch = choose(joint, cost, places(pool), budget, 6, name, seed=1)
    assert len(set(batch.rows)) == len(batch.rows) <= 4
    assert cost[list(batch.rows)].sum() <= budget
    assert batch.rows == choose(joint, cost, places(pool), budget, 6, name, seed=1).rows
    assert batch.reductions.shape == (len(batch.rows),)
    assert (batch.reductions > -1e-6).all()


def test_what_costs_nothing_to_know_comes_out(joint, pool):
    cost = pool["cost"].to_numpy()
    assert cost[np.argmax(POLICIES["cheapest"].score(view(joint, pool)))] == cost.min()
    first = [np.argmax(POLICIES["inverse-cost"].score(view(joint, pool, seed=s))) for s in range(400)]
    cheap = cost == cost.min()
    expected = (1 / cost[cheap]).sum() / (1 / cost).sum()
    assert np.mean(cheap[first]) == pytest.approx(expected, abs=0.06)
    spread = choose(joint, cost, places(pool), np.inf, 16, "sobol").rows
    assert np.ptp(places(pool)[list(spread)], axis=0).min() > 0.6


def test_ours_buys_most_per_cost(pool):
    """In a set-up never seen, where the level is unknown and runs need each other."""
    cost = pool["cost"].to_numpy()
    joint = joint_draws(fake_posterior(300), [Target(7e9, 1.4e11, "adamw", None)], pool)

    def bought(name):
        batch = choose(joint, cost, places(pool), np.inf, 6, name)
        return batch.reductions.sum() / cost[list(batch.rows)].sum()

    ours = bought("regret")
    assert all(ours > bought(name) for name in POLICIES if name != "regret")


def test_nearly_free_runs_that_tell_nothing_are_left(joint, pool):
    cost = pool["cost"].to_numpy().copy()
    gain = POLICIES["regret"].score(view(joint, pool)) * cost
    worst = int(np.argmin(gain))
    cost[worst] = 1.0
    scores = POLICIES["regret"].score(View(joint, cost, np.ones(len(cost), bool), places(pool), 0, 0))
    assert gain[worst] == 0.0
    assert scores[worst] == 0.0


def test_an_unknown_policy_is_refused():
    with pytest.raises(BadInput) as caught:
        policy_named("magic")
    assert str(caught.value) == (
        "policy = 'magic'; expected one of regret, information, v-optimal, d-optimal, sobol, random, "
        "cheapest, inverse-cost; leave it out for regret"
    )
