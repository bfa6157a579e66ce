"""Bound on methods with a linear minimisation oracle (normalised SGD, signSGD, Muon), and its optima.

Setting: K steps x <- x - eta LMO(m) with m <- (1 - alpha) m + alpha g, batches of b samples, T = b K samples.
The bound on the average dual norm of the gradient is

    F = gap b / (eta T) + noise sqrt(alpha / b) + burn_in sqrt(b) / (alpha T) + lag eta / alpha + drift eta.

It bounds a gradient norm, so its value is no loss. ``Coefficients`` are its five constants.

Form with sigma / sqrt(b) for a batch of b: found in a secondary source (of arXiv 2503.12645). Numerical
factors 2 and 7/2: from memory; no exponent depends on them. The optima are derived here and checked
numerically; their exponents agree with what secondary sources of arXiv 2603.15958 call Theorem 1 and 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.checks import not_negative, positive, share


class Coefficients(NamedTuple):
    """Constants of the bound, each at least 0; the first, second and fourth above 0.

    Attributes:
        gap: of the distance to go, f(x0) - inf f.
        noise: of the noise of the momentum.
        burn_in: of the noise of the first gradient, which the momentum forgets slowly.
        lag: of the momentum's lag behind the gradient.
        drift: of the curvature met in a single step.
    """

    gap: float
    noise: float
    burn_in: float
    lag: float
    drift: float


UNIT = Coefficients(1.0, 1.0, 1.0, 1.0, 0.0)
"""All constants one, without drift: the proxy of the paper's figures (found in a secondary source)."""


class Optimum(NamedTuple):
    """The least bound and where it is. Arrays of one shape.

    Attributes:
        learning_rate: eta.
        batch: b [samples].
        alpha: 1 - momentum.
        bound: F there, as the theorem counts it.
    """

    learning_rate: Floats
    batch: Floats
    alpha: Floats
    bound: Floats


def bound_coefficients(gap: float = 1.0, smoothness: float = 1.0, noise: float = 1.0) -> Coefficients:
    """The bound's coefficients: gap, 2 noise, 2 noise, 2 smoothness, 7/2 smoothness.

    Numerical factors: from memory.

    Args:
        gap: f(x0) - inf f [nats].
        smoothness: L, Lipschitz constant of the gradient in the norm of the oracle.
        noise: rho sigma, norm equivalence times the noise of one sample's gradient.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> bound_coefficients(smoothness=2.0)
    Coefficients(gap=1.0, noise=2.0, burn_in=2.0, lag=4.0, drift=7.0)
    """
    place = "bound_coefficients"
    given, curvature, rough = (
        float(positive(place, name, value))
        for name, value in (("gap", gap), ("smoothness", smoothness), ("noise", noise))
    )
    return Coefficients(given, 2 * rough, 2 * rough, 2 * curvature, 3.5 * curvature)


def bound(
    learning_rate: ArrayLike, batch: ArrayLike, alpha: ArrayLike, samples: ArrayLike, c: Coefficients = UNIT
) -> Floats:
    """F of the module's formula; arguments broadcast.

    Args:
        learning_rate: eta.
        batch: b [samples].
        alpha: 1 - momentum, in (0, 1].
        samples: T.
        c: coefficients.

    Raises:
        BadInput: an argument outside its range.

    >>> float(bound(0.5, 4.0, 1.0, 16.0))  # 1/2 + 1/2 + 1/8 + 1/2
    1.625
    """
    eta, b, a, t = _checked("bound", learning_rate, batch, alpha, samples)
    c = checked_coefficients("bound", c)
    noise = c.noise * np.sqrt(a / b) + c.burn_in * np.sqrt(b) / (a * t)
    return np.asarray(c.gap * b / (eta * t) + noise + (c.lag / a + c.drift) * eta)


def proxy_constants(alpha: ArrayLike, c: Coefficients = UNIT) -> tuple[Floats, Floats, Floats]:
    """C1, C2, C3 of the proxy at a fixed momentum, P = C1 / (eta K) + C2 / sqrt(b) + C3 eta.

    C1 = gap, C2 = noise sqrt(alpha), C3 = lag / alpha + drift; the burn-in is dropped. Form of the proxy:
    found in a secondary source, which attributes it to arXiv 2503.12645 and 2603.15958. Constants: derived
    here.

    Raises:
        BadInput: alpha outside (0, 1].

    >>> [float(x) for x in proxy_constants(0.25)]
    [1.0, 0.5, 4.0]
    """
    a = share("proxy_constants", "alpha", alpha)
    c = checked_coefficients("proxy_constants", c)
    return np.full_like(a, c.gap), c.noise * np.sqrt(a), c.lag / a + c.drift


def tune_learning_rate(
    batch: ArrayLike, alpha: ArrayLike, samples: ArrayLike, c: Coefficients = UNIT
) -> Floats:
    """Best learning rate at a given batch and momentum: sqrt(C1 b / (C3 T)).

    So the conditional exponents are 1/2 in the batch, -1/2 in the samples, and ``momentum_exponent`` in
    alpha. Derived here, checked numerically; exact for the full bound.

    Raises:
        BadInput: an argument outside its range.

    >>> float(tune_learning_rate(4.0, 0.25, 100.0))
    0.1
    """
    place = "tune_learning_rate"
    _, b, a, t = _checked(place, 1.0, batch, alpha, samples)
    c = checked_coefficients(place, c)
    return np.asarray(np.sqrt(c.gap * b / (t * (c.lag / a + c.drift))))


