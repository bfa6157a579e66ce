"""Joint draws: conditioning against closed forms, the linearisation against nested Monte Carlo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, qmc

from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import lr_batch_excess, run_draws
from bayeslaw.planning.conditioning import Decision, assemble, chosen, joint_draws
from bayeslaw.planning.linearisation import Linear, cells
from bayeslaw.planning.policies import View, d_optimal, expected_regret, information, reduction, v_optimal
from bayeslaw.posterior import pooling
from bayeslaw.posterior.pooling import ground
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior

NEVER = np.array([np.inf])
COST = np.array([1.0, 2.0, 4.0])


def candidates(rates=(5e-4, 2e-3, 8e-3), n=1e8, d=2e9, **columns):
    table = pd.DataFrame({"learning_rate": rates, "batch_tokens": 3e5, "optimizer": "adamw"})
    return table.assign(params_nonembedding=n, tokens=d, **columns)


def quadratic(optimum, weight=1.0):
    """Regret (action - optimum)^2 / 2."""
    return Decision("x", optimum[:, None], lambda o, a: 0.5 * (a[:, 0][None] - o) ** 2, NEVER, weight)


@pytest.fixture(scope="module")
def gaussian():
    """Three linear runs of two coordinates and a target; their exact covariance, target last."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((3, 3))
    draws = norm.ppf(qmc.Sobol(3, seed=1).random_base2(12)) @ mix.T
    slopes = np.array([[1.0, 0.5], [1.0, -1.0], [0.3, 2.0]])
    noise = np.array([0.3, 0.5, 0.2])
    linear = Linear(
        draws[:, :2],
        np.tile([0, 1], (3, 1)),
        np.repeat(slopes[None], 2, 0),
        np.tile(noise, (2, 1)),
        np.zeros(3),
    )
    joint = assemble(linear, [quadratic(draws[:, 2])], np.full(len(draws), 1 / len(draws)))
    all_of_them = np.column_stack([draws[:, :2] @ slopes.T, draws[:, 2]])
    return joint, np.cov(all_of_them.T, bias=True), noise


def left(covariance, noise, rows):
    """Variance of the target given noisy runs."""
    k = covariance[np.ix_(rows, rows)] + np.diag(noise[rows])
    return covariance[3, 3] - covariance[3, rows] @ np.linalg.solve(k, covariance[rows, 3])


def test_the_gain_of_one_run_is_the_fall_of_variance(gaussian):
    joint, covariance, noise = gaussian
    exact = [0.5 * (covariance[3, 3] - left(covariance, noise, [i])) for i in range(3)]
    luck = 4 / 4096 * covariance[3, 3]  # what `signal` takes off, at most
    assert reduction(joint) == pytest.approx(exact, rel=1e-3, abs=0.5 * luck)
    view = View(joint, COST, np.ones(3, bool), np.zeros((3, 1)), 0, 0)
    assert v_optimal(view) * COST == pytest.approx(2 * np.array(exact), rel=1e-3, abs=luck)
    told = [-0.5 * np.log(left(covariance, noise, [i]) / covariance[3, 3]) for i in range(3)]
    assert information(view) * COST == pytest.approx(told, rel=0.02)


def test_runs_chosen_before_count(gaussian):
    joint, covariance, noise = gaussian
    after = chosen(chosen(joint, 0), 2)
    assert expected_regret(after)["x"] == pytest.approx(0.5 * left(covariance, noise, [0, 2]), rel=1e-3)
    assert after.remaining[:, 0, 0] == pytest.approx(left(covariance, noise, [0, 2]), rel=1e-6)
    gain = 0.5 * (left(covariance, noise, [0, 2]) - left(covariance, noise, [0, 1, 2]))
    assert reduction(after)[1] == pytest.approx(gain, rel=0.05)


def test_d_optimal_steps_add_up_to_the_log_determinant(gaussian):
    joint, covariance, noise = gaussian
    total = 0.0
    for i in range(3):
        total += (d_optimal(View(joint, COST, np.ones(3, bool), np.zeros((3, 1)), i, 0)) * COST)[i]
        joint = chosen(joint, i)
    _, exact = np.linalg.slogdet(np.eye(3) + covariance[:3, :3] / noise)
    assert total == pytest.approx(0.5 * exact, rel=1e-6)


def nested(level, optimum, settings, sd, rng, outer=800):
    """E[variance of the optimum given the runs] / 2 by nested Monte Carlo."""
    mean = level[:, None] + 0.5 * (settings - optimum[:, None]) ** 2
    left_over = []
    for truth in rng.choice(len(level), outer, replace=False):
        seen = mean[truth] + sd * rng.standard_normal(len(settings))
        logs = -0.5 * np.sum(((seen - mean) / sd) ** 2, axis=1)
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        left_over.append(weights @ (optimum - weights @ optimum) ** 2)
    return 0.5 * np.mean(left_over)


