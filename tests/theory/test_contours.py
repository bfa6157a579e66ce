"""Contours and penalties against the bound itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from bayeslaw.theory.contours import (
    batch_penalty,
    contour_batch,
    corner,
    fewest_samples,
    learning_rate_penalty,
)
from bayeslaw.theory.lmo import UNIT, bound, proxy_constants, tune_at_momentum, tune_learning_rate

ALPHA, SAMPLES = 0.066, 1e10
PROXY = UNIT._replace(burn_in=0.0)
CONSTANTS = [float(each) for each in proxy_constants(ALPHA, PROXY)]


def retuned(batch, samples):
    return bound(tune_learning_rate(batch, ALPHA, samples, PROXY), batch, ALPHA, samples, PROXY)


@pytest.mark.parametrize("level", [0.01, 0.3])
def test_the_bound_is_the_level_all_along_a_contour(level):
    least = corner(level, *CONSTANTS)
    steps = least.steps * np.geomspace(1.01, 1e6, 20)
    batches = contour_batch(level, steps, *CONSTANTS)
    assert retuned(batches, batches * steps) == pytest.approx(np.full(20, level))
    identity = np.sqrt(least.steps / steps) + np.sqrt(least.batch / batches)
    assert identity == pytest.approx(np.ones(20))


def test_no_batch_reaches_a_level_in_too_few_steps():
    assert np.isinf(contour_batch(0.3, corner(0.3).steps * np.array([0.5, 1.0]))).all()


def test_the_fewest_samples_are_at_four_times_both_corners():
    cheapest, least = fewest_samples(0.3, *CONSTANTS), corner(0.3, *CONSTANTS)
    assert contour_batch(0.3, cheapest.steps, *CONSTANTS) == pytest.approx(4 * least.batch)
    found = minimize_scalar(
        lambda x: x + np.log(contour_batch(0.3, np.exp(x), *CONSTANTS)),
        bounds=(np.log(1.1 * least.steps), np.log(100 * least.steps)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found.x == pytest.approx(np.log(cheapest.steps), abs=1e-6)
    assert np.exp(found.fun) == pytest.approx(16 * least.steps * least.batch)


def test_penalties_are_those_of_the_bound():
    ratios = np.geomspace(1 / 30, 30, 13)
    best = tune_at_momentum(SAMPLES, ALPHA, PROXY)
    assert retuned(ratios * best.batch, SAMPLES) / best.bound == pytest.approx(batch_penalty(ratios))
    off = bound(ratios * best.learning_rate, best.batch, ALPHA, SAMPLES, PROXY)
    assert off / best.bound == pytest.approx(learning_rate_penalty(ratios))


def test_the_printed_penalties():
    assert batch_penalty([2, 4, 8]) == pytest.approx([1.06, 1.25, 1.59], abs=0.005)
    assert learning_rate_penalty([2, 4]) - 1 == pytest.approx([0.125, 0.5625])
