"""A prediction given the curvature of one's own network: precision weighting, disagreement, refusals."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from bayeslaw.advice.curvature import CurvatureLaw, condition, fit_line, read_law, resampled
from bayeslaw.advice.prediction import predict
from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at, with_coordinate
from bayeslaw.errors import BadInput
from bayeslaw.posterior.importance import RELIABLE
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.studies.curvature import SWEEP
from tests.studies.curvature_advice import alike, line_of, networks
from tests.support.fakes import fake_posterior

HERE = Target(2.5e4, 131_072, "adamw", None, 512)
LOG_BATCH = np.log(512)
MIDDLE, SPREAD = -4.0, 0.5
RANGES = {
    "lambda_max": (400.0, 900.0),
    "params_nonembedding": (3e3, 1e5),
    "tokens": (1.3e5, 1.4e5),
    "batch_tokens": (512.0, 512.0),
}


def line(level=MIDDLE, sd=0.3, networks=400):
    """At lambda = 500 a best rate of exp(level), all but Gaussian."""
    return CurvatureLaw(networks, level, -2.0, np.log(500), 1e6, sd, RANGES, "measured so")


@pytest.fixture(scope="module")
def at():
    """ln of the best rate at the batch normal, with mean ``MIDDLE`` and standard deviation ``SPREAD``."""
    plain = surface_at(fake_posterior(4000), HERE, independent=True)
    draws = MIDDLE + SPREAD * np.random.default_rng(0).standard_normal(4000)
    return with_coordinate(plain, "lr", plain.log_lr + draws - log_lr_at_batch(plain, LOG_BATCH))


def test_precisions_add_and_the_mean_is_weighted_by_them(at):
    found = condition(at, 500.0, law=line(level=MIDDLE + 0.4))
    rates = log_lr_at_batch(found.surface, LOG_BATCH)
    precisions = np.array([SPREAD**-2, 0.3**-2])
    assert rates.mean() == pytest.approx(MIDDLE + 0.4 * precisions[1] / precisions.sum(), abs=0.02)
    assert rates.std() == pytest.approx(precisions.sum() ** -0.5, rel=0.04)
    assert found.told["narrowed_to"] == pytest.approx(precisions.sum() ** -0.5 / SPREAD, rel=0.05)
    assert np.log(found.told["median"]) == pytest.approx(MIDDLE + 0.4)
    assert np.log(found.told["upper"]) == pytest.approx(MIDDLE + 0.4 + 1.645 * 0.3, abs=0.01)
    assert found.told["pareto_k"] < RELIABLE
    assert found.warnings == []


def test_a_line_that_knows_nothing_changes_nothing(at):
    found = condition(at, 500.0, law=line(sd=30.0))
    assert found.told["narrowed_to"] == pytest.approx(1, abs=0.01)
    assert np.array_equal(found.surface.log_loss, at.log_loss)


def test_few_networks_have_heavier_tails(at):
    few, many = (condition(at, 500.0, law=line(networks=n)).told for n in (5, 4000))
    assert few["upper"] / few["lower"] > 1.5 * many["upper"] / many["lower"]


def test_disagreement_is_told(at):
    found = condition(at, 500.0, law=line(level=MIDDLE + 4, sd=0.05, networks=4000))
    assert found.told["pareto_k"] > RELIABLE
    assert "the posterior and lambda_max disagree (Pareto k" in found.warnings[-1]


def test_what_lies_outside_the_measured_networks_is_told(at):
    far = replace(at, target=replace(HERE, params_nonembedding=4e5))
    assert condition(far, 500.0, law=line()).warnings == [
        "params_nonembedding lies 0.6 decades beyond the networks on which lambda_max was measured"
    ]
    assert condition(at, 1000.0, law=line()).warnings == [
        "lambda_max = 1000 lies outside the 400 to 900 of the measured networks"
    ]


@pytest.mark.parametrize(
    ("change", "lambda_max", "message"),
    [
        ({}, -1.0, "--lambda-max -1: expected a number above 0; measure it again"),
        ({}, 87.6, "--lambda-max 87.6: the measured networks have "),
        ({}, np.nan, "--lambda-max nan: expected a number above 0; measure it again"),
        (
            {"batch_tokens": None},
            500.0,
            "--lambda-max: given without --batch-tokens; expected the batch it was ",
        ),
        ({"optimizer": "lion"}, 500.0, "--lambda-max: what it says of lion's best rate was never measured; "),
        (
            {"params_nonembedding": 7e9, "tokens": 1.4e11},
            500.0,
            "--lambda-max: params_nonembedding lies 4.2 decades beyond the networks that it was measured on",
        ),
        (
            {"tokens": 524_288},
            500.0,
            "--lambda-max: tokens lies 0.6 decades beyond the networks that it was measured on (131072 to "
            "131072); expected at most 1.5 times beyond",
        ),
    ],
)
def test_what_was_never_measured_is_refused(change, lambda_max, message):
    with pytest.raises(BadInput) as caught:
        predict(fake_posterior(100), replace(HERE, **change), lambda_max=lambda_max)
    assert str(caught.value).startswith(message)


def test_the_prediction_says_by_how_much_it_narrows():
    fit = fake_posterior(1000)
    alone, given = predict(fit, HERE), predict(fit, HERE, lambda_max=520.0)
    assert "curvature" not in alone.to_json()
    assert given.curvature["narrowed_to"] < 0.9
    widths = [
        np.log(each.optimum["learning_rate"].upper / each.optimum["learning_rate"].lower)
        for each in (alone, given)
    ]
    assert widths[1] / widths[0] == pytest.approx(given.curvature["narrowed_to"], rel=1e-3)
    (line,) = [text for text in given.sections()[0].lines if text.startswith("curvature")]
    assert "times as wide with it, in logarithms (Pareto k" in line
    assert given.to_json()["curvature"] == dict(given.curvature)


def test_draws_stand_for_their_weights():
    weights = np.random.default_rng(0).dirichlet(np.ones(50))
    counts = np.bincount(resampled(weights), minlength=50)
    assert counts.sum() == 50
    assert np.abs(counts - 50 * weights).max() < 1


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(30)
    y = 1 - 2 * x + 0.1 * rng.standard_normal(30)
    level, slope, sd = fit_line(x, y)
    coefs = np.polyfit(x, y, 1)
    assert (slope, level) == pytest.approx((coefs[0], np.polyval(coefs, x.mean())))
    assert sd == pytest.approx(np.sqrt(np.sum((y - np.polyval(coefs, x)) ** 2) / 28))


def test_the_shipped_line_is_that_of_the_shipped_sweep():
    """Otherwise: python -m tests.studies.curvature_advice run."""
    shipped, now = asdict(read_law("adamw")), asdict(line_of(alike(networks(read_runs(SWEEP), "adamw"))))
    ranges = shipped.pop("ranges"), now.pop("ranges")
    assert {k: v for k, v in shipped.items() if k != "measured"} == pytest.approx(
        {k: v for k, v in now.items() if k != "measured"}, rel=1e-4
    )
    for name, ends in ranges[0].items():
        assert ends == pytest.approx(ranges[1][name], rel=1e-4)
