"""Optima with weight decay against the roots of the bound's derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from bayeslaw.errors import BadInput
from bayeslaw.theory.decay import (
    Problem,
    best_timescale,
    bound_with_decay,
    tune_alpha_with_decay,
    tune_batch_with_decay,
    tune_with_decay,
)
from tests.theory.brute_force import slope

PROBLEMS = (Problem(), Problem(decay=0.5, gap=4.0, smoothness=0.3, noise=2.0, error=1.5))


def root(derivative, near):
    """Where a derivative vanishes within a factor of e of a place: in logarithms, to the last digits."""
    return brentq(derivative, np.log(near) - 1, np.log(near) + 1, xtol=1e-13, rtol=1e-14)


def by_steps(rate, steps, momentum, problem):
    quiet = problem._replace(noise=1e-30)  # it holds no learning rate, but costs digits
    return bound_with_decay(rate, 1.0, momentum, steps, quiet)


def of_smoothness(momentum, problem):
    """A of the module's formula."""
    lag = 4 * problem.smoothness * (1 + momentum**2 / (1 - momentum))
    return lag + 2 * problem.decay * momentum * problem.error / (1 - momentum)


def of_noise(momentum, problem):
    """What is divided by sqrt(b) in it."""
    kept = momentum * np.sqrt((1 - momentum) / (1 + momentum)) + 1 - momentum
    return 2 / problem.decay * kept * problem.noise


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("momentum", [0.0, 0.934])
@pytest.mark.parametrize("steps", [1e6, 1e9, 1e12])
def test_the_learning_rate_is_the_root_of_the_derivative(steps, momentum, problem):
    def derivative(x):
        left = np.exp((steps - 1) * np.log1p(-problem.decay * np.exp(x)))
        return of_smoothness(momentum, problem) / problem.decay - problem.gap * steps * problem.decay * left

    found = tune_with_decay(steps, momentum, problem)
    assert np.log(found) == pytest.approx(root(derivative, found), abs=1e-9)
    around = by_steps(found * np.array([0.99, 1.0, 1.01]), steps, momentum, problem)
    assert np.argmin(around) == 1


def test_too_few_steps_leave_no_learning_rate():
    rates = np.geomspace(1e-12, 10.0, 200)
    assert tune_with_decay(100, 0.0, Problem()) == 0.0
    assert (np.diff(by_steps(rates, 100, 0.0, Problem())) >= 0).all()


def test_more_decay_is_always_better_in_the_bound():
    def least(decay):
        problem = Problem(decay=decay)
        return bound_with_decay(tune_with_decay(1e9 / 64, 0.9, problem), 64.0, 0.9, 1e9, problem)

    assert (np.diff([least(decay) for decay in np.geomspace(0.01, 10.0, 20)]) < 0).all()


def test_the_timescale_grows_with_the_logarithm_of_the_steps():
    steps = 10.0 ** np.arange(5, 15)
    scales = best_timescale(steps, 0.9, Problem(decay=1.0))
    assert np.diff(scales[3:]) == pytest.approx(np.full(6, np.log(10)), rel=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("momentum", [0.0, 0.934])
@pytest.mark.parametrize("samples", [1e10, 1e14, 1e18])
def test_the_batch_is_the_root_but_for_terms_of_the_order_of_decay_times_rate(samples, momentum, problem):
    def derivative(log_batch):  # of the bound in ln b; the learning rate is at its best, and drops out
        steps = samples / np.exp(log_batch)
        forgotten = -steps * np.log1p(-problem.decay * tune_with_decay(steps, momentum, problem))
        noisy = of_noise(momentum, problem) * np.exp(-log_batch / 2)
        return forgotten * np.exp(-forgotten) * problem.gap - noisy / 2

    found = tune_batch_with_decay(samples, momentum, problem)
    small = problem.decay * tune_with_decay(samples / found, momentum, problem)
    error = np.log(found) - root(derivative, found)
    assert -0.7 < error / small < -0.5


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("samples", [1e12, 1e14, 1e18])
def test_alpha_is_the_root_but_for_twice_its_square_root(samples, problem):
    batch = 64.0

    def derivative(log_alpha):  # of the bound in alpha, learning rate at its best
        alpha = np.exp(log_alpha)
        rate = tune_with_decay(samples / batch, 1 - alpha, problem)
        kept = np.sqrt(alpha / (2 - alpha))
        noisy = 1 - kept + (1 - alpha) / ((2 - alpha) ** 2 * kept)
        lag = 4 * problem.smoothness * (1 / alpha**2 - 1) + 2 * problem.decay * problem.error / alpha**2
        return 2 * noisy * problem.noise / np.sqrt(batch) - rate * lag

    found = tune_alpha_with_decay(samples, batch, problem)
    error = np.log(found) - root(derivative, found)
    assert error == pytest.approx(2 * np.sqrt(found), rel=0.05)


def test_exponents_are_those_of_samples_over_their_logarithm():
    samples = 10.0 ** np.arange(20, 31)
    batch = tune_batch_with_decay(samples, 0.9, Problem())
    logarithm = np.log(samples * 0.01 / (4 * (1 + 0.81 / 0.1) * batch))
    assert slope(batch, samples / logarithm) == pytest.approx(2 / 3, abs=1e-6)
    alpha = tune_alpha_with_decay(samples, 64.0, Problem())
    logarithm = np.log(samples * 0.01 * alpha / (4 * 64.0))
    assert slope(alpha, logarithm / samples) == pytest.approx(2 / 3, abs=1e-6)
    batches = np.array([1.0, 8.0, 64.0])  # alpha is proportional to b: the logarithm stays as it is
    assert slope(tune_alpha_with_decay(1e20, batches, Problem()), batches) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bound_with_decay(20.0, 1.0, 0.9, 1e9, Problem()), "decay times learning rate = 2;"),
        (lambda: tune_with_decay(1.0, 0.9, Problem()), "steps = 1; expected more than 1"),
        (lambda: tune_with_decay(1e6, 1.0, Problem()), "momentum = 1; expected at least 0 and below 1"),
        (lambda: tune_with_decay(1e6, 0.9, Problem(decay=0.0)), "tune_with_decay: decay = 0.0"),
        (lambda: tune_batch_with_decay(1e3, 0.9, Problem()), "no optimum inside for so few samples"),
        (lambda: tune_alpha_with_decay(1e3, 1.0, Problem()), "no optimum inside for so few samples"),
    ],
)
def test_what_the_bound_cannot_use_is_refused(call, said):
    with pytest.raises(BadInput) as refused:
        call()
    assert said in str(refused.value)
