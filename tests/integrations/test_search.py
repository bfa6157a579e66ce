"""A search at one target: what it suggests first, what trials teach it, and what a space allows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayeslaw.advice.target_surface import at_draws, optimum_draws, run_draws
from bayeslaw.errors import BadInput
from bayeslaw.integrations import recommended
from bayeslaw.integrations.search import Trial, nearest, search_at, suggested, tempered, weights, within
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior

TARGET = Target(3e9, 6e10, "adamw", "ours")
BATCH = 524_288.0
WIDE = {"learning_rate": within(1e-6, 1.0), "batch_tokens": within(1e3, 1e9)}


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(400, 5.0)


@pytest.fixture(scope="module")
def at(fit):
    return search_at(TARGET, fit)


def outcome(at, draw, settings):
    """The loss that a draw expects of settings, times a factor that says nothing."""
    run = run_draws(at_draws(at, np.array([draw])), {name: np.array([x]) for name, x in settings.items()})
    return Trial(settings, 1.7 * float(np.exp(run.moments.mean[0, 0])))


def grid_of_trials(at, draw):
    best = {name: values[draw] for name, values in optimum_draws(at).items()}
    return [
        outcome(at, draw, best | {"learning_rate": best["learning_rate"] * x, "batch_tokens": BATCH * y})
        for x in (0.3, 1.0, 3.0)
        for y in (0.5, 2.0)
    ]


def test_the_first_suggestion_is_the_advice(fit, at):
    advice = recommended(3e9, 6e10, "adamw", study="ours", posterior=fit)
    found = suggested(at, [], WIDE | {"weight_decay": within(0.0, 10.0)}, 0)
    assert found["batch_tokens"] == advice.batch_tokens
    assert found["learning_rate"] == pytest.approx(advice.learning_rate, rel=0.01)
    assert found["weight_decay"] == advice.weight_decay


def test_the_learning_rate_suits_the_batch_that_the_space_allows(fit, at):
    fixed = recommended(3e9, 6e10, "adamw", study="ours", posterior=fit, batch_tokens=BATCH)
    found = suggested(at, [], WIDE | {"batch_tokens": nearest([BATCH, 64 * BATCH])}, 0)
    assert found == {"learning_rate": fixed.learning_rate, "batch_tokens": BATCH}


def test_a_number_gives_the_same_settings_and_others_differ(at):
    found = [suggested(at, [], WIDE, number)["learning_rate"] for number in (1, 2, 3, 1)]
    assert found[0] == found[3]
    assert len(set(found)) == 3
    assert suggested(at, [], WIDE, 1, seed=1)["learning_rate"] != found[0]


def test_trials_lead_to_the_draw_that_made_them(at):
    best = optimum_draws(at)
    truth = int(np.argmax(best["learning_rate"]))  # an extreme one: far from the middle of the draws
    found = weights(at, grid_of_trials(at, truth))
    before, after = (
        abs(np.average(np.log(best["learning_rate"]), weights=w) - np.log(best["learning_rate"][truth]))
        for w in (None, found)
    )
    assert after < 0.5 * before
    assert found[truth] > 3 / len(found)
    assert 1 / np.sum(found**2) >= 20 - 1e-6


def test_what_trials_teach_lowers_the_loss_of_the_best(at):
    """Eight worlds, each a draw that the search does not have; their runs have no noise."""
    learnt, blind = [], []
    for truth in range(8):
        others = at_draws(at, np.delete(np.arange(len(at.log_loss)), truth))
        for found, heeds in ((learnt, True), (blind, False)):
            trials: list[Trial] = []
            for number in range(8):
                settings = suggested(others, trials if heeds else [], WIDE, number, seed=truth)
                trials.append(outcome(at, truth, settings))
            found.append(math.log(min(trial.loss for trial in trials)))
    best = [float(at.log_loss[truth]) + math.log(1.7) for truth in range(8)]
    assert np.mean(learnt) - np.mean(best) < 0.6 * (np.mean(blind) - np.mean(best))


def test_one_trial_tells_no_level_but_a_divergence_tells_a_bound(at):
    fine = {"learning_rate": 1e-3, "batch_tokens": BATCH}
    alone = weights(at, [Trial(fine, 3.0)])
    assert 1 / np.sum(alone**2) > 0.9 * len(alone)
    assert weights(at, [Trial(fine, 7.0)]) == pytest.approx(alone), "only differences of ln loss count"
    best = np.log(optimum_draws(at)["learning_rate"])
    for loss in (math.inf, math.nan, None):
        bounded = weights(at, [Trial(fine | {"learning_rate": float(np.exp(best.mean() + 1.5))}, loss)])
        assert np.average(best, weights=bounded) < best.mean() - 0.03


def test_trials_without_learning_rate_or_batch_tell_nothing(at):
    trials = [Trial({"batch_tokens": BATCH}, 3.0), Trial({"learning_rate": 1e-3}, 2.0)]
    assert np.ptp(weights(at, trials)) == 0.0


def test_a_setting_that_was_tried_is_passed_over(at):
    moves = {"learning_rate": nearest([1e-4, 1e-3, 1e-2]), "batch_tokens": nearest([BATCH, 4 * BATCH])}
    trials, seen = [], []
    for number in range(3):
        seen.append(suggested(at, trials, moves, number))
        trials.append(Trial(seen[-1], 3.0))
    assert len({tuple(each.values()) for each in seen}) == 3


def test_bad_input_is_one_clear_error(at, fit):
    with pytest.raises(BadInput, match=r"search: a trial's loss is -0\.5; expected one above 0 in nats"):
        weights(at, [Trial({"learning_rate": 1e-3, "batch_tokens": BATCH}, -0.5)])
    fixed = search_at(Target(3e9, 6e10, "adamw", "ours", BATCH), fit)
    with pytest.raises(BadInput, match="target: batch_tokens = 524288, but the search space has"):
        suggested(fixed, [], WIDE, 0)


def test_weights_are_kept_from_a_single_draw():
    rng = np.random.default_rng(0)
    sharp = 1e4 * rng.standard_normal(200)
    assert 1 / np.sum(tempered(sharp) ** 2) == pytest.approx(20.0)
    flat = tempered(1e-3 * sharp[:100] / 1e4)
    assert flat == pytest.approx(np.exp(1e-3 * sharp[:100] / 1e4) / 100, rel=1e-3)
    assert 1 / np.sum(tempered(sharp[:10]) ** 2) == pytest.approx(5.0), "of few draws, half"
