"""Theorems 1 and 2 against brute-force minimisation of the bound, from 1e4 to 1e18 samples."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.lmo import (
    UNIT,
    Coefficients,
    bound,
    bound_coefficients,
    largest_batch,
    momentum_exponent,
    proxy_constants,
    tune_at_batch,
    tune_at_momentum,
    tune_learning_rate,
)
from tests.theory.brute_force import least, lmo_bound, slope

SAMPLES = 10.0 ** np.arange(4, 19, 2)
ALPHAS = (0.001, 0.066)  # momentum 0.999 and 0.934
BATCH = 1072.0
CONSTANTS = (UNIT, bound_coefficients(), bound_coefficients(gap=3.0, smoothness=0.2, noise=11.0))


def without(c, *terms):
    return c._replace(**dict.fromkeys(terms, 0.0))


@pytest.mark.parametrize("c", CONSTANTS)
def test_the_bound_is_its_formula(c):
    assert bound(0.01, 30.0, 0.2, 1e5, c) == pytest.approx(lmo_bound(0.01, 30.0, 0.2, 1e5, c), rel=1e-14)


@pytest.mark.parametrize("c", CONSTANTS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("samples", SAMPLES)
def test_theorem_1_is_the_minimum_over_learning_rate_and_batch(samples, alpha, c):
    best = tune_at_momentum(samples, alpha, c)
    reduced = without(c, "burn_in")
    place, value = least(
        lambda x, y: lmo_bound(exp(x), exp(y), alpha, samples, reduced),
        [-0.25 * np.log(samples), 0.5 * np.log(samples)],
    )
    assert best.bound == pytest.approx(value, rel=1e-6)
    assert np.log([best.learning_rate, best.batch]) == pytest.approx(place, abs=1e-6)
    assert bound(best.learning_rate, best.batch, alpha, samples, reduced) == pytest.approx(best.bound)


@pytest.mark.parametrize("c", CONSTANTS)
@pytest.mark.parametrize("samples", SAMPLES)
def test_theorem_2_is_the_minimum_over_learning_rate_and_momentum(samples, c):
    best = tune_at_batch(samples, BATCH, c)
    reduced = without(c, "burn_in", "drift")
    place, value = least(  # alpha = exp(-y^2) is at most 1
        lambda x, y: lmo_bound(exp(x), BATCH, exp(-(y**2)), samples, reduced), [-5.0, 1.5]
    )
    assert best.bound == pytest.approx(value, rel=1e-6)
    assert np.log([best.learning_rate, best.alpha]) == pytest.approx([place[0], -(place[1] ** 2)], abs=1e-6)


@pytest.mark.parametrize("c", CONSTANTS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("samples", SAMPLES)
def test_the_learning_rate_at_a_batch_is_that_of_the_full_bound(samples, alpha, c):
    quiet = c._replace(noise=0.0, burn_in=0.0)  # they hold no learning rate, but cost digits
    place, _ = least(lambda x: lmo_bound(exp(x), BATCH, alpha, samples, quiet), [-5.0])
    assert np.log(tune_learning_rate(BATCH, alpha, samples, c)) == pytest.approx(place[0], abs=1e-6)


def test_the_printed_values():
    one = tune_at_momentum(1e8)
    assert float(one.batch) == pytest.approx(5000)
    assert [f"{one.learning_rate:.4e}", f"{one.bound:.4e}"] == ["7.0711e-03", "2.8284e-02"]
    two = tune_at_batch(1e8, 100, bound_coefficients())
    assert [f"{two.alpha:.4e}", f"{two.learning_rate:.3e}", f"{two.bound:.3e}"] == [
        "1.4142e-02",
        "8.409e-05",
        "4.757e-02",
    ]


def test_theorem_1_has_its_exponents():
    best = tune_at_momentum(SAMPLES, 0.066, CONSTANTS[2])
    slopes = [slope(each, SAMPLES) for each in (best.batch, best.learning_rate, best.bound)]
    assert slopes == pytest.approx([0.5, -0.25, -0.25])


def test_theorem_2_has_its_exponents_below_the_cap():
    samples = SAMPLES[SAMPLES > 1e10]
    best = tune_at_batch(samples, BATCH)
    slopes = [slope(each, samples) for each in (best.alpha, best.learning_rate, best.bound)]
    assert slopes == pytest.approx([-0.5, -0.75, -0.25])
    batches = np.array([1.0, 30.0, 1000.0])
    assert slope(tune_at_batch(1e12, batches).learning_rate, batches) == pytest.approx(1.0)
    assert np.ptp(tune_at_batch(1e12, batches).bound) == pytest.approx(0.0, abs=1e-15)


def test_the_cap_of_the_papers_figure_is_at_four_batches_squared():
    assert largest_batch(4 * BATCH**2) == pytest.approx(BATCH)
    around = tune_at_batch(4 * BATCH**2 * np.array([0.99, 1.01]), BATCH)
    assert around.alpha[0] == 1.0
    assert around.alpha[1] < 1.0


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-6])
def test_the_momentum_exponent_is_the_derivative(alpha):
    c, step = bound_coefficients(), 1e-5
    rates = tune_learning_rate(BATCH, alpha * np.exp([-step, step]), 1e9, c)
    assert momentum_exponent(alpha, c) == pytest.approx(np.diff(np.log(rates))[0] / (2 * step), rel=1e-6)


def test_the_proxy_is_the_bound_without_burn_in():
    c1, c2, c3 = proxy_constants(0.066, CONSTANTS[2])
    eta, b, steps = 0.01, 50.0, 1e5
    whole = bound(eta, b, 0.066, b * steps, without(CONSTANTS[2], "burn_in"))
    assert c1 / (eta * steps) + c2 / np.sqrt(b) + c3 * eta == pytest.approx(whole)


def test_arguments_broadcast():
    assert tune_at_momentum(SAMPLES[:, None], np.array(ALPHAS)).batch.shape == (len(SAMPLES), 2)
    assert all(each.shape == (3,) for each in tune_at_batch(1e9, [1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda: bound(0.0, 1.0, 1.0, 1.0), "bound: learning_rate = 0.0"),
        (lambda: bound(1.0, 1.0, 2.0, 1.0), "bound: alpha = 2.0"),
        (lambda: tune_at_momentum(np.nan), "tune_at_momentum: samples = nan"),
        (lambda: tune_at_batch(1e9, -1.0), "tune_at_batch: batch = -1.0"),
        (lambda: tune_at_batch("many", 1.0), "tune_at_batch: samples = 'many'"),
        (lambda: largest_batch(1e9, Coefficients(1, 0, 1, 1, 1)), "largest_batch: noise = 0.0"),
        (lambda: bound_coefficients(smoothness=np.inf), "bound_coefficients: smoothness = inf"),
    ],
)
def test_what_no_formula_can_use_is_refused(call, place):
    with pytest.raises(BadInput) as refused:
        call()
    assert str(refused.value).startswith(f"{place}; expected ")
