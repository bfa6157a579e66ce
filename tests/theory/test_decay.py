"""Optima with weight decay against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

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


def lowest(value, low, high):
    """Minimum over a logarithm: a grid, then a bounded search about its best."""
    grid = np.linspace(low, high, 2001)
    best = grid[np.argmin(value(grid))]
    step = grid[1] - grid[0]
    options = {"xatol": 1e-10}
    return minimize_scalar(value, bounds=(best - step, best + step), method="bounded", options=options).x


def by_steps(rate, steps, momentum, problem):
    quiet = problem._replace(noise=1e-30)  # it holds no learning rate, but costs digits
    return bound_with_decay(rate, 1.0, momentum, steps, quiet)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("momentum", [0.0, 0.934])
@pytest.mark.parametrize("steps", [1e6, 1e9, 1e12])
def test_the_learning_rate_is_the_minimum(steps, momentum, problem):
    found = lowest(
        lambda x: by_steps(np.exp(x), steps, momentum, problem),
        np.log(1e-4 / steps),
        np.log(0.99 / problem.decay),
    )
    assert np.log(tune_with_decay(steps, momentum, problem)) == pytest.approx(found, abs=1e-5)


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
def test_the_batch_is_the_minimum(momentum, problem):
    samples = 1e14

    def retuned(log_batch):
        rate = tune_with_decay(samples / np.exp(log_batch), momentum, problem)
        return bound_with_decay(rate, np.exp(log_batch), momentum, samples, problem)

    found = lowest(retuned, np.log(1.0), np.log(1e9))
    assert np.log(tune_batch_with_decay(samples, momentum, problem)) == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_momentum_is_the_minimum(problem):
    samples, batch = 1e14, 64.0

    def retuned(log_alpha):
        momentum = 1 - np.exp(log_alpha)
        rate = tune_with_decay(samples / batch, momentum, problem)
        return bound_with_decay(rate, batch, momentum, samples, problem)

    found = lowest(retuned, np.log(1e-7), np.log(0.1))
    assert np.log(tune_alpha_with_decay(samples, batch, problem)) == pytest.approx(found, abs=0.02)


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
