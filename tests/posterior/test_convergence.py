"""When chains are long enough: what perfectly mixed ones show, and what others do."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX, check_chains, rhat_limit


def perfect(parameters, draws, seed=0):
    """Independent draws of four chains."""
    return {"x": np.random.default_rng(seed).standard_normal((4, draws, parameters))}


def test_perfectly_mixed_parameters_stay_below_the_limit_and_not_below_a_fixed_one():
    told = [check_chains(perfect(60, 100, seed), 0) for seed in range(8)]
    assert sum(each["rhat_max"] <= each["rhat_limit"] for each in told) >= 7
    assert all(each["rhat_max"] > RHAT_MAX for each in told)


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_chains_that_disagree_are_not_enough(apart):
    draws = perfect(20, 400)
    draws["x"][0, :, 3] += apart
    told = check_chains(draws, 0)
    assert told["enough"] == (apart == 0.0)
    if apart:
        assert any("the chains disagree" in text for text in told["messages"])
        assert told["worst"][0]["parameter"] == "x[3]"


def test_a_reported_parameter_must_agree_better():
    told = check_chains(perfect(100, 160), 0, ["x"])
    assert RHAT_MAX < told["rhat_reported_max"] <= told["rhat_limit"]
    assert not told["enough"]
    assert "above 1.01" in told["messages"][0]
    assert check_chains(perfect(100, 160), 0)["enough"]


def test_the_limit_ends_at_the_fixed_one():
    assert rhat_limit(300, 4, 10 * ESS_MIN) == RHAT_MAX < rhat_limit(300, 4, ESS_MIN)
    assert rhat_limit(300, 4, 10.0) == rhat_limit(300, 4, ESS_MIN)
