"""Part ``multiples``: priors of best learning rates are apart as optimizers' usual rates are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.inference.fitting import observations
from bayeslaw.law.observations import prepare
from bayeslaw.law.structure import shared_moments, structure_of
from bayeslaw.posterior import pooling
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior

LION = -0.5 * np.log(30.0)
USUAL = {"adamw": 0.0, "lion": LION, "muon": 0.0, "sgd": np.log(100.0)}


@pytest.fixture
def of_many(runs):
    """One run table with the same four runs of each optimizer."""
    parts = [runs.assign(optimizer=name, run_id=name + runs["run_id"]) for name in USUAL]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("parts", "moved"), [((), 0.0), (("multiples",), 1.0)])
def test_the_prior_means_of_the_model_are_apart(of_many, parts, moved):
    observed = prepare(of_many, parts=parts)
    known = structure_of(observed)
    alpha, delta = shared_moments(known, ("alpha", "delta"), observed.group_optimizer)[0]
    assert alpha - known.group["alpha"].mean == pytest.approx(moved * np.array([*USUAL.values()]))
    assert delta == pytest.approx(known.group["delta"].mean)


def test_without_runs_the_advice_is_as_usual():
    """Before any run SGD's rate is a hundred times AdamW's."""
    prior = prior_posterior(parts=("multiples",))
    rates = {
        name: np.median(pooling.group_draws(prior, None, name)["alpha"]) - prior.group_prior["alpha"][0]
        for name in USUAL
    }
    assert rates == pytest.approx(USUAL, abs=0.2)
    sgd, adamw = (
        predict(prior, Target(1e8, 2e9, name)).optimum["learning_rate"].median for name in ("sgd", "adamw")
    )
    assert sgd / adamw == pytest.approx(100.0, rel=0.3)


def test_pooling_moves_deviations_only():
    """A fit whose rates are all divided by their multiples says of any optimizer what is to be multiplied."""
    fit = fake_posterior(50, groups=(("ours", "adamw"), ("ours", "lion"), ("theirs", "adamw")))
    scaled = fit.group["alpha"] - [0.0, LION, 0.0]
    plain = replace(fit, group={**fit.group, "alpha": scaled})
    fit = replace(fit, provenance={**fit.provenance, "parts": ["multiples"]})
    for study, optimizer in [("theirs", "lion"), ("theirs", "sgd"), (None, "adamw"), (None, "muon")]:
        normal = np.ones(fit.draws)
        expected = pooling._unseen(
            plain, "alpha", study, {"sgd": "none", "muon": "none"}.get(optimizer, optimizer), normal
        )
        drawn = pooling._unseen(fit, "alpha", study, optimizer, normal)
        assert drawn == pytest.approx(expected + USUAL[optimizer], abs=1e-9)
    assert pooling.population_draws(fit)["alpha"] == pytest.approx(pooling.population_draws(plain)["alpha"])


def test_a_population_s_typical_rate_is_as_of_adamw(runs):
    """A fit of SGD alone with a population keeps in its file what others deviate from."""
    others = fake_posterior(50, groups=(("theirs", "adamw"), ("theirs", "muon")))
    sgd = runs.assign(optimizer="sgd", learning_rate=100 * runs["learning_rate"])
    plain, moved = (structure_of(observations(sgd, parts, others)) for parts in ((), ("multiples",)))
    assert moved.group["alpha"].mean == pytest.approx(plain.group["alpha"].mean - USUAL["sgd"])
    assert shared_moments(moved, ("alpha",), np.array([0]))[0] == pytest.approx(
        shared_moments(plain, ("alpha",), np.array([0]))[0]
    )
