"""The surface: limits, signs and agreement of NumPy with JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeslaw.law import surface
from bayeslaw.law.terms import OPTIMA, from_coordinate, optimum_of

jax.config.update("jax_enable_x64", True)

BASIN = {"lr_curvature": -4.0, "knee": 0.5, "twist": 0.2, "batch_curvature": -4.5, "batch_skew": 0.3}
NOISE = {"log_noise": np.log(0.001), "log_noise_slope": np.log(0.05), "log_off_noise": np.log(0.003)}
LEVEL = {
    **{"level": 0.9, "share": -0.5, "slope_n": 0.06, "slope_d": 0.05},
    **{
        "curve_nn": 0.01,
        "curve_nd": -0.005,
        "curve_dd": 0.01,
        "offset": 0.0,
        "offset_n": 0.0,
        "offset_d": 0.0,
    },
}


def test_excess_is_zero_at_the_optimum_and_positive_elsewhere():
    u, v = np.meshgrid(np.linspace(-3, 3, 31), np.linspace(-3, 3, 31))
    excess = surface.lr_batch_excess(BASIN, u, v)
    assert excess[15, 15] == 0
    assert (np.delete(excess.ravel(), 15 * 31 + 15) > 0).all()


def test_overshooting_costs_more_than_undershooting():
    up, down = (surface.lr_batch_excess(BASIN, np.array(s * 1.5), np.array(0.0)) for s in (1, -1))
    assert up > 1.3 * down


def test_curvatures_are_second_derivatives():
    h = 1e-4
    for axis, name in ((0, "lr_curvature"), (1, "batch_curvature")):
        point = [np.array(0.0), np.array(0.0)]
        point[axis] = np.array(h)
        assert 2 * surface.lr_batch_excess(BASIN, *point) / h**2 == pytest.approx(
            np.exp(BASIN[name]), rel=1e-3
        )


def test_a_wrong_rate_costs_exp_twist_v_times_as_much_at_another_batch():
    """On both sides of the best rate, up to the bound, and without moving it or the batch's own cost."""
    u = np.array([-1.5, -0.01, 0.01, 1.5])
    for v in (-2.0, 2.0):
        ratio = surface.lr_excess(BASIN, u, v) / surface.lr_excess(BASIN, u, 0.0)
        assert ratio == pytest.approx(np.exp(0.2 * v))
        both = surface.lr_batch_excess(BASIN, u, np.array(v))
        assert both - surface.lr_excess(BASIN, u, v) == pytest.approx(
            surface.batch_excess(BASIN, np.array(v))
        )
    assert surface.lr_excess(BASIN, np.array(0.0), 2.0) == 0
    far = surface.lr_excess(BASIN, u, 1e3) / surface.lr_excess(BASIN, u, 0.0)
    assert far == pytest.approx(np.exp(surface.TWIST_MAX))


def test_the_scatter_adds_noise_and_a_share_of_the_excess():
    """Off the usual settings the noise is another; the rest stays."""
    excess = np.array([0.0, 0.1])
    usual, off = (surface.noise_scale(NOISE, excess, np.full(2, x)) for x in (0.0, 1.0))
    assert usual == pytest.approx([0.001, 0.006])
    assert off - usual == pytest.approx(np.full(2, 0.003 - 0.001))


def test_far_batches_do_not_overflow():
    assert np.isfinite(surface.linex(np.array([-1e3, 1e3]), 1.0, 2.0)).all()


def test_the_ridge_bends_from_one_slope_to_the_other():
    slope = [np.diff(surface.ridge(np.array([x, x + 0.1]), 0.7, -0.1))[0] / 0.1 for x in (-8.0, 8.0)]
    assert slope == pytest.approx([0.7, -0.1], abs=1e-6)


def test_level_has_the_stated_value_slopes_and_curves_at_the_pivot():
    def level(x):
        return surface.log_level(LEVEL, {"n": x[0], "d": x[1]})

    gradient, hessian = jax.jit(jax.grad(level)), jax.jit(jax.hessian(level))
    zero = jnp.zeros(2)
    assert float(jax.jit(level)(zero)) == pytest.approx(0.9)
    assert np.asarray(gradient(zero)) == pytest.approx([-0.06, -0.05])
    assert np.asarray(hessian(zero)).ravel() == pytest.approx([0.01, -0.005, -0.005, 0.01])


def test_a_pure_power_law_is_reproduced_to_all_orders():
    """L = E + R0 exp(-p n) with R0/L = 1/2: slope p/2, curve p^2/4."""
    p = 0.3
    level = LEVEL | {"share": 0.0, "slope_n": p / 2, "slope_d": 0.0, "curve_nn": p * p / 4}
    level |= {"curve_nd": 0.0, "curve_dd": 0.0}
    n = np.linspace(-4, 4, 9)
    exact = 0.9 + np.log(0.5 + 0.5 * np.exp(-p * n))
    assert surface.log_level(level, {"n": n, "d": 0.0 * n}) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda u, v: surface.lr_batch_excess(BASIN, u, v),
        lambda u, v: surface.lr_excess(BASIN, u, v),
        lambda u, v: surface.batch_excess(BASIN, v),
        lambda u, v: surface.noise_scale(NOISE, u * u, 1.0 * (v > 0)),
    ],
    ids=["lr_batch_excess", "lr_excess", "batch_excess", "noise_scale"],
)
def test_numpy_and_jax_agree(function):
    u, v = np.linspace(-2, 2, 9), np.linspace(2, -2, 9)
    numpy, jaxed = (function(xp.asarray(u), xp.asarray(v)) for xp in (np, jnp))
    assert isinstance(jaxed, jax.Array)
    assert np.asarray(jaxed) == pytest.approx(numpy, rel=1e-12)


def test_best_decay_and_momentum_stay_within_what_can_be_run():
    """A bend of an eighth of a nat at either end, and nothing else between."""
    x = np.linspace(-40.0, 40.0, 801)
    decay = optimum_of("weight_decay", {"lambda": x, "mu": 0.0}, {"n": 0.0})
    gap = optimum_of("momentum", {"zeta": x, "kappa": 0.0}, {"n": 0.0})
    for name, found in (("weight_decay", decay), ("momentum", gap)):
        low, high = OPTIMA[name].range
        assert (np.diff(found) >= -1e-12).all()
        assert (found >= low - 1e-12).all()
        assert (found <= high + 1e-12).all()
        inner = (x > low + 1) & (x < high - 1)
        assert found[inner] == pytest.approx(x[inner], abs=1e-4)
    assert from_coordinate("weight_decay", OPTIMA["weight_decay"].range[0]) == 0.0
