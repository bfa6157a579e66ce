"""Best batch with the burn-in against brute force, on both sides of where burn-in ends."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from bayeslaw.theory.burn_in import burn_in_samples, tune_with_burn_in
from bayeslaw.theory.lmo import UNIT, bound_coefficients, tune_at_momentum
from tests.theory.brute_force import least, lmo_bound


@pytest.mark.parametrize("c", [UNIT, bound_coefficients(gap=3.0, noise=11.0)])
@pytest.mark.parametrize("alpha", [0.001, 0.066])
@pytest.mark.parametrize("samples", 10.0 ** np.arange(4, 19, 2))
def test_the_optimum_is_the_minimum_over_learning_rate_and_batches_of_a_sample_or_more(samples, alpha, c):
    best = tune_with_burn_in(samples, alpha, c)
    place, value = least(
        lambda x, y: lmo_bound(exp(x), exp(y**2), alpha, samples, c), [-0.25 * np.log(samples), 2.0]
    )
    assert best.bound == pytest.approx(value, rel=1e-6)
    assert np.log([best.learning_rate, best.batch]) == pytest.approx([place[0], place[1] ** 2], abs=1e-6)


@pytest.mark.parametrize("alpha", [0.001, 0.066])
def test_burn_in_ends_where_the_best_batch_leaves_one_sample(alpha):
    end = burn_in_samples(alpha)
    assert tune_with_burn_in(end, alpha, smallest=1e-9).batch == pytest.approx(1.0)
    assert 1.0 <= end * alpha**2 / 4 <= 1.13


def test_long_after_burn_in_it_is_theorem_1():
    full, plain = tune_with_burn_in(1e18, 0.066), tune_at_momentum(1e18, 0.066)
    assert full.batch == pytest.approx(float(plain.batch), rel=1e-6)
    assert full.batch == pytest.approx(0.066 / 2 * 1e9, rel=1e-6)
