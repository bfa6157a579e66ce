"""The rival law of LMO bounds: its own world is recovered, with exponents as ``bayeslaw.theory`` has them."""

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.lmo import RATE_ON_ALPHA, RATE_ON_BATCH, RATE_ON_TOKENS, fit_lmo
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.target import Target
from bayeslaw.theory.lmo import bound_coefficients, tune_learning_rate
from bayeslaw.theory.paths import path_exponents

SIZES = [(n, d) for n in (1e8, 4e8) for d in (2e9, 8e9, 3e10)]


def world(q=0.3, tuned=True, scatter=0.0, seed=0):
    """Best runs on the path of q, and two worse ones of other momenta, in each cell."""
    rng = np.random.default_rng(seed)
    rows = []
    for n, d in SIZES:
        e = path_exponents(q)
        batch, alpha = 2.0 * d**e.batch, 50.0 * d**e.alpha if tuned else 0.1
        rate = 30 * np.sqrt(batch * alpha / d)  # where the bound has its best rate
        batch, rate = np.array([batch, rate]) * np.exp(scatter * rng.standard_normal(2))
        rows.append((n, d, batch, rate, 1 - alpha, 2.5))
        rows += [(n, d, batch, rate, 1 - alpha * k if tuned else 0.9, 2.6) for k in (0.5, 2.0)]
    names = ["params_nonembedding", "tokens", "batch_tokens", "learning_rate", "momentum", "loss"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(
        run_id=[str(i) for i in range(len(table))], study="s", optimizer="muon", status="finished"
    )


def test_its_own_world_is_recovered_and_extrapolated():
    advisor = fit_lmo(world(), draws=50)
    assert isinstance(advisor, Advisor)
    assert advisor.label == "LMO bounds, q = 0.30"
    assert advisor.report["path"] == {"q": pytest.approx(0.3), "q_free": pytest.approx(0.3), "cells": 6}
    near, far = (advisor.recommend(Target(1e9, d, "muon")) for d in (1e10, 1e12))
    e = path_exponents(0.3)
    assert far["batch_tokens"] / near["batch_tokens"] == pytest.approx(100**e.batch)
    assert far["learning_rate"] / near["learning_rate"] == pytest.approx(100**e.learning_rate)
    assert (1 - far["momentum"]) / (1 - near["momentum"]) == pytest.approx(100**e.alpha)
    assert far["batch_tokens"] == pytest.approx(2.0 * 1e12**0.3)
    assert near == pytest.approx(advisor.recommend(Target(1e6, 1e10, "muon")))  # N is not in it


def test_at_one_momentum_the_rate_follows_batch_and_tokens():
    advisor = fit_lmo(world(0.5, tuned=False), draws=50)
    near, far = (advisor.recommend(Target(1e9, d, "muon")) for d in (1e10, 1e12))
    assert set(near) == {"learning_rate", "batch_tokens"}
    assert far["learning_rate"] / near["learning_rate"] == pytest.approx(100**-0.25)  # Theorem 1
    doubled = advisor.recommend(Target(1e9, 1e10, "muon", batch_tokens=2 * near["batch_tokens"]))
    assert doubled["learning_rate"] == pytest.approx(np.sqrt(2) * near["learning_rate"])
    assert doubled["batch_tokens"] == 2 * near["batch_tokens"]


def test_the_powers_are_those_of_the_bound():
    c = bound_coefficients(gap=1.0, smoothness=1.0, noise=1.0)

    def slope(**factors):
        at = {"batch": 100.0, "alpha": 1e-5, "samples": 1e12}
        moved = {name: at[name] * factors.get(name, 1.0) for name in at}
        return np.log(tune_learning_rate(**moved, c=c) / tune_learning_rate(**at, c=c)) / np.log(2)

    powers = {"batch": RATE_ON_BATCH, "alpha": RATE_ON_ALPHA, "samples": RATE_ON_TOKENS}
    assert {name: slope(**{name: 2.0}) for name in powers} == pytest.approx(powers, abs=1e-4)


@pytest.mark.parametrize(("q", "kept"), [(0.0, 0.0), (0.5, 0.5)])
def test_q_stays_where_momentum_can_follow(q, kept):
    steeper = world(q)
    steeper["batch_tokens"] *= (steeper["tokens"] / 1e9) ** (0.4 if q else -0.4)
    advisor = fit_lmo(steeper, draws=50)
    assert advisor.report["path"]["q"] == pytest.approx(kept)
    assert abs(advisor.report["path"]["q_free"] - q) > 0.1


def test_draws_hold_the_optimum_of_cells_about_as_often_as_they_say():
    inside = []
    for seed in range(40):
        advisor = fit_lmo(world(scatter=0.2, seed=seed), draws=300, seed=seed)
        new = world(scatter=0.2, seed=1000 + seed).iloc[3]
        target = Target(new["params_nonembedding"], new["tokens"], "muon")
        for name, draws in advisor.optimum_draws(target).items():
            if name != "momentum":
                low, high = np.quantile(draws, [0.05, 0.95])
                inside.append(low <= new[name] <= high)
    assert 0.75 < np.mean(inside) < 0.99


def test_draws_at_a_fixed_batch_do_not_have_its_scatter():
    advisor = fit_lmo(world(scatter=0.3), draws=400)
    free, fixed = (
        np.log(advisor.optimum_draws(Target(1e9, 3e10, "muon", batch_tokens=b))["learning_rate"])
        for b in (None, 1e4)
    )
    assert np.std(fixed) < np.std(free)


def test_one_number_of_tokens_tells_no_law():
    same = world()
    with pytest.raises(BadInput, match=r"lmo: 2 cells with 1 distinct tokens; regressing ln batch_tokens on"):
        fit_lmo(same[same["tokens"] == 2e9])


def test_another_optimizer_is_refused():
    with pytest.raises(BadInput, match=r"LMO bounds, q = 0\.30: target optimizer 'adamw'; expected 'muon'"):
        fit_lmo(world()).recommend(Target(1e9, 1e10, "adamw"))
