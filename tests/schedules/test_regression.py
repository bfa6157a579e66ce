"""The regression on a schedule's numbers: truths of its own form come back, and bad input is named."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules.regression import fit_regression, schedule_numbers
from bayeslaw.theory.schedule_bounds import schedule_shape


def grid(lengths=(200, 400, 800), shares=(0.2, 0.5, 0.9), peaks=(0.1, 0.3, 1.0), warmups=(0.01, 0.2)):
    """Schedules of several lengths, decays, peaks and warm-ups."""
    return [
        peak * schedule_shape(steps, share=share if share + warmup <= 1 else 1 - warmup, warmup=warmup)
        for steps in lengths
        for share in shares
        for peak in peaks
        for warmup in warmups
    ]


def truth(schedules):
    n = schedule_numbers(schedules)
    return np.exp(1.0 + 0.1 * n.distance + 0.02 * (n.noise + 1.5) ** 2)


def test_losses_of_its_own_form_are_predicted_beyond_the_fitted_lengths():
    rng = np.random.default_rng(0)
    known, ahead = grid(), grid(lengths=(1600,))
    found = fit_regression(known, truth(known) * np.exp(0.002 * rng.standard_normal(len(known))))
    assert found.noise == pytest.approx(0.002, rel=0.3)
    draws = found.loss_draws(ahead)
    assert np.median(draws, axis=0) == pytest.approx(truth(ahead), rel=0.01)
    off = np.log(draws / truth(ahead)).mean(axis=1)  # all of them share the errors of five coefficients
    assert abs(off.mean()) < 3.0 * off.std() < 0.02


def test_what_diverged_tells_what_will():
    """Runs diverge where the rate rises fast to a high peak."""
    schedules = grid(warmups=(0.005, 0.05, 0.2))
    n = schedule_numbers(schedules)
    odds = 4.0 * (n.peak + 1.2) + 2.0 * (n.rise + 4.0)
    diverged = np.random.default_rng(1).uniform(size=len(odds)) < 1.0 / (1.0 + np.exp(-odds))
    assert 10 < diverged.sum() < len(odds) - 10
    found = fit_regression(schedules, np.where(diverged, np.nan, truth(schedules)))
    chance = found.divergence_probability(schedules)
    assert np.corrcoef(chance, 1.0 / (1.0 + np.exp(-odds)))[0, 1] > 0.95
    low, high = found.divergence_probability([0.1 * schedule_shape(400, warmup=0.2), np.full(400, 3.0)])
    assert low < 0.05
    assert high > 0.9


def test_without_a_divergence_it_is_unlikely_and_not_impossible():
    schedules = grid()
    chance = fit_regression(schedules, truth(schedules)).divergence_probability(schedules)
    assert 0.0 < chance.max() < 0.1


@pytest.mark.parametrize(
    ("count", "losses", "said"),
    [
        (8, np.ones(3), "3 losses of 8 schedules; expected as many"),
        (5, np.ones(5), "5 finished runs; expected more than the 5 coefficients"),
        (8, [1.0] * 5 + [np.nan] * 3, "5 finished runs; expected more than"),
    ],
)
def test_bad_input_is_named(count, losses, said):
    with pytest.raises(BadInput, match=said):
        fit_regression(grid()[:count], losses)


def test_a_schedule_that_is_all_zero_is_refused():
    with pytest.raises(BadInput, match="above 0"):
        schedule_numbers([[0.0, 0.0]])
