"""How much is the prior's: contraction against closed forms, power-scaling where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from bayeslaw.diagnosis.prior_sensitivity import SENSITIVE, log_priors, power_scaling, prior_part
from bayeslaw.law.parameters import PARAMETERS, SPREAD_LOG_SD
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted

TARGET = Target(1e10, 2e11, "adamw", "ours")
NORMAL = norm.ppf((np.arange(1000) + 0.5) / 1000)[np.random.default_rng(0).permutation(1000)]


def by_name(parts):
    return {part.quantity: part for part in parts}


def test_contraction_is_that_of_the_variances():
    told = by_name(prior_part(fake_posterior(1000), TARGET))
    family = PARAMETERS["beta"]
    spreads = family.between_optimizers**2 + family.between_studies**2
    prior = family.sd**2 + spreads * np.exp(2 * SPREAD_LOG_SD**2)
    assert told["beta"].prior_sd == pytest.approx(np.sqrt(prior), rel=0.05)
    assert told["beta"].posterior_sd == pytest.approx(0.1 * family.sd, rel=0.1)
    assert told["beta"].contraction == pytest.approx(1 - (0.1 * family.sd) ** 2 / prior, abs=0.002)
    assert not any(part.prior_decides for part in told.values())


def test_without_runs_the_prior_decides_all():
    told = prior_part(prior_posterior(parts=()), replace(TARGET, study=None))
    assert [part.quantity for part in told] == [
        *("learning_rate", "batch_tokens", "gamma", "delta", "epsilon", "alpha", "beta"),
    ]
    assert all(part.prior_decides and abs(part.contraction) < 0.2 for part in told)
    assert all(part.prior_pulls for part in told)


@pytest.mark.parametrize(
    ("width", "centre", "pulls"), [(0.1, 0.0, False), (0.5, 3.0, True), (1.0, 0.0, True)]
)
def test_a_prior_pulls_where_it_is_narrow_or_far(width, centre, pulls):
    """A posterior of ``width`` at ``centre`` prior sd: measured well, measured elsewhere, hardly measured."""
    draws = centre + width * NORMAL
    told = power_scaling({"x": draws}, {"x": norm.logpdf(draws), "none": norm.logpdf(NORMAL[::-1])})["x"]
    assert (told["x"] > SENSITIVE) == pulls
    assert told["none"] < SENSITIVE


def test_the_threshold_is_about_a_quarter_of_an_sd():
    """Of the mean, where the prior's power doubles."""
    tilt = 0.25 / np.log(2)
    told = power_scaling({"x": NORMAL}, {"x": tilt * NORMAL})["x"]["x"]
    assert told == pytest.approx(SENSITIVE, rel=0.2)


def test_the_log_prior_of_a_family_is_that_of_one_group():
    fit = fake_posterior(5)
    told = log_priors(fit, TARGET)
    mean, sd = fit.group_prior["alpha"]
    family = PARAMETERS["alpha"]
    variance = sd**2 + family.between_optimizers**2 + family.between_studies**2
    values = fit.group["alpha"][:, 0]
    at_medians = 2 * norm.logpdf(0.0, 0.0, SPREAD_LOG_SD)
    assert told["alpha"] == pytest.approx(norm.logpdf(values, mean, np.sqrt(variance)) + at_medians)
    assert told["bend"] == pytest.approx(norm.logpdf(fit.common["bend"], *fit.common_prior["bend"]))
    assert set(told) == {"bend", *fit.group_prior, *fit.study_prior}


def test_a_quantity_that_does_not_vary_is_pulled_by_nothing():
    fit = shifted(fake_posterior(100), beta=12.0)
    told = by_name(prior_part(fit, TARGET))["beta"]
    assert (told.contraction, told.sensitivity) == (1.0, 0.0)