@pytest.mark.parametrize("settings", [[2.0], [-1.5, 1.5], [0.0, 2.0]])
@pytest.mark.parametrize("sd", [0.1, 0.3])
def test_a_bowl_of_unknown_level_and_place_agrees_with_nested_monte_carlo(settings, sd):
    settings = np.array(settings)
    rng = np.random.default_rng(2)
    draws = norm.ppf(qmc.Sobol(2, seed=1).random_base2(12)) * [0.3, 1.0]
    level, optimum = draws.T
    points = rng.choice(len(draws), 100, replace=False)
    slopes = np.stack([np.ones((100, len(settings))), optimum[points, None] - settings], axis=2)
    noise = np.full((100, len(settings)), sd**2)
    linear = Linear(draws, np.tile([0, 1], (len(settings), 1)), slopes, noise, np.zeros(len(settings)))
    joint = assemble(linear, [quadratic(optimum)], np.full(len(draws), 1 / len(draws)))
    for i in range(len(settings)):
        joint = chosen(joint, i)
    exact = nested(level, optimum, settings, sd, rng)
    assert 0.5 - expected_regret(joint)["x"] == pytest.approx(0.5 - exact, rel=0.1)


def test_runs_are_those_of_predict():
    fit = fake_posterior(50)
    runs = candidates(study="ours")
    ((where, at),) = cells(fit, runs)
    assert where.tolist() == [0, 1, 2]
    run = run_draws(at, runs, ())
    outcome = outcome_of(at, {"learning_rate": 8e-3, "batch_tokens": 3e5, "weight_decay": 0.1})
    assert run.diverges[:, 2] == pytest.approx(outcome.diverges)
    excess = lr_batch_excess(at, np.log([8e-3]), np.log([3e5]))[:, 0]
    assert run.moments.mean[:, 2] == pytest.approx(at.log_loss + excess)


def test_what_was_never_seen_is_drawn_as_pooling_draws_it():
    fit = fake_posterior(50)
    known = ground(fit, {(None, "lion"), ("theirs", "adamw")}, seed=3)
    drawn = pooling.group_draws(fit, None, "lion", 3)
    column = known.groups.index(("a set-up never seen", "lion"))
    assert all(np.array_equal(known.group[name][:, column], drawn[name]) for name in fit.group)
    assert not any(np.isnan(known.group[name][:, 2]).any() for name in fit.group)
    assert np.array_equal(known.group["alpha"][:, 2], fit.group["alpha"][:, 2])


def test_weights_stand_for_repeated_draws():
    fit = fake_posterior(300)
    targets = [Target(7e9, 1.4e11, "adamw", "ours")]
    kept = np.zeros(300)
    kept[:100] = 1.0
    half = replace(
        fit,
        group={k: v[:100] for k, v in fit.group.items()},
        study={k: v[:100] for k, v in fit.study.items()},
        cell={k: v[:100] for k, v in fit.cell.items()},
        common={k: v[:100] for k, v in fit.common.items()},
        between_optimizers={k: v[:100] for k, v in fit.between_optimizers.items()},
        between_studies={k: v[:100] for k, v in fit.between_studies.items()},
    )
    weighted = joint_draws(fit, targets, candidates(study="ours"), weights=kept)
    fewer = joint_draws(half, targets, candidates(study="ours"))
    assert weighted.draws == pytest.approx(100)
    assert weighted.variance == pytest.approx(fewer.variance, rel=1e-6)


def test_a_batch_fixed_at_the_target_leaves_the_learning_rate():
    fit = fake_posterior(200)
    free, fixed = (
        joint_draws(fit, [Target(7e9, 1.4e11, "muon", "ours", batch)], candidates(study="ours"))
        for batch in (None, 2e6)
    )
    assert [d.name for d in free.decisions][:1] == ["learning_rate, batch_tokens"]
    assert [d.name for d in fixed.decisions][:1] == ["learning_rate"]
    assert expected_regret(fixed)["learning_rate"] < sum(expected_regret(free).values())


def test_the_regret_is_that_of_predict():
    from bayeslaw.advice.prediction import predict

    fit = fake_posterior(400)
    target = Target(7e9, 1.4e11, "adamw", "ours")
    joint = joint_draws(fit, [target], candidates(study="ours"))
    assert sum(expected_regret(joint).values()) == pytest.approx(
        predict(fit, target)["regret"]["expected"], rel=0.02
    )
