"""Ratios of settings: what both runs share cancels, and what the ridge says of a batch is in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.advice.conversion import convert
from bayeslaw.advice.prediction import predict
from bayeslaw.errors import BadInput
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted

RUN = Target(1e9, 2e10, "adamw", "ours")


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(400)


def test_the_ratio_of_fitted_groups_is_that_of_their_optima(fit):
    found = convert(fit, RUN, replace(RUN, optimizer="muon"))
    best = [predict(fit, replace(RUN, optimizer=name))["optimum"] for name in ("adamw", "muon")]
    for name in ("learning_rate", "batch_tokens"):
        ratio = best[1][name]["median"] / best[0][name]["median"]
        assert found["ratio"][name]["median"] == pytest.approx(ratio, rel=0.1)
    assert found["from"]["convention"].startswith("normalised")
    assert found["to"]["convention"].startswith("matrix")


def test_a_run_to_itself_is_one(fit):
    for study in ("ours", None):
        ratio = convert(fit, replace(RUN, study=study), replace(RUN, study=study))["ratio"]
        assert all(value == pytest.approx(1.0) for each in ratio.values() for value in each.values())


def test_a_set_up_never_seen_cancels(fit):
    """Its own rates are far less known than their ratio."""
    unseen = replace(RUN, study=None)
    found = convert(fit, unseen, replace(unseen, optimizer="muon"))["ratio"]["learning_rate"]
    alone = predict(fit, replace(unseen, optimizer="muon"))["optimum"]["learning_rate"]
    widths = [np.log(x["upper"] / x["lower"]) for x in (found, alone)]
    assert widths[0] < 0.7 * widths[1]


def test_another_batch_follows_the_ridge():
    exact = shifted(fake_posterior(5, spread=0.0), rho=np.full(5, 0.5), rho_high=np.full(5, 0.5))
    small, large = (replace(RUN, batch_tokens=batch) for batch in (1e5, 4e5))
    ratio = convert(exact, small, large)["ratio"]
    assert list(ratio) == ["learning_rate"]
    assert ratio["learning_rate"]["median"] == pytest.approx(2.0)


def test_two_runs_are_refused(fit):
    with pytest.raises(BadInput, match="convert: tokens"):
        convert(fit, RUN, replace(RUN, tokens=3e10))
    with pytest.raises(BadInput, match="covariate colour: not in the law"):
        convert(fit, RUN, replace(RUN, covariates={"colour": 1.0}))
