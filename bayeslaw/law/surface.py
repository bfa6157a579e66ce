"""The loss surface around its moving optimum: arithmetic only, for NumPy and JAX arrays alike.

Every function is elementwise over arrays that broadcast together, so one definition serves the
likelihood (JAX, one value per run) and the recommendation (NumPy, draws x grid). Symbols:

    x = covariates about the pivot, among them n = ln(N/N0) and d = ln(D/D0)
    ln eta*, ln B*, ...: sums of terms (``bayeslaw.law.terms``)
    v = ln B - ln B*       u = ln eta - ln eta* - ridge(v)
    ln loss = level(x) + fading(x) * excess(u, v, ...)

The fading lets curvature shrink as the loss falls, as it does in public sweeps (Filatov et al. 2024,
arXiv:2410.05838; Step Law's runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayeslaw.law.terms import QUANTITIES, shift_key, sum_of, xp_of

Array = Any  # a numpy.ndarray or a jax.Array; both carry __array_namespace__
Params = Mapping[str, Array]

RIDGE_WIDTH = 0.5
"""Half-width [nats of batch] of the bend in the ridge at B = B*."""

TWIST_MAX = 3.0
"""Bound of the twist's exponent, beyond any batch that was ever run."""

RUN_PARAMETERS = (
    *("rho", "rho_high", "lr_curvature", "knee", "twist", "batch_curvature", "batch_skew", "cliff"),
    *("log_noise", "log_noise_slope", "log_off_shift", "log_off_noise", "log_cliff_width"),
)
"""Parameters that act run by run; others act through a cell's optima, level, fading, spreads and tails."""


def pseudo_huber(x: Array, curvature: Array, knee: Array) -> Array:
    """Quadratic near zero, linear far away: ``curvature (sqrt(1 + (knee x)^2) - 1) / knee^2``.

    Args:
        x: distance from the optimum [nats].
        curvature: second derivative at zero [1/nats^2].
        knee: inverse distance at which the parabola turns into a line [1/nats].

    >>> float(pseudo_huber(np.array(0.1), 2.0, 1e-3)).__round__(6)  # curvature x^2 / 2
    0.01
    """
    xp = xp_of(x)
    return curvature * x * x / (1.0 + xp.sqrt(1.0 + (knee * x) ** 2))


def linex(x: Array, curvature: Array, skew: Array) -> Array:
    """Asymmetric bowl ``curvature (exp(skew x) - 1 - skew x) / skew^2`` (Varian 1975).

    The exponent is capped at 12, far outside any run that finishes.

    >>> float(linex(np.array(1.0), 1.0, 1e-9)).__round__(6)  # skew -> 0: x^2 / 2
    0.5
    """
    xp = xp_of(x)
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
    xp = xp_of(v)
    soft = RIDGE_WIDTH * (xp.logaddexp(0.0 * v, v / RIDGE_WIDTH) - np.log(2.0))
    return rho * v + (rho_high - rho) * soft


def off_ridge(
    p: Params, log_lr: Array, log_batch: Array, best_lr: Array, best_batch: Array
) -> tuple[Array, Array]:
    """How far settings lie off the ridge of best learning rates, u, and off the best batch, v [nats].

    Args:
        p: ``rho`` and ``rho_high``.
        log_lr, log_batch: ln peak learning rate, ln batch [tokens].
        best_lr: ln eta* at the best batch.
        best_batch: ln B*.
    """
    v = log_batch - best_batch
    return log_lr - best_lr - ridge(v, p["rho"], p["rho_high"]), v


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
    xp = xp_of(u)
    knee = xp.where(u < 0, xp.exp(p["knee"] + 0.0 * u), 0.0)
    curvature = xp.exp(p["lr_curvature"] + xp.clip(p["twist"] * v, -TWIST_MAX, TWIST_MAX))
    return pseudo_huber(u, curvature, knee)


def batch_excess(p: Params, v: Array) -> Array:
    """Excess at the pivot of a batch v off the best one, at the best learning rate there."""
    return linex(v, xp_of(v).exp(p["batch_curvature"] + 0.0 * v), p["batch_skew"])


def log_level(p: Params, x: Mapping[str, Array], centre: Mapping[str, Array] | None = None) -> Array:
    """ln of the expected loss [nats/token] at the best settings, without cell effects.

    L = E + R: at the pivot the reducible loss R is the share ``expit(share)`` of L. ln L has there the
    value ``level``, slopes ``-slope_n``, ``-slope_d`` and second derivatives ``curve_*``, which are free:
    the additive form of Hoffmann et al. (2022, arXiv:2203.15556, section 3.3) lacks the N x D
    interaction that sweeps show. Beyond second order, L falls towards E as a power law does. In
    these coordinates the posterior is close to Gaussian; in (E, A, B, exponents) it is a thin banana.

    Args:
        p: parameters.
        x: covariates about the pivot.
        centre: place, about the pivot, where the level and its derivatives are stated; by default the pivot.
            Offsets of optimizers are always about the pivot.

    >>> p = dict(level=1.0, share=0.0, slope_n=0.1, slope_d=0.1, curve_nn=0.01, curve_nd=0.01, curve_dd=0.01)
    >>> p |= dict(offset=0.0, offset_n=0.0, offset_d=0.0)
    >>> x = {"n": np.array(1.0), "d": np.array(0.0)}
    >>> float(np.exp(log_level(p, x))).__round__(4)  # e (1/2 + 1/2 exp(-0.2))
    2.4719
    """
    n, d = (x[name] - centre[name] if centre else x[name] for name in ("n", "d"))
    xp = xp_of(n)
    share = 1.0 / (1.0 + xp.exp(-(p["share"] + 0.0 * n)))
    line = -p["slope_n"] * n - p["slope_d"] * d
    curve = 0.5 * p["curve_nn"] * n * n + p["curve_nd"] * n * d + 0.5 * p["curve_dd"] * d * d
    log_ratio = (line + curve - 0.5 * (1.0 - share) / share * line * line) / share
    offset = sum_of(QUANTITIES["offset"], p, x) + p.get(shift_key("offset"), 0.0)
    return p["level"] + offset + xp.log1p(share * xp.expm1(xp.clip(log_ratio, -50.0, 50.0)))


