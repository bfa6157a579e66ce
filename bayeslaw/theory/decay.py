"""Bound with decoupled weight decay, for a star-convex loss (Frank-Wolfe form), and its optima.

K steps x <- (1 - lambda eta) x - eta LMO(m), momentum beta, batches of b samples, T = b K. The expected
excess loss is at most

    F = (1 - lambda eta)^K gap + (A/lambda) eta + (2/lambda) (beta sqrt((1-beta)/(1+beta)) + 1 - beta) noise / sqrt(b)

with A = 4 L (1 + beta^2 / (1-beta)) + 2 lambda beta error / (1-beta). Bound: found in a source (leloykun's
`steepest-descent-lean`), where the noise is sqrt(D) sigma. Optima: derived here, checked numerically.

The decay itself has no optimum inside: the bound falls with it up to the constraint 1 / ||W*||, whatever
batch and samples are.
"""  # noqa: E501

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative, positive

ROUNDS = 200
"""Of the fixed-point iterations; each divides the error by three or more where it is used."""


class Problem(NamedTuple):
    """Constants of the loss and of the decay.

    Attributes:
        decay: lambda, decoupled weight decay per unit of learning rate.
        gap: excess loss at the start [nats].
        smoothness: L, Lipschitz constant of the gradient in the norm of the oracle.
        noise: sqrt(D) sigma, norm equivalence times the noise of one sample's gradient.
        error: dual norm of the momentum's error at the start; 0 where it starts at the gradient.
    """

    decay: float = 0.1
    gap: float = 1.0
    smoothness: float = 1.0
    noise: float = 1.0
    error: float = 0.0


def bound_with_decay(
    learning_rate: ArrayLike, batch: ArrayLike, momentum: ArrayLike, samples: ArrayLike, problem: Problem
) -> Floats:
    """F of the module's formula; arguments broadcast.

    Args:
        learning_rate: eta, at most 1 / lambda.
        batch: b [samples].
        momentum: beta, in [0, 1).
        samples: T.
        problem: its constants.

    Raises:
        BadInput: an argument outside its range.

    >>> float(bound_with_decay(0.5, 4.0, 0.0, 8.0, Problem(decay=1.0)))  # 1/4 + 4/2 + 2/2
    3.25
    """
    place = "bound_with_decay"
    eta, b, t = (
        positive(place, name, value)
        for name, value in (("learning_rate", learning_rate), ("batch", batch), ("samples", samples))
    )
    slope, noise = _slope(place, momentum, problem), _noise(place, momentum, problem)
    decayed = problem.decay * eta
    if (decayed > 1).any():
        raise BadInput(
            f"{place}: decay times learning rate = {decayed.max():g}; expected at most 1, or weights change "
            "sign at each step; lower either"
        )
    left = np.exp(t / b * np.log1p(-np.minimum(decayed, 1 - 1e-16))) * problem.gap
    return np.asarray(left + slope / problem.decay * eta + noise / np.sqrt(b))


def tune_with_decay(steps: ArrayLike, momentum: ArrayLike, problem: Problem) -> Floats:
    """Best learning rate: (1/lambda) (1 - [A / (gap K lambda^2)]^(1/(K-1))).

    Where A >= K gap lambda^2 the bound rises from eta = 0 on, and the answer is 0: too few steps for the
    bound to say anything. Derived here, checked numerically; exact.

    Args:
        steps: K, above 1.
        momentum: beta, in [0, 1).
        problem: its constants.

    Raises:
        BadInput: an argument outside its range.

    >>> print([f"{rate:.3g}" for rate in tune_with_decay([100, 1e6], 0.0, Problem(decay=0.1))])
    ['0', '7.82e-05']
    """
    k = positive("tune_with_decay", "steps", steps)
    if (k <= 1).any():
        raise BadInput(f"tune_with_decay: steps = {k.min():g}; expected more than 1; train for longer")
    inside = np.log(k * problem.gap * problem.decay**2 / _slope("tune_with_decay", momentum, problem))
    return np.asarray(-np.expm1(-np.maximum(inside, 0.0) / (k - 1)) / problem.decay)


def best_timescale(steps: ArrayLike, momentum: ArrayLike, problem: Problem) -> Floats:
    """lambda eta K at the best learning rate, near ln(K gap lambda^2 / A): it grows with the logarithm of K.

    It is 1 / tau of Power Lines (arXiv 2505.13738, from a secondary source): the number of times that the
    weights are forgotten. Derived here, checked numerically.

    Raises:
        BadInput: an argument outside its range.

    >>> print(best_timescale([1e6, 1e8], 0.0, Problem(decay=0.1)).round(2))
    [ 7.82 12.43]
    """
    rate = tune_with_decay(steps, momentum, problem)
    return np.asarray(problem.decay * rate * np.asarray(steps, float))


