"""Simulated laws come back with their uncertainty; losses that cannot be fitted are refused."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules.features import Features, schedule_features
from bayeslaw.schedules.fitting import fit_schedule, predicted_losses
from bayeslaw.schedules.laws import LAWS
from bayeslaw.theory.schedule_bounds import schedule_shape

NOISE = 5e-4
TRUE = {
    "power": {"floor": 2.0, "first": 1.2, "second": 2.0, "distance_exponent": 0.25, "noise_exponent": 0.25},
    "multi-power": {
        **{"floor": 2.6, "first": 0.6, "second": 400.0},
        **{"exponent": 0.45, "speed": 2.0, "rate_exponent": 0.6, "fade_exponent": 0.6},
    },
    "bound": {"floor": 2.9, "first": 2.0, "second": 20.0},
    "annealing": {"floor": 2.6, "first": 0.6, "second": 0.1, "exponent": 0.45, "memory": 300.0},
}


def schedules(peaks=(1e-3,), lengths=(3000, 6000), shares=(0.0, 0.1, 0.2, 0.4, 0.8)):
    return schedule_features(
        peak * schedule_shape(steps, share=share, warmup=0.02)
        for peak in peaks
        for steps in np.unique(np.linspace(0.3, 1, 3)[:, None] * lengths).astype(int)
        for share in shares
    )


def simulated(name, f, seed=0):
    noise = NOISE * np.random.default_rng(seed).standard_normal(len(f.steps))
    return LAWS[name].loss(TRUE[name], f) * (1 + noise)


@pytest.mark.parametrize("name", TRUE)
def test_a_simulated_law_predicts_longer_runs(name):
    peaks = (5e-4, 1e-3, 2e-3) if LAWS[name].any_peak else (1e-3,)
    f = schedules(peaks)
    fit = fit_schedule(LAWS[name], f, simulated(name, f), draws=200)
    ahead = schedules(peaks, lengths=(12_000,), shares=(0.3, 0.6))
    truth = LAWS[name].loss(TRUE[name], ahead)
    assert LAWS[name].loss(fit.params, ahead) == pytest.approx(truth, rel=6 * NOISE)
    low, high = np.quantile(predicted_losses(fit, LAWS[name], ahead), [0.005, 0.995], axis=0)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.8
    assert fit.noise == pytest.approx(NOISE, rel=0.5)
    assert all((values > 0).all() for values in fit.draws.values())


def test_the_same_seed_gives_the_same_draws():
    f = schedules((5e-4, 1e-3))
    one, two = (fit_schedule(LAWS["power"], f, simulated("power", f), seed=3, draws=20) for _ in range(2))
    assert all(np.array_equal(one.draws[name], two.draws[name]) for name in one.draws)


def test_losses_that_cannot_be_fitted_are_refused():
    f = schedules()
    few = Features(*(each[:5] for each in f))
    losses = simulated("power", f)
    with pytest.raises(BadInput, match="5 losses; the multi-power law has 7 parameters and needs more"):
        fit_schedule(LAWS["multi-power"], few, losses[:5])
    with pytest.raises(BadInput, match=r"losses = nan; expected finite numbers above 0"):
        fit_schedule(LAWS["power"], f, np.full(len(losses), np.nan))
    with pytest.raises(BadInput, match="3 losses of 30 schedules; expected as many"):
        fit_schedule(LAWS["power"], f, losses[:3])
    short = schedule_features(1e-3 * schedule_shape(8, share=share) for share in np.linspace(0.2, 1, 9))
    with pytest.raises(
        BadInput, match="curves of at most 8 steps are shorter than the memory of the annealing"
    ):
        fit_schedule(LAWS["annealing"], short, np.linspace(3, 2, 9))
    with pytest.raises(BadInput, match="does not describe these losses: a term of it comes out negative"):
        fit_schedule(LAWS["bound"], f, 3 + 0.5 * f.distance.max() - 0.5 * f.distance)


@pytest.mark.slow
def test_nuts_agrees_with_least_squares():
    from bayeslaw.inference.schedules import draw_schedule

    f = schedules((5e-4, 1e-3, 2e-3))
    losses = simulated("power", f)
    near = fit_schedule(LAWS["power"], f, losses)
    drawn, warnings = draw_schedule(LAWS["power"], f, losses)
    assert warnings == []
    ahead = schedules((1e-3,), lengths=(12_000,), shares=(0.3, 0.6))
    both = [predicted_losses(fit, LAWS["power"], ahead) for fit in (near, drawn)]
    assert np.median(both[0], 0) == pytest.approx(np.median(both[1], 0), rel=2e-3)
    assert drawn.noise == pytest.approx(NOISE, rel=0.5)
