"""Cells left out: the marginal likelihood against closed forms, the weights against the exact posterior."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayeslaw.advice.target_surface import shift, surface_at
from bayeslaw.diagnosis.fitted_runs import fitted_runs, log_density, moments
from bayeslaw.diagnosis.influence import FREE, left_out, log_marginal, own_shifts
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted
from tests.support.fitted import runs_of

ONE = (("ours", "adamw"),)
TARGET = Target(1e10, 2e11, "adamw", "ours")
FLAT = {"lr_curvature": -40.0, "batch_curvature": -40.0, "log_noise_slope": -40.0, "log_dof_minus_4": 14.0}


def test_of_normal_runs_that_tell_the_level_alone_it_is_exact():
    noise = np.log(np.array([1e-3, 3e-3, 0.2]))
    fit = shifted(fake_posterior(3, 0.0, groups=ONE), **FLAT, log_noise=noise)
    runs = runs_of(fit, 5)
    cell = fitted_runs(fit, runs)[0][0]
    y = np.log(runs["loss"].to_numpy()[:5])
    exact = [
        multivariate_normal.logpdf(y, np.full(5, level), np.exp(2 * s) * np.eye(5) + FREE**2)
        for level, s in zip(cell.surface.log_loss, noise, strict=True)
    ]
    ours = log_marginal(cell, *own_shifts(fit, cell))
    assert ours - ours[0] == pytest.approx(np.array(exact) - exact[0], abs=1e-3)


def test_of_any_runs_it_is_close_to_quadrature():
    fit = fake_posterior(5, 0.0, groups=ONE)
    runs = runs_of(fit, 6, width=0.8)
    fit = shifted(
        fit, alpha=fit.group["alpha"][0, 0] + np.linspace(-0.25, 0.25, 5), knee=np.linspace(0, 1, 5)
    )
    cell = fitted_runs(fit, runs)[0][0]
    sd = np.array([6e-4, 0.04, 0.06])
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    terms = []
    for each in itertools.product(range(9), repeat=3):
        at = cell.surface
        for k, name in enumerate(("level", "lr", "batch")):
            at = shift(at, name, sd[k] * nodes[each[k]])
        density = log_density(cell, moments(cell, at)).sum(axis=1)
        terms.append(density + np.log(weights[list(each)]).sum())
    exact = logsumexp(terms, axis=0)
    ours = log_marginal(cell, np.zeros((5, 3)), np.tile(sd**2, (5, 1)))
    assert np.ptp(exact) > 1.5
    assert ours - ours.mean() == pytest.approx(exact - exact.mean(), abs=0.1)


def test_the_shifts_of_a_cell_are_those_beyond_its_size():
    fit = fake_posterior(50, groups=ONE, sizes=((1e8, 2e9), (1e8, 2e10), (1e9, 2e10)))
    size = {name: np.full((50, 2), 0.05) for name in ("level", "slope", "lr", "batch")}
    fit = replace(fit, sizes=(("ours", 1e8), ("ours", 1e9)), size=size)
    shared, _, alone = fitted_runs(fit, runs_of(fit, 3))[0]
    shifts, variance = own_shifts(fit, shared)
    assert shifts[:, 1] == pytest.approx(fit.cell["lr"][:, 0] - 0.05)
    assert variance[:, 1] == pytest.approx(np.exp(2 * fit.study["log_tau_lr"][:, 0]))
    shifts, variance = own_shifts(fit, alone)
    assert shifts[:, 1] == pytest.approx(fit.cell["lr"][:, 2])
    both = [np.exp(2 * fit.study[name][:, 0]) for name in ("log_tau_lr", "log_tau_size_lr")]
    assert variance[:, 1] == pytest.approx(sum(both))


def told_by_two_cells():
    """Runs of two cells that disagree on alpha; values of alpha, and each cell's ln likelihood there."""
    wide = shifted(fake_posterior(4000, 0.0, groups=ONE), alpha=np.linspace(-7.0, -5.4, 4000))
    runs = runs_of(shifted(wide, alpha=-6.1), 8, width=0.7)
    runs["learning_rate"] *= np.where(runs["params_nonembedding"] > 5e8, 1.2, 1.0)
    told = [log_marginal(cell, *own_shifts(wide, cell)) for cell in fitted_runs(wide, runs)[0]]
    return runs, wide.group["alpha"][:, 0], told


def chances(log_likelihood):
    chance = np.exp(log_likelihood - log_likelihood.max())
    return chance / chance.sum()


def drawn(alpha, log_likelihood):
    """A posterior in which alpha alone is unknown."""
    draws = np.random.default_rng(1).choice(alpha, 1000, p=chances(log_likelihood))
    return shifted(fake_posterior(1000, 0.0, groups=ONE), alpha=draws)


def test_the_optimum_without_a_cell_is_that_of_a_refit():
    runs, alpha, (first, second) = told_by_two_cells()
    fit = drawn(alpha, first + second)
    refitted = float(chances(first) @ alpha)
    now, sd = fit.group["alpha"].mean(), surface_at(fit, TARGET, independent=True).log_lr.std()
    assert abs(refitted - now) > 0.3 * fit.group["alpha"].std()
    one, other = left_out(fit, fitted_runs(fit, runs)[0], TARGET)
    assert other.reliable
    assert other.learning_rate.sd == pytest.approx((refitted - now) / sd, abs=0.15)
    assert np.log(other.learning_rate.factor) == pytest.approx(refitted - now, abs=0.15 * sd)
    assert other.batch_tokens.sd == pytest.approx(0.0, abs=0.15)
    assert np.sign(one.learning_rate.sd) == -np.sign(other.learning_rate.sd)


def test_a_cell_that_alone_tells_something_is_said_to_need_a_refit():
    runs, alpha, (first, _) = told_by_two_cells()
    cells, _ = fitted_runs(drawn(alpha, first), runs)
    one, _ = left_out(drawn(alpha, first), cells, TARGET)
    assert not one.reliable
