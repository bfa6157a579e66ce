"""The Gaussian stand-in: near-standard coordinates, and scales found without sampling."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import bayeslaw
from bayeslaw.inference import laplace
from bayeslaw.inference.laplace import Density, density, whitening
from bayeslaw.law.observations import prepare
from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.law.structure import structure_of
from bayeslaw.law.terms import blocks
from bayeslaw.runs.io import read_runs


def density_of_three(scales, sd):
    """A standard Gaussian of three coordinates."""

    def sloped(x, losses, fitted):
        return (0.5 * x @ x, np.zeros((3, 0))), x

    return Density(lambda x: 0.5 * x @ x, sloped, lambda x: {}, np.zeros(3), sd, scales, np.zeros(3, bool))


@pytest.fixture(scope="module")
def whitened():
    sweep = prepare(simulate_runs(example_design(), seed=1))
    target = density(sweep)
    return sweep, target, whitening(sweep, target)


def test_the_mode_is_flat_and_better_than_the_prior(whitened):
    _, target, w = whitened
    energy, gradient = jax.value_and_grad(target.energy)(w.mean)
    assert energy < target.energy(target.start)
    assert np.abs(w.scale.T @ np.asarray(gradient))[~target.scales].max() < 1.0


def test_the_energy_is_near_quadratic_in_its_coordinates(whitened):
    """One standard step along any direction costs about a half, so NUTS needs few steps."""
    _, target, w = whitened
    steps = np.random.default_rng(0).standard_normal((20, len(w.mean)))
    steps[:, target.scales] = 0.0
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    energy = jax.jit(target.energy)
    rise = [(energy(w.mean + w.scale @ z) + energy(w.mean - w.scale @ z)) / 2 - energy(w.mean) for z in steps]
    assert np.median(rise) == pytest.approx(0.5, rel=0.35)


def test_the_noise_is_found_without_collapsing(whitened):
    """The sweep was simulated with scale 0.0012: the joint mode would say much less."""
    sweep, target, w = whitened
    values = np.asarray(target.unravel(w.mean)["study_values"])
    noise = np.exp(values[list(structure_of(sweep).study).index("log_noise"), 0])
    assert 0.0006 < noise < 0.0024


@pytest.mark.slow
def test_the_mode_is_not_one_with_an_optimum_far_away():
    """Runs that scatter far more than the prior expects: a far optimum would raise the scatter for all."""
    rng = np.random.default_rng(0)
    runs = simulate_runs(example_design(60), seed=1)
    noise, momentum = np.exp(0.2 * rng.standard_normal(60)), rng.choice([0.8, 0.9, 0.95, 0.98], 60)
    sweep = prepare(runs.assign(loss=runs["loss"] * noise, momentum=momentum))
    target = density(sweep)

    def alpha(target):
        values = target.unravel(whitening(sweep, target).mean)["surface_values"]
        return values[list(blocks()["surface"]).index("alpha")]

    assert alpha(target) == pytest.approx(np.log(1.5e-3), abs=1.0)  # the truth at a scale near the pivot


@pytest.mark.slow
def test_the_mode_does_not_hang_on_where_the_search_begins():
    """SGD of our own sweep: with little noise from the outset these starts end 100 apart."""
    runs = read_runs(Path(bayeslaw.__file__).parent / "assets" / "books.csv")
    sweep = prepare(runs[runs["optimizer"] == "sgd"].reset_index(drop=True))
    target = density(sweep)
    found = []
    for seed in range(3):
        by = 0.1 * target.sd * np.random.default_rng(seed).standard_normal(len(target.start))
        begun = target._replace(start=target.start + np.where(target.scales, 0.0, by))
        found.append(float(target.energy(whitening(sweep, begun).mean)))
    assert np.ptp(found) < 10.0


def test_where_the_runs_tell_nothing_a_scale_keeps_the_priors_width(monkeypatch):
    """Made-up curvatures: the first scale is known to 0.1, that of the second is negative."""
    monkeypatch.setattr(laplace, "_information", lambda *_: lambda x: np.diag([0.0, 0.0, 4.0]))
    monkeypatch.setattr(laplace, "_curvatures", lambda *_: np.array([100.0, -7.0]))
    target = density_of_three(scales=np.array([True, True, False]), sd=np.array([1.0, 0.5, 1.0]))
    assert whitening(None, target).scale == pytest.approx(np.diag([0.1, 0.5, 0.5]))


def test_the_scales_get_widths_from_the_runs(whitened):
    """Positive, never wider than the prior's, without correlations; the noise is known better than that."""
    sweep, target, w = whitened
    held = np.flatnonzero(target.scales)
    widths, prior = w.scale[held, held], target.sd[held]
    assert (widths > 0).all()
    assert (widths <= prior * (1 + 1e-12)).all()
    assert np.count_nonzero(w.scale[held]) == np.count_nonzero(w.scale[:, held]) == len(held)
    shares = np.ones(len(target.sd))
    shares[held] = widths / prior
    noise = list(structure_of(sweep).study).index("log_noise")
    assert target.unravel(shares)["study_values"][noise, 0] < 0.6
