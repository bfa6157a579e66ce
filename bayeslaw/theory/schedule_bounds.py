"""Two numbers of a schedule's shape, and what convex theory makes of them.

For a schedule eta_i = eta s_i over T steps, with s = 1 at the peak, the excess loss of the last iterate of
(sub)gradient descent on a convex loss is at most

    Omega = R^2 X1 / eta + eta G^2 X2,    X1 = 1 / (2 sum s),
    X2 = sum s^2 / (2 sum s) + 1/2 sum_{k<T} (s_k / sum_{t>k} s_t) (sum_{t>=k} s_t^2 / sum_{t>=k} s_t),

with R the distance to the optimum and G the bound on gradients. Bound: found in a source (Schaipp et al.,
arXiv 2501.18965, and their code). Split into X1 and X2: derived here, checked numerically.

X2 of a constant schedule grows with ln T; those of schedules that decay to 0 do not depend on T. Warm-up has
no benefit in this theory: it must come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import not_negative, positive

DECAYS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda left: left,
    "cosine": lambda left: (1 - np.cos(np.pi * left)) / 2,
    "root": lambda left: 1 - np.sqrt(1 - left),
    "square": lambda left: left**2,
}
"""Decay -> fraction of the way from the final rate to the peak, of the share of the decay that is left."""


class Scalars(NamedTuple):
    """Two numbers of a schedule.

    Attributes:
        distance: X1 of a shape; of learning rates, X1 / eta.
        noise: X2 of a shape; of learning rates, eta X2.
    """

    distance: float
    noise: float


def schedule_shape(
    steps: int, decay: str = "linear", share: float = 1.0, final: float = 0.0, warmup: float = 0.0
) -> Floats:
    """Learning rates over their peak, shape (steps,): after warm-up constant, then falling.

    The peak is that of the step before the decay, the final ratio that of the step after the last: a linear
    schedule is 1 - i / (T + 1), i = 1 to T.

    Args:
        steps: T.
        decay: a key of ``DECAYS``; ``root`` is 1 - sqrt.
        share: of the steps in which the rate decays, at the end; below 1 the rest is constant (WSD), and 0 is
            a constant schedule.
        final: last ratio.
        warmup: share of the steps in which the rate rises linearly from 0.

    Raises:
        BadInput: an unknown decay, or shares outside 0 to 1.

    >>> print(schedule_shape(4), schedule_shape(6, share=0.5, warmup=0.33))
    [0.8 0.6 0.4 0.2] [0.5  1.   1.   0.75 0.5  0.25]
    """
    if decay not in DECAYS:
        raise BadInput(f"schedule_shape: decay = {decay!r}; expected one of {', '.join(DECAYS)}; name one")
    if not (isinstance(steps, (int, np.integer)) and steps > 0):
        raise BadInput(
            f"schedule_shape: steps = {steps!r}; expected a whole number above 0; give it as 20000"
        )
    for name, value in (("share", share), ("final", final), ("warmup", warmup)):
        if not not_negative("schedule_shape", name, value) <= 1:
            raise BadInput(f"schedule_shape: {name} = {value!r}; expected 0 to 1; give a share, not steps")
    if share + warmup > 1 and share < 1:
        raise BadInput(
            f"schedule_shape: share + warmup = {share + warmup:g}; expected at most 1; shorten one of them"
        )
    rising = round(warmup * steps)
    falling = min(round(share * steps), steps - rising)
    rates = np.ones(steps)
    rates[:rising] = np.arange(1, rising + 1) / rising if rising else []
    left = np.arange(falling, 0, -1) / (falling + 1)
    rates[steps - falling :] = final + (1 - final) * DECAYS[decay](left)
    return rates


def schedule_scalars(learning_rates: ArrayLike) -> Scalars:
    """X1 and X2, of the rates as they are given: of a shape, or of learning rates.

    Steps at the end with a rate of 0 change nothing and are left out.

    Args:
        learning_rates: at each step, shape (T,).

    Raises:
        BadInput: no rates, rates that are negative or not finite, or all 0.

    >>> linear = schedule_scalars(schedule_shape(20_000))
    >>> f"{20_000 * linear.distance:.4f} {linear.noise:.4f}"
    '1.0000 1.0004'
    """
    return _scalars("schedule_scalars", learning_rates)


def _scalars(place: str, learning_rates: ArrayLike) -> Scalars:
    s = _rates(place, learning_rates)
    rest, squares = _tail(s), _tail(s**2)
    last = s[:-1] / rest[1:] * squares[:-1] / rest[:-1]
    return Scalars(float(0.5 / rest[0]), float(squares[0] / (2 * rest[0]) + 0.5 * last.sum()))


def convex_bound(learning_rates: ArrayLike, distance: float = 1.0, gradient: float = 1.0) -> float:
    """Omega: bound on the excess loss after the last step, R^2 X1 / eta + eta G^2 X2.

    Args:
        learning_rates: at each step, shape (T,).
        distance: R, from the start to the optimum.
        gradient: G, the largest norm of a gradient.

    Raises:
        BadInput: as ``schedule_scalars``, or a distance or gradient that is not above 0.

    >>> convex_bound([0.5])  # one step: (R^2 + eta^2 G^2) / (2 eta)
    1.25
    """
    far, steep = (
        positive("convex_bound", "distance", distance),
        positive("convex_bound", "gradient", gradient),
    )
    x = _scalars("convex_bound", learning_rates)
    return float(far**2 * x.distance + steep**2 * x.noise)


def convex_optimum(shape: ArrayLike, distance: float = 1.0, gradient: float = 1.0) -> tuple[float, float]:
    """Best learning rate to multiply a schedule's shape with, and the bound there.

    eta* = (R/G) sqrt(X1/X2) and Omega* = 2 R G sqrt(X1 X2). Derived here, checked numerically.

    Raises:
        BadInput: as ``convex_bound``.

    >>> convex_optimum([1.0])  # X1 = X2 = 1/2
    (1.0, 1.0)
    """
    far = float(positive("convex_optimum", "distance", distance))
    steep = float(positive("convex_optimum", "gradient", gradient))
    x = _scalars("convex_optimum", shape)
    ratio, product = x.distance / x.noise, x.distance * x.noise
    return far / steep * float(np.sqrt(ratio)), 2 * far * steep * float(np.sqrt(product))


def learning_rate_shift(old: ArrayLike, new: ArrayLike) -> float:
    """Change of the best ln peak learning rate from one schedule to another: a law without a parameter.

    1/2 ln[(X1/X2)_new / (X1/X2)_old]. Strictly, of the number that multiplies the shape.

    Derived here, checked numerically.

    Args:
        old: shape of the schedule whose best peak is known: rates over their peak, at each step.
        new: of the other; it may have another number of steps.

    Raises:
        BadInput: as ``schedule_scalars``.

    >>> cosine, wsd = schedule_shape(20_000, "cosine"), schedule_shape(20_000, share=0.2)
    >>> f"{learning_rate_shift(cosine, wsd):.3f}"
    '-0.635'
    """
    before, after = _scalars("learning_rate_shift", old), _scalars("learning_rate_shift", new)
    return float(np.log(after.distance / after.noise * before.noise / before.distance) / 2)


def bound_ratio(old: ArrayLike, new: ArrayLike) -> float:
    """Omega* of one schedule over that of another, each at its best rate: sqrt((X1 X2)_new / (X1 X2)_old).

    Derived here, checked numerically.

    Raises:
        BadInput: as ``schedule_scalars``.

    >>> f"{bound_ratio(schedule_shape(20_000), schedule_shape(20_000, 'cosine')):.3f}"
    '1.030'
    """
    before, after = _scalars("bound_ratio", old), _scalars("bound_ratio", new)
    return float(np.sqrt(after.distance * after.noise / (before.distance * before.noise)))


class PowerBound(NamedTuple):
    """Constants of L = E + A (X1/eta)^a + B (eta X2)^b.

    Attributes:
        floor: E [nats/token].
        distance: A.
        distance_exponent: a.
        noise: B.
        noise_exponent: b.
    """

    floor: float
    distance: float
    distance_exponent: float
    noise: float
    noise_exponent: float


def power_loss(learning_rates: ArrayLike, law: PowerBound) -> float:
    """Loss [nats/token] after a schedule: the convex bound with free powers, five parameters in all.

    Derived here (a = b = 1 is the convex bound). Nothing is fitted here.

    Raises:
        BadInput: as ``schedule_scalars``, or constants that are not above 0 (the floor: at least 0).

    >>> power_loss([0.5], PowerBound(1.0, 1.0, 1.0, 1.0, 1.0))
    2.25
    """
    _check_law("power_loss", law)
    x = _scalars("power_loss", learning_rates)
    far = law.distance * x.distance**law.distance_exponent
    return float(law.floor + far + law.noise * x.noise**law.noise_exponent)


def power_optimum(shape: ArrayLike, law: PowerBound) -> float:
    """Best learning rate to multiply a shape with, under the power bound: [a A X1^a / (b B X2^b)]^(1/(a+b)).

    Derived here, checked numerically.

    Raises:
        BadInput: as ``power_loss``.

    >>> power_optimum([1.0], PowerBound(1.0, 4.0, 1.0, 1.0, 1.0))
    2.0
    """
    _check_law("power_optimum", law)
    x, a, b = _scalars("power_optimum", shape), law.distance_exponent, law.noise_exponent
    ratio = a * law.distance * x.distance**a / (b * law.noise * x.noise**b)
    return float(ratio ** (1 / (a + b)))


def _check_law(place: str, law: PowerBound) -> None:
    not_negative(place, "floor", law.floor)
    for name in PowerBound._fields[1:]:
        positive(place, name, getattr(law, name))


def _rates(place: str, learning_rates: ArrayLike) -> Floats:
    """Rates up to the last that is not 0."""
    rates = not_negative(place, "learning_rates", learning_rates)
    if rates.ndim != 1 or not rates.any():
        raise BadInput(
            f"{place}: learning_rates of shape {rates.shape}, {np.count_nonzero(rates)} of them above 0; "
            "expected the rate at each step, shape (T,), at least one above 0; give the whole schedule"
        )
    return rates[: np.flatnonzero(rates)[-1] + 1]


def _tail(values: Floats) -> Floats:
    """Sums from each place to the end, added from the end: differences of sums from the start cancel."""
    return np.cumsum(values[::-1])[::-1]