def tune_batch_with_decay(samples: ArrayLike, momentum: ArrayLike, problem: Problem) -> Floats:
    """Best batch [samples] at a fixed momentum, learning rate tuned, for lambda eta << 1.

    Asymptotic: its logarithm is too low by 0.5 to 0.7 lambda eta.

    b^3/2 = n T lambda^2 / (2 A l) with l = ln(T gap lambda^2 / (A b)), n the factor of 1 / sqrt(b) in the
    bound. So b goes as (T / ln T)^2/3 and eta = l b / (lambda T) as (ln T / T)^1/3. Derived here, checked
    numerically.

    Args:
        samples: T.
        momentum: beta, in [0, 1).
        problem: its constants.

    Raises:
        BadInput: an argument outside its range, or too few samples for such an optimum.

    >>> f"{tune_batch_with_decay(1e12, 0.0, Problem(decay=0.1)):.4g}"
    '2.343e+06'
    """
    place = "tune_batch_with_decay"
    t = positive(place, "samples", samples)
    slope, noise = _slope(place, momentum, problem), _noise(place, momentum, problem)
    whole = t * problem.gap * problem.decay**2 / slope
    batch = _fixed_point(whole, noise * t * problem.decay**2 / (2 * slope))
    return _with_optimum(place, batch, whole / batch)


def tune_alpha_with_decay(samples: ArrayLike, batch: ArrayLike, problem: Problem) -> Floats:
    """Best alpha = 1 - momentum at a given batch, learning rate tuned, for lambda eta << 1 and alpha << 1.

    Asymptotic: its logarithm is too high by 2 sqrt(alpha).

    alpha^3/2 = sqrt(2) a l b^3/2 / (lambda T noise) with a = 4 L + 2 lambda error and
    l = ln(T gap lambda^2 alpha / (a b)). So alpha goes as b (ln T / T)^2/3 and eta = l b / (lambda T) as
    b ln T / T. Exponents: found in a source (as the bound). Constants: derived here, checked numerically.

    Raises:
        BadInput: an argument outside its range, or too few samples for such an optimum.

    >>> f"{tune_alpha_with_decay(1e12, 1.0, Problem(decay=0.1)):.4g}"
    '5.509e-07'
    """
    place = "tune_alpha_with_decay"
    t, b = positive(place, "samples", samples), positive(place, "batch", batch)
    _check(place, problem)
    slope = 4 * problem.smoothness + 2 * problem.decay * problem.error
    whole = t * problem.gap * problem.decay**2 / (slope * b)
    inverse = _fixed_point(whole, problem.decay * t * problem.noise / (np.sqrt(2) * slope * b**1.5))
    return 1 / _with_optimum(place, inverse, whole / inverse)


def _fixed_point(whole: Floats, scale: Floats) -> Floats:
    """x with x^3/2 = scale / ln(whole / x)."""
    x = np.ones(np.broadcast_shapes(whole.shape, scale.shape))
    for _ in range(ROUNDS):
        x = (scale / np.log(np.maximum(whole / x, np.e))) ** (2 / 3)
    return x


def _with_optimum(place: str, found: Floats, ratio: Floats) -> Floats:
    if (ratio < np.e).any():
        raise BadInput(
            f"{place}: the bound has no optimum inside for so few samples; expected T gap lambda^2 well "
            "above the terms of smoothness; give more samples or a larger decay"
        )
    return found


def _slope(place: str, momentum: ArrayLike, problem: Problem) -> Floats:
    """A: what multiplies eta / lambda in the bound."""
    _check(place, problem)
    beta = _momentum(place, momentum)
    lag = 4 * problem.smoothness * (1 + beta**2 / (1 - beta))
    return np.asarray(lag + 2 * problem.decay * beta * problem.error / (1 - beta))


def _noise(place: str, momentum: ArrayLike, problem: Problem) -> Floats:
    """What is divided by sqrt(b) in the bound."""
    beta = _momentum(place, momentum)
    kept = beta * np.sqrt((1 - beta) / (1 + beta)) + 1 - beta
    return np.asarray(2 / problem.decay * kept * problem.noise)


def _momentum(place: str, momentum: ArrayLike) -> Floats:
    beta = not_negative(place, "momentum", momentum)
    if (beta >= 1).any():
        raise BadInput(f"{place}: momentum = {beta.max():g}; expected at least 0 and below 1; lower it")
    return beta


def _check(place: str, problem: Problem) -> None:
    for name in ("decay", "gap", "smoothness", "noise"):
        positive(place, name, getattr(problem, name))
    not_negative(place, "error", problem.error)
