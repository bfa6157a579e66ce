"""Partial pooling against the joint Gaussian written out in full, and its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.posterior import pooling
from bayeslaw.posterior.pooling import group_draws, population_draws, study_draws
from tests.support.fakes import fake_posterior

SEEN = (("ours", "adamw"), ("ours", "muon"), ("theirs", "adamw"), ("theirs", "lion"))
TARGETS = [("ours", "lion"), ("new", "adamw"), ("ours", "new"), ("new", "new"), (None, "muon")]


@pytest.fixture
def fit():
    return with_spreads(fake_posterior(50, groups=SEEN), 0.3, 0.2)


def with_spreads(fit, optimizers, studies):
    """The posterior with a tenth of variation about these spreads, another in each draw."""
    vary = np.linspace(0.9, 1.1, fit.draws)
    families = fit.group_prior
    return replace(
        fit,
        between_optimizers=dict.fromkeys(families, optimizers * vary),
        between_studies=dict.fromkeys(families, studies / vary),
    )


def brute_force(fit, name, draw, study, optimizer):
    """Mean and sd of a new value, from the effects one by one: value = mean + optimizer + study + nugget."""
    prior_mean, prior_sd = fit.group_prior[name]
    groups = [*fit.groups, (study, optimizer)]
    optimizers, studies = sorted({o for _, o in groups}), sorted({str(s) for s, _ in groups})
    effects = np.zeros((len(groups), 1 + len(optimizers) + len(studies) + len(groups)))
    for row, (s, o) in enumerate(groups):
        effects[row, 0] = prior_sd
        effects[row, 1 + optimizers.index(o)] = fit.between_optimizers[name][draw]
        effects[row, 1 + len(optimizers) + studies.index(str(s))] = fit.between_studies[name][draw]
        effects[row, 1 + len(optimizers) + len(studies) + row] = np.sqrt(pooling.NUGGET)
    joint = effects @ effects.T
    weights = np.linalg.inv(joint[:-1, :-1]) @ joint[:-1, -1]
    mean = prior_mean + weights @ (fit.group[name][draw] - prior_mean)
    return mean, np.sqrt(joint[-1, -1] - weights @ joint[:-1, -1])


@pytest.mark.parametrize(("study", "optimizer"), TARGETS)
@pytest.mark.parametrize("name", ["alpha", "delta"])
def test_unseen_groups_follow_the_joint_gaussian(fit, name, study, optimizer):
    middle = pooling._unseen(fit, name, study, optimizer, np.zeros(fit.draws))
    above = pooling._unseen(fit, name, study, optimizer, np.ones(fit.draws))
    for draw in (0, 17, 49):
        mean, sd = brute_force(fit, name, draw, study, optimizer)
        assert middle[draw] == pytest.approx(mean, abs=1e-8)
        assert above[draw] - middle[draw] == pytest.approx(sd, rel=1e-6)


def test_an_optimizer_never_seen_deviates_from_its_usual_rate(fit):
    """As a fit whose rates are all divided by their usual multiples says of one without; muon has none."""
    lion = np.log(1 / np.sqrt(30))
    habits = {"adamw": 0.0, "lion": lion, "muon": lion / 3}  # muon's is the mean of the other groups'
    scaled = fit.group["alpha"] - [habits[optimizer] for _, optimizer in SEEN]
    one = replace(fit, group={**fit.group, "alpha": scaled})
    unnamed = pooling._unseen(one, "alpha", "ours", "of no name", np.zeros(fit.draws))
    for optimizer, multiple in {"sgd": 100.0, "rmsprop": 1.0}.items():
        drawn = pooling._unseen(fit, "alpha", "ours", optimizer, np.zeros(fit.draws))
        assert drawn == pytest.approx(unnamed + np.log(multiple), abs=1e-9)
    sgd, other = (pooling._unseen(fit, "delta", None, name, np.zeros(fit.draws)) for name in ("sgd", "other"))
    assert sgd == pytest.approx(other)


def test_a_seen_group_keeps_its_draws(fit):
    drawn = group_draws(fit, "theirs", "lion")
    for name in ("alpha", "delta", "beta"):
        assert (drawn[name] == fit.group[name][:, 3]).all()
    assert drawn["gamma"] == pytest.approx(drawn["gamma_path"] - drawn["delta"])


def test_a_parameter_that_a_seen_group_lacks_is_borrowed(fit):
    assert np.isnan(fit.group["lambda"][:, 1]).all()
    assert pooling.borrowed(fit, "ours", "muon", "lambda")
    assert not pooling.borrowed(fit, "ours", "adamw", "lambda")
    drawn = group_draws(fit, "ours", "muon")["lambda"]
    assert np.isfinite(drawn).all()
    assert np.std(drawn) > np.std(fit.group["lambda"][:, 0])


def test_without_spread_every_group_is_one(fit):
    tight = with_spreads(fit, 1e-6, 1e-6)
    for name, values in tight.group.items():
        values[:] = np.where(np.isnan(values), np.nan, values[:, :1])  # as complete pooling makes them
        assert np.isfinite(group_draws(tight, None, "new")[name]).all()
    drawn = group_draws(tight, None, "new")["alpha"]
    assert drawn == pytest.approx(tight.group["alpha"][:, 0], abs=0.005)


def test_with_endless_spread_nothing_is_learnt_but_of_the_own_optimizer(fit):
    wide = with_spreads(fit, 1e3, 0.0)
    assert np.std(group_draws(wide, None, "new")["alpha"]) > 500
    drawn, own = group_draws(wide, None, "muon")["alpha"], wide.group["alpha"][:, 1]
    assert drawn == pytest.approx(own, abs=0.01)  # the same optimizer elsewhere; no spread of studies
    assert (group_draws(wide, "ours", "muon")["alpha"] == own).all()


def test_the_less_is_shared_the_wider(fit):
    many = with_spreads(fake_posterior(4000, groups=SEEN), 0.3, 0.2)
    pairs = [("ours", "lion"), (None, "lion"), (None, "new")]
    spreads = [np.std(group_draws(many, study, optimizer)["alpha"]) for study, optimizer in pairs]
    assert spreads == sorted(spreads)


def test_draws_repeat_and_differ_by_group_and_seed(fit):
    first = group_draws(fit, None, "new", seed=1)["alpha"]
    assert (first == group_draws(fit, None, "new", seed=1)["alpha"]).all()
    assert (first != group_draws(fit, None, "new", seed=2)["alpha"]).all()
    assert (first != group_draws(fit, "other", "new", seed=1)["alpha"]).all()


def test_the_population_mean_is_pulled_from_the_prior_to_the_groups(fit):
    name = "alpha"
    mean, sd = fit.group_prior[name]
    fit.group[name][:] = mean + 5 * sd
    many_seeds = np.array([population_draws(fit, seed)[name] for seed in range(200)])
    groups = np.eye(4) * 1e-6 + sd**2
    optimizers, studies = np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1])
    groups = groups + fit.between_optimizers[name][7] ** 2 * (optimizers[:, None] == optimizers)
    groups = groups + fit.between_studies[name][7] ** 2 * (studies[:, None] == studies)
    weights = np.linalg.solve(groups, np.full(4, sd**2))
    assert many_seeds[:, 7].mean() == pytest.approx(mean + 5 * sd * weights.sum(), abs=0.05)
    assert many_seeds[:, 7].std() == pytest.approx(sd * np.sqrt(1 - weights.sum()), rel=0.15)


def test_a_parameter_that_no_group_has_is_the_prior(fit):
    mean, sd = fit.group_prior["lambda"]
    nothing = fake_posterior(4000, groups=SEEN)
    nothing.group["lambda"][:] = np.nan
    drawn = group_draws(with_spreads(nothing, 0.3, 0.2), None, "new")["lambda"]
    assert drawn.mean() == pytest.approx(mean, abs=0.05)
    assert drawn.std() == pytest.approx(np.sqrt(sd**2 + 0.3**2 + 0.2**2), rel=0.05)


def test_studies_are_their_own_or_the_prior(fit):
    own = study_draws(fit, "theirs")
    assert all((own[name] == fit.study[name][:, 1]).all() for name in fit.study)
    many = study_draws(fake_posterior(4000), None)
    assert set(many) == set(own)
    for name, (mean, sd) in fit.study_prior.items():
        assert many[name].mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(4000))
        assert many[name].std() == pytest.approx(sd, rel=0.06)