def level_elsewhere(p: Params, way: Mapping[str, Array]) -> dict[str, Array]:
    """Parameters of the same level (``log_level``) stated at another place.

    R is the exponential of a quadratic in (n, d) whose second derivatives are the same everywhere, and E is a
    constant, so the form is closed under a change of its centre.

    Args:
        p: parameters at one place.
        way: covariate -> from there to the other one [nats].

    >>> p = dict(level=1.0, share=0.0, slope_n=0.1, slope_d=0.1, curve_nn=0.01, curve_nd=0.01, curve_dd=0.01)
    >>> there, zero = {"n": np.array(2.0), "d": np.array(-1.0)}, {"n": np.array(0.0), "d": np.array(0.0)}
    >>> float(log_level(level_elsewhere(p, there), zero) - log_level(p, there)).__round__(12)
    0.0
    """
    xp = xp_of(p["level"] + 0.0 * way["n"])
    n, d = way["n"], way["d"]
    share = 1.0 / (1.0 + xp.exp(-(p["share"] + 0.0 * n)))
    bent = (1.0 - share) / share
    first_n, first_d = -p["slope_n"] / share, -p["slope_d"] / share
    nn = (p["curve_nn"] - bent * p["slope_n"] ** 2) / share
    nd = (p["curve_nd"] - bent * p["slope_n"] * p["slope_d"]) / share
    dd = (p["curve_dd"] - bent * p["slope_d"] ** 2) / share
    log_ratio = first_n * n + first_d * d + 0.5 * nn * n * n + nd * n * d + 0.5 * dd * d * d
    reducible = share * xp.exp(log_ratio)
    total = 1.0 - share + reducible
    share = reducible / total
    bent = (1.0 - share) / share
    slope_n, slope_d = -share * (first_n + nn * n + nd * d), -share * (first_d + nd * n + dd * d)
    return {
        "level": p["level"] + xp.log(total),
        "share": xp.log(share) - xp.log1p(-share),
        "slope_n": slope_n,
        "slope_d": slope_d,
        "curve_nn": share * nn + bent * slope_n**2,
        "curve_nd": share * nd + bent * slope_n * slope_d,
        "curve_dd": share * dd + bent * slope_d**2,
    }


def fading(p: Params, x: Mapping[str, Array]) -> Array:
    """Factor of the excess, 1 at the pivot: the basin flattens as the loss falls.

    An excess proportional to the reducible loss R = L - E would have ``fade_n`` = -d ln(R/L)/d ln N
    and ``fade_d`` = -d ln(R/L)/d ln D, about 0.1 each.

    >>> float(fading({"fade_n": 0.1, "fade_d": 0.1}, {"n": np.array(0.0), "d": np.array(0.0)}))
    1.0
    """
    return xp_of(x["n"]).exp(-p["fade_n"] * x["n"] - p["fade_d"] * x["d"])


def side_excess(gap: Array, log_curvature: Array) -> Array:
    """Excess at the pivot of a hyperparameter with a bowl of its own, ``gap`` nats off its optimum.

    Linear beyond a nat.
    """
    xp = xp_of(gap)
    return pseudo_huber(gap, xp.exp(log_curvature + 0.0 * gap), 1.0)


def off_shift(p: Params, off: Array) -> Array:
    """Mean ln loss lost by settings outside the model that are off their usual values.

    Args:
        off: 1 where a hyperparameter outside the model departs from its cell's usual value, else 0.
    """
    xp = xp_of(off)
    return xp.exp(p["log_off_shift"] + 0.0 * off) * off


def noise_scale(p: Params, excess: Array, off: Array) -> Array:
    """Scale of the Student-t scatter of ln loss.

    It grows with the excess. Runs off the usual settings (``off``, see ``off_shift``) have a scatter of
    their own, so that they do not pass for noise.

    Args:
        excess: ln loss above the cell's best.
        off: as in ``off_shift``.
    """
    xp = xp_of(excess)
    base = xp.where(off > 0, p["log_off_noise"], p["log_noise"] + 0.0 * excess)
    return xp.exp(base) + xp.exp(p["log_noise_slope"]) * excess


def noise_dof(p: Params, off: Array) -> Array:
    """Degrees of freedom of that scatter: above 4, or above 2 for runs off the usual settings.

    With heavier tails a cell of few runs has several modes: each run may pass for the outlier.
    """
    xp = xp_of(off)
    return xp.where(
        off > 0, 2.0 + xp.exp(p["log_off_dof_minus_2"] + 0.0 * off), 4.0 + xp.exp(p["log_dof_minus_4"])
    )