def momentum_exponent(alpha: ArrayLike, c: Coefficients) -> Floats:
    """d ln eta* / d ln alpha at a given batch: (lag/alpha) / (lag/alpha + drift) / 2, below 1/2.

    For an averaged momentum, m <- (1 - alpha) m + alpha g. In heavy-ball form, m <- (1 - alpha) m + g, add 1.
    Derived here, checked numerically.

    Raises:
        BadInput: alpha outside (0, 1].

    >>> f"{momentum_exponent(0.1, bound_coefficients()):.3f}"
    '0.426'
    """
    a = share("momentum_exponent", "alpha", alpha)
    c = checked_coefficients("momentum_exponent", c)
    return np.asarray(0.5 * (c.lag / a) / (c.lag / a + c.drift))


def tune_at_momentum(samples: ArrayLike, alpha: ArrayLike = 1.0, c: Coefficients = UNIT) -> Optimum:
    """Theorem 1: learning rate and batch tuned, momentum fixed, burn-in dropped.

    b* = (C2/2) sqrt(T / (C1 C3)), eta* = 2^-1/2 C1^1/4 C2^1/2 C3^-3/4 T^-1/4,
    P* = 2 sqrt(2) C2^1/2 (C1 C3 / T)^1/4, with the constants of ``proxy_constants``.

    Exponents 1/2 in b and -1/4 in eta: found in a secondary source. Constants: derived here, checked
    numerically. Without the burn-in, b* may fall below one sample: ``burn_in`` has both.

    Args:
        samples: T.
        alpha: 1 - momentum.
        c: coefficients.

    Raises:
        BadInput: an argument outside its range.

    >>> best = tune_at_momentum(1e8)  # C1 = C2 = C3 = 1
    >>> f"{best.batch:.0f} {best.learning_rate:.4e} {best.bound:.4e}"
    '5000 7.0711e-03 2.8284e-02'
    """
    t = positive("tune_at_momentum", "samples", samples)
    c1, c2, c3 = proxy_constants(alpha, c)
    batch = c2 / 2 * np.sqrt(t / (c1 * c3))
    rate = np.sqrt(c1 * batch / (c3 * t))
    least = 2 * np.sqrt(2 * c2) * (c1 * c3 / t) ** 0.25
    return _optimum(rate, batch, share("tune_at_momentum", "alpha", alpha), least)


def tune_at_batch(samples: ArrayLike, batch: ArrayLike, c: Coefficients = UNIT) -> Optimum:
    """Theorem 2: learning rate and momentum tuned, batch fixed; burn-in and drift dropped (alpha << 1).

    With the coefficients of the bound: alpha* = b sqrt(2 L gap / T) / (rho sigma),
    eta* = sqrt(gap alpha* b / (2 L T)), proportional to b T^-3/4, and F* = 4 (2 L gap (rho sigma)^2 / T)^1/4,
    which does not depend on b.
    Above the cap, b > ``largest_batch``, no momentum is left to trade (Corollary 1): alpha* = 1, and F*
    grows with b.

    Exponents -1/2 in alpha and -3/4 in eta at fixed b: found in a secondary source. Constants and cap:
    derived here, checked numerically.

    Args:
        samples: T.
        batch: b [samples].
        c: coefficients; ``burn_in`` and ``drift`` are not used.

    Raises:
        BadInput: an argument outside its range.

    >>> best = tune_at_batch(1e8, 100, bound_coefficients())
    >>> f"{best.alpha:.4e} {best.learning_rate:.3e} {best.bound:.3e}"
    '1.4142e-02 8.409e-05 4.757e-02'
    """
    place = "tune_at_batch"
    t, b = positive(place, "samples", samples), positive(place, "batch", batch)
    c = checked_coefficients(place, c)
    alpha = np.minimum(2 * np.sqrt(c.gap * c.lag / t) * b / c.noise, 1.0)
    rate = np.sqrt(c.gap * b * alpha / (c.lag * t))
    least = 2 * np.sqrt(c.gap * c.lag * b / (alpha * t)) + c.noise * np.sqrt(alpha / b)
    return _optimum(rate, b, alpha, least)


def largest_batch(samples: ArrayLike, c: Coefficients = UNIT) -> Floats:
    """Corollary 1: the batch up to which a tuned momentum replaces a growing batch.

    alpha* <= 1 for b <= rho sigma sqrt(T / (2 L gap)), in the bound's coefficients. Derived here, checked
    numerically; that such a cap exists: found in a secondary source.

    Raises:
        BadInput: an argument outside its range.

    >>> f"{largest_batch(4 * 1072**2):.0f}"  # so a batch of 1072 is capped until T = 4.6e6
    '1072'
    """
    t = positive("largest_batch", "samples", samples)
    c = checked_coefficients("largest_batch", c)
    return np.asarray(c.noise / 2 * np.sqrt(t / (c.gap * c.lag)))


def checked_coefficients(place: str, c: Coefficients) -> Coefficients:
    """The coefficients, if they are a bound's.

    Raises:
        BadInput: a coefficient that is negative or not finite, or 0 where a term cannot be missing.
    """
    for name in ("gap", "noise", "lag"):
        positive(place, name, getattr(c, name))
    for name in ("burn_in", "drift"):
        not_negative(place, name, getattr(c, name))
    return c


def _checked(
    place: str, learning_rate: ArrayLike, batch: ArrayLike, alpha: ArrayLike, samples: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    return (
        positive(place, "learning_rate", learning_rate),
        positive(place, "batch", batch),
        share(place, "alpha", alpha),
        positive(place, "samples", samples),
    )


def _optimum(rate: Floats, batch: Floats, alpha: Floats, least: Floats) -> Optimum:
    return Optimum(*(np.array(each) for each in np.broadcast_arrays(rate, batch, alpha, least)))
