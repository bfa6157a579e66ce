"""The loss surface around its moving optimum: arithmetic only, for NumPy and JAX arrays alike.

Every function is elementwise over arrays that broadcast together, so one definition serves the
likelihood (JAX, one value a run) and the recommendation (NumPy, draws x grid). Symbols:

    n = ln(N/N0)   d = ln(D/D0)      N0, D0: the pivot stored with the posterior
    ln eta* = alpha - gamma n - delta d - bend n^2        optimal peak learning rate along B = B*
    ln B*   = beta + epsilon d + epsilon_n n              optimal batch [tokens]
    v = ln B - ln B*       u = ln eta - ln eta* - ridge(v)
    ln loss = level(n, d) + fading(n, d) * excess(u, v)

The fading lets curvature shrink as the loss falls, as it does in the data (published-laws.md,
section 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = Any  # a numpy.ndarray or a jax.Array; both carry __array_namespace__
Params = Mapping[str, Array]

RIDGE_WIDTH = 0.5
"""Half-width [nats of batch] of the bend in the ridge at B = B*."""

TWIST_MAX = 3.0
"""Bound of the twist's exponent, beyond any batch that was ever run."""

DECAY_FLOOR = 0.01
"""Weight decay is compared as ln(w + DECAY_FLOOR), so that a run without decay stays comparable."""

DECAY_RANGE = (math.log(DECAY_FLOOR), math.log(10.0))
"""Of ln(w* + DECAY_FLOOR): no weight decay is below 0, and nobody runs one above 10."""

MOMENTUM_GAP_RANGE = (math.log(1e-4), 0.0)
"""Of ln(1 - m*): no momentum is below 0."""

EDGE = 0.125
"""Width [nats] of the bend in which an optimum comes to rest at the end of its range."""


def _xp(x: Array) -> Any:
    return np if isinstance(x, (float, int)) else x.__array_namespace__()


def pseudo_huber(x: Array, curvature: Array, knee: Array) -> Array:
    """Quadratic near zero, linear far away: ``curvature (sqrt(1 + (knee x)^2) - 1) / knee^2``.

    Args:
        x: distance from the optimum [nats].
        curvature: second derivative at zero [1/nats^2].
        knee: inverse distance at which the parabola turns into a line [1/nats].

    >>> float(pseudo_huber(np.array(0.1), 2.0, 1e-3)).__round__(6)  # curvature x^2 / 2
    0.01
    """
    xp = _xp(x)
    return curvature * x * x / (1.0 + xp.sqrt(1.0 + (knee * x) ** 2))


def linex(x: Array, curvature: Array, skew: Array) -> Array:
    """Asymmetric bowl ``curvature (exp(skew x) - 1 - skew x) / skew^2`` (Varian 1975).

    The exponent is capped at 12, far outside any run that finishes.

    >>> float(linex(np.array(1.0), 1.0, 1e-9)).__round__(6)  # skew -> 0: x^2 / 2
    0.5
    """
    xp = _xp(x)
    t = xp.clip(skew * x, -60.0, 12.0)
    small = xp.abs(t) < 1e-3
    safe = xp.where(small, 1.0, t)
    ratio = xp.where(small, 0.5 + t / 6.0, (xp.expm1(safe) - safe) / (safe * safe))
    return curvature * x * x * ratio


def ridge(v: Array, rho: Array, rho_high: Array) -> Array:
    """Shift of the best ln eta with ln B: slope ``rho`` below B*, ``rho_high`` above, 0 at B*.

    Source: the square-root and surge regimes of Li et al. (2024), arXiv:2405.14578.

    >>> float(ridge(np.array(0.0), 0.5, 0.0))
    0.0
    """
    xp = _xp(v)
    soft = RIDGE_WIDTH * (xp.logaddexp(0.0 * v, v / RIDGE_WIDTH) - np.log(2.0))
    return rho * v + (rho_high - rho) * soft


def log_lr_optimum(p: Params, n: Array, d: Array) -> Array:
    """ln eta*(N, D) at the optimal batch; natural log of the peak learning rate."""
    return p["alpha"] - p["gamma"] * n - p["delta"] * d - p["bend"] * n * n


def log_batch_optimum(p: Params, n: Array, d: Array) -> Array:
    """ln B*(N, D); natural log of the batch in tokens."""
    return p["beta"] + p["epsilon"] * d + p["epsilon_n"] * n


def log_decay_optimum(p: Params, n: Array) -> Array:
    """ln(w* + DECAY_FLOOR) with w* the best decoupled weight decay: lambda - mu n, ``within`` its range."""
    return within(p["lambda"] - p["mu"] * n, *DECAY_RANGE)


def log_momentum_gap(p: Params, n: Array) -> Array:
    """ln(1 - m*) with m* the best momentum: zeta - kappa n, ``within`` its range."""
    return within(p["zeta"] - p["kappa"] * n, *MOMENTUM_GAP_RANGE)


def within(x: Array, low: float, high: float) -> Array:
    """x between ``low`` and ``high``, where it bends smoothly: a softplus of width ``EDGE`` at either end.

    >>> [round(float(within(np.array(x), -4.0, 0.0)), 3) for x in (-30.0, -4.0, -2.0, 5.0)]
    [-4.0, -3.913, -2.0, 0.0]
    """
    xp = _xp(x)
    return x + EDGE * (xp.logaddexp(0.0, (low - x) / EDGE) - xp.logaddexp(0.0, (x - high) / EDGE))


