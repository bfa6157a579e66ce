"""Theorem 3, and the continuum of batch-growth paths."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.lmo import UNIT, bound_coefficients, largest_batch
from bayeslaw.theory.paths import next_order, path_exponents, tune_all, tune_given_batch
from tests.theory.brute_force import least, lmo_bound, slope

CONSTANTS = (
    bound_coefficients(),
    bound_coefficients(gap=3.0, smoothness=0.2, noise=2.0),
    bound_coefficients(gap=0.5, smoothness=2.0, noise=4.0),
)


@pytest.mark.parametrize("c", CONSTANTS)
@pytest.mark.parametrize("samples", 10.0 ** np.arange(6, 19, 2))
def test_theorem_3_makes_the_next_order_least(samples, c):
    best = tune_all(samples, c)
    place, _ = least(lambda x: next_order(samples, np.exp(x), c), [0.0])
    assert best.batch < largest_batch(samples, c)
    assert np.log(best.batch) == pytest.approx(place[0], abs=1e-6)


@pytest.mark.parametrize("c", CONSTANTS)
def test_the_full_bounds_optimum_tends_to_theorem_3(c):
    off = []
    for samples in (1e6, 1e9, 1e12):
        place, value = least(
            lambda x, y, z, t=samples: lmo_bound(exp(x), exp(y), exp(-(z**2)), t, c),
            [-7 / 12 * np.log(samples), 1.0, 2.0],
        )
        best = tune_all(samples, c)
        off.append(abs(np.log(best.batch) - place[1]))
        assert best.bound <= value  # without drift and burn-in
    assert off[2] < off[0] < 0.2
    assert off[2] < 0.02


def test_the_constant_and_the_exponents_of_theorem_3():
    samples = 10.0 ** np.arange(6, 19)
    best = tune_all(samples, bound_coefficients())
    assert f"{best.batch[0] / 10:.4f}" == "0.3865"
    found = [slope(each, samples) for each in best._replace(bound=best.bound)]
    assert found == pytest.approx([-7 / 12, 1 / 6, -1 / 3, -1 / 4])
    assert path_exponents(1 / 6) == pytest.approx((1 / 6, -1 / 3, -7 / 12, -1 / 4))


@pytest.mark.parametrize("q", [0.0, 1 / 6, 0.25, 0.4])
def test_each_path_has_its_exponents_and_the_same_rate(q):
    samples = np.array([1e30, 1e32, 1e34])  # far out, where the leading order is all
    best = tune_given_batch(samples, samples**q, bound_coefficients())
    found = [slope(each, samples) for each in (best.batch, best.alpha, best.learning_rate, best.bound)]
    assert found == pytest.approx(list(path_exponents(q)), abs=0.01)


@pytest.mark.parametrize("samples", [1e6, 1e12])
@pytest.mark.parametrize("batch", [1.0, 300.0, 1e5])
@pytest.mark.parametrize("c", [UNIT, *CONSTANTS])
def test_the_numerical_optimum_is_the_minimum(samples, batch, c):
    best = tune_given_batch(samples, batch, c)
    place, value = least(lambda x, y: lmo_bound(exp(x), batch, exp(-(y**2)), samples, c), [-5.0, 1.5])
    assert best.bound == pytest.approx(value, rel=1e-6)
    assert np.log([best.learning_rate, best.alpha]) == pytest.approx([place[0], -(place[1] ** 2)], abs=1e-6)


def test_how_flat_the_bound_is():
    """F(b = T^q) over the least at T = 1e12, and the batches within 1% of it."""
    c = bound_coefficients()
    batches = np.geomspace(1.0, 1e6, 20_001)
    for samples, widest in ((1e6, 25), (1e9, 552), (1e12, 16_497)):
        values = tune_given_batch(samples, batches, c).bound
        near = batches[values <= 1.01 * values.min()]
        assert near[0] == 1.0
        assert near[-1] == pytest.approx(widest, rel=0.02)
    q = np.array([0, 1 / 3, 0.4, 0.45, 0.5, 0.55])
    ratios = tune_given_batch(1e12, 1e12**q, c).bound / values.min()
    assert ratios == pytest.approx([1.000, 1.006, 1.037, 1.13, 1.40, 2.18], abs=0.005)


def test_what_fixes_no_batch_is_refused():
    with pytest.raises(BadInput, match=r"tune_all: drift = 0\.0"):
        tune_all(1e9, UNIT)
    with pytest.raises(BadInput, match=r"path_exponents: q = 0\.6"):
        path_exponents(0.6)
