"""Weights of draws given new runs: the likelihood, the smoothing, and what it leads to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayeslaw.advice.target_surface import run_draws, surface_at
from bayeslaw.planning.reweighting import log_likelihood, reweight
from bayeslaw.posterior.importance import RELIABLE, smoothed
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior


def runs(loss=(2.9, np.nan, np.nan, np.nan), status=("finished", "diverged", "crashed", "stopped")):
    return pd.DataFrame(
        {
            "study": "ours",
            "optimizer": "adamw",
            "params_nonembedding": 1e8,
            "tokens": 2e9,
            "batch_tokens": 3e5,
            "learning_rate": np.geomspace(1e-3, 2e-2, len(loss)),
            "loss": loss,
            "status": status,
        }
    )


def test_the_likelihood_is_that_of_the_fit():
    fit = fake_posterior(40)
    at = surface_at(fit, Target(1e8, 2e9, "adamw", "ours"))
    table = runs()
    run = run_draws(at, table)
    fall = 0.02 + 0.96 * run.diverges
    mean, scale, dof, _ = (values[:, 0] for values in run.moments)
    expected = stats.t.logpdf(np.log(2.9), dof, mean, scale)
    expected = expected + np.log(1 - fall[:, 0]) + np.log(fall[:, 1]) + np.log(0.5 + 0.5 * fall[:, 2])
    assert log_likelihood(fit, table) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0])
def test_the_shape_of_the_tail_is_found_and_its_end_drawn_in(shape):
    ratios = np.random.default_rng(0).pareto(1 / shape, 20_000) + 1
    weights, k = smoothed(np.log(ratios))
    assert k == pytest.approx(shape, abs=0.1)
    assert weights.sum() == pytest.approx(1.0)
    order = np.argsort(ratios)
    assert (np.diff(weights[order]) >= -1e-15).all()


def test_few_draws_cannot_tell_and_equal_ones_need_not():
    assert smoothed(np.log([1.0, 2.0, 4.0]))[1] == np.inf
    weights, k = smoothed(np.zeros(1000))
    assert weights == pytest.approx(1e-3)
    assert k == -np.inf


def test_no_runs_say_nothing():
    assert not log_likelihood(fake_posterior(40), runs().iloc[:0]).any()


def test_a_run_that_agrees_keeps_the_draws_and_one_that_does_not_is_told():
    fit = fake_posterior(1000)
    at = surface_at(fit, Target(1e8, 2e9, "adamw", "ours"))
    mean = float(np.exp(run_draws(at, runs()).moments.mean[:, 0].mean()))
    weights, k = reweight(fit, runs((mean,), ("finished",)))
    assert k < RELIABLE
    updated = weights @ run_draws(at, runs()).moments.mean[:, 0]
    assert updated == pytest.approx(np.log(mean), abs=5e-3)
    _, far = reweight(fit, runs((0.5 * mean,), ("finished",)))
    assert far > k