def lr_batch_excess(p: Params, u: Array, v: Array) -> Array:
    """Excess ln loss, at the pivot, of being u off in ln eta (from the ridge) and v off in ln B.

    >>> p = dict(lr_curvature=-3.0, knee=0.5, twist=0.2, batch_curvature=-3.0, batch_skew=0.3)
    >>> float(lr_batch_excess(p, np.array(0.0), np.array(0.0)))
    0.0
    """
    return lr_excess(p, u, v) + batch_excess(p, v)


def lr_excess(p: Params, u: Array, v: Array) -> Array:
    """Excess at the pivot of a learning rate u off the best one at a batch v off the best one.

    Overshooting costs the square of u; undershooting turns from square to line. Both cost
    exp(``twist`` v) times as much: a larger batch leaves fewer steps to make good a wrong step size.
    """
    xp = _xp(u)
    knee = xp.where(u < 0, xp.exp(p["knee"] + 0.0 * u), 0.0)
    curvature = xp.exp(p["lr_curvature"] + xp.clip(p["twist"] * v, -TWIST_MAX, TWIST_MAX))
    return pseudo_huber(u, curvature, knee)


def batch_excess(p: Params, v: Array) -> Array:
    """Excess at the pivot of a batch v off the best one, at the best learning rate there."""
    return linex(v, _xp(v).exp(p["batch_curvature"] + 0.0 * v), p["batch_skew"])


def log_level(p: Params, n: Array, d: Array) -> Array:
    """ln of the expected loss [nats/token] at the best settings, without cell effects.

    L = E + R: at the pivot the reducible loss R is the share ``expit(share)`` of L. ln L has there the
    value ``level``, slopes ``-slope_n``, ``-slope_d`` and second derivatives ``curve_*``, which are free:
    the additive form of Hoffmann et al. (2022, arXiv:2203.15556, section 3.3) lacks the N x D
    interaction that sweeps show. Beyond second order, L falls towards E as a power law does. In
    these coordinates the posterior is close to Gaussian; in (E, A, B, exponents) it is a thin banana.

    >>> p = dict(level=1.0, share=0.0, slope_n=0.1, slope_d=0.1, curve_nn=0.01, curve_nd=0.01, curve_dd=0.01)
    >>> p |= dict(offset=0.0, offset_n=0.0, offset_d=0.0)
    >>> float(np.exp(log_level(p, np.array(1.0), np.array(0.0)))).__round__(4)  # e (1/2 + 1/2 exp(-0.2))
    2.4719
    """
    xp = _xp(n)
    share = 1.0 / (1.0 + xp.exp(-(p["share"] + 0.0 * n)))
    line = -p["slope_n"] * n - p["slope_d"] * d
    curve = 0.5 * p["curve_nn"] * n * n + p["curve_nd"] * n * d + 0.5 * p["curve_dd"] * d * d
    log_ratio = (line + curve - 0.5 * (1.0 - share) / share * line * line) / share
    offset = p["offset"] + p["offset_n"] * n + p["offset_d"] * d
    return p["level"] + offset + xp.log1p(share * xp.expm1(xp.clip(log_ratio, -50.0, 50.0)))


def fading(p: Params, n: Array, d: Array) -> Array:
    """Factor of the excess, 1 at the pivot: the basin flattens as the loss falls.

    An excess proportional to the reducible loss R = L - E would have ``fade_n`` = -d ln(R/L)/d ln N
    and ``fade_d`` = -d ln(R/L)/d ln D, about 0.1 each.

    >>> float(fading({"fade_n": 0.1, "fade_d": 0.1}, np.array(0.0), np.array(0.0)))
    1.0
    """
    xp = _xp(n)
    return xp.exp(-p["fade_n"] * n - p["fade_d"] * d)


def side_excess(gap: Array, log_curvature: Array) -> Array:
    """Excess at the pivot of a weight decay or momentum ``gap`` nats off its optimum; linear beyond a nat."""
    xp = _xp(gap)
    return pseudo_huber(gap, xp.exp(log_curvature + 0.0 * gap), 1.0)


def off_shift(p: Params, off: Array) -> Array:
    """Mean ln loss lost by settings outside the model that are off their usual values.

    Args:
        off: 1 where a hyperparameter outside the model departs from its cell's usual value, else 0.
    """
    xp = _xp(off)
    return xp.exp(p["log_off_shift"] + 0.0 * off) * off


def noise_scale(p: Params, excess: Array, off: Array) -> Array:
    """Scale of the Student-t scatter of ln loss.

    It grows with the excess. Runs off the usual settings (``off``, see ``off_shift``) have a scatter of
    their own, so that they do not pass for noise.

    Args:
        excess: ln loss above the cell's best.
        off: as in ``off_shift``.
    """
    xp = _xp(excess)
    base = xp.where(off > 0, p["log_off_noise"], p["log_noise"] + 0.0 * excess)
    return xp.exp(base) + xp.exp(p["log_noise_slope"]) * excess


def noise_dof(p: Params, off: Array) -> Array:
    """Degrees of freedom of that scatter: above 4, or above 2 for runs off the usual settings.

    With heavier tails a cell of few runs has several modes: each run may pass for the outlier.
    """
    xp = _xp(off)
    return xp.where(
        off > 0, 2.0 + xp.exp(p["log_off_dof_minus_2"] + 0.0 * off), 4.0 + xp.exp(p["log_dof_minus_4"])
    )
