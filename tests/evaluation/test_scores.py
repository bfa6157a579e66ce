"""Scores against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from bayeslaw.errors import BadInput
from bayeslaw.evaluation import scores

RNG = np.random.default_rng(0)


def test_crps_of_a_normal_ensemble_is_the_closed_form():
    draws = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None] * [1.0, 2.0] + [0.0, 1.0]
    y = np.array([0.7, -1.0])
    z = (y - [0.0, 1.0]) / [1.0, 2.0]
    exact = np.array([1.0, 2.0]) * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert scores.crps(draws, y) == pytest.approx(exact.mean(), rel=2e-3)


def test_crps_is_the_pairwise_definition_and_ignores_the_order_of_draws():
    draws, y = RNG.normal(size=(7, 3)), RNG.normal(size=3)
    pairs = np.abs(draws[:, None] - draws).sum(axis=(0, 1)) / (2 * 7 * 6)
    exact = np.mean(np.abs(draws - y).mean(axis=0) - pairs)
    assert scores.crps(draws, y) == pytest.approx(exact)
    assert scores.crps(draws[::-1], y) == pytest.approx(exact)


def test_crps_of_one_draw_is_the_absolute_error():
    assert scores.crps([[1.0, 4.0]], [2.0, 2.0]) == 1.5


def test_crps_rewards_the_right_width():
    y = RNG.normal(size=4000)
    by_width = {sd: scores.crps(RNG.normal(size=(400, 4000)) * sd, y) for sd in (0.3, 1.0, 3.0)}
    assert min(by_width, key=by_width.get) == 1.0
    assert by_width[1.0] == pytest.approx(1 / np.sqrt(np.pi), rel=0.05)


def test_r2_of_simple_predictions():
    y = np.array([1.0, 2.0, 4.0, 5.0])
    assert scores.r2(y, y) == 1
    assert scores.r2(np.full(4, 3.0), y) == 0
    assert scores.r2(y + 1, y) == pytest.approx(1 - 4 / 10)
    assert scores.r2(6 - y, y) == -3
    assert np.isnan(scores.r2([1.0, 2.0], [3.0, 3.0]))


def test_r2_within_cells_forgives_the_level_and_not_the_shape():
    cell = np.repeat([7, 9], 4)
    y = np.tile([1.0, 2.0, 4.0, 5.0], 2)
    shifted = y + np.repeat([10.0, -3.0], 4)
    assert scores.r2(shifted, y) < 0
    assert scores.r2_within_cells(shifted, y, cell) == pytest.approx(1)
    half_wrong = np.concatenate([y[:4], 6 - y[4:]])
    assert scores.r2_within_cells(half_wrong, y, cell) == pytest.approx((1 - 3) / 2)
    assert np.isnan(scores.r2_within_cells([1.0, 2.0], [1.0, 3.0], [0, 1]))


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_mae_and_crps_scale_with_the_unit_and_ignore_a_shift(shift, scale):
    draws, y = np.linspace(-1, 2, 12).reshape(4, 3), np.array([0.0, 0.3, -0.5])
    assert scores.crps(draws * scale + shift, y * scale + shift) == pytest.approx(
        scale * scores.crps(draws, y)
    )
    assert scores.mae(draws[0] * scale + shift, y * scale + shift) == pytest.approx(
        scale * scores.mae(draws[0], y)
    )


def test_calibrated_draws_cover_at_every_level_and_narrow_ones_do_not():
    centre = RNG.normal(size=3000)
    y = centre + RNG.normal(size=3000)
    draws = centre + RNG.normal(size=(800, 3000))
    for level, share in scores.coverage_by_level(draws, y).items():
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 3000) + 0.005)
    exact = 2 * norm.cdf(0.5 * norm.ppf(0.95)) - 1
    narrow = centre + 0.5 * RNG.normal(size=(800, 3000))
    assert scores.coverage(narrow, y, 0.9) == pytest.approx(exact, abs=0.04)


def test_pit_is_uniform_when_calibrated_and_counts_ties_half():
    y = RNG.normal(size=4000)
    values = scores.pit(RNG.normal(size=(500, 4000)), y)
    assert np.histogram(values, bins=10, range=(0, 1))[0] == pytest.approx(400, abs=80)
    assert scores.pit([[1.0], [2.0]], [2.0]).tolist() == [0.75]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.r2([1.0], [1.0, 2.0]), r"predicted has shape \(1,\), observed \(2,\)"),
        (lambda: scores.mae([], []), "at least one run"),
        (lambda: scores.crps(np.zeros((3, 2)), np.zeros(3)), "transpose the draws"),
        (
            lambda: scores.coverage(np.zeros((2, 1)), [np.nan], 0.9),
            "1 of 1 values of observed are not finite",
        ),
        (lambda: scores.coverage(np.zeros((2, 1)), [0.0], 90), "level = 90"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def test_runs_that_move_together_are_worth_few():
    """Ten runs in two groups, perfectly correlated within: two numbers; independent ones are worth ten."""
    two = RNG.standard_normal((4000, 2))
    assert scores.effective_count(np.repeat(two, 5, axis=1)) == pytest.approx(2.0, rel=0.02)
    assert scores.effective_count(RNG.standard_normal((400, 10))) == pytest.approx(10.0, rel=0.05)


def test_the_joint_pit_is_uniform_when_calibrated():
    """Correlated values with known measurement errors, drawn from what is predicted."""
    root = RNG.standard_normal((3, 3))
    draws = RNG.standard_normal((4000, 3)) @ root.T
    error = np.array([0.5, 1.0, 2.0])
    truths = RNG.standard_normal((400, 3)) @ root.T + error * RNG.standard_normal((400, 3))
    found = [scores.joint_pit(draws, truth, error) for truth in truths]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(found) > 0.9) == pytest.approx(0.1, abs=0.05)


def test_the_joint_pit_sees_what_every_single_coverage_misses():
    """Two values foretold to agree, that differ by two standard deviations though each is within one."""
    draws = RNG.standard_normal((4000, 1)) + 0.1 * RNG.standard_normal((4000, 2))
    assert scores.coverage(draws, [1.0, -1.0], 0.9) == 1.0
    assert scores.joint_pit(draws, [1.0, -1.0]) > 0.999


def test_predictions_without_spread_have_no_joint_pit():
    """What rounding leaves of a constant is no spread, nor is that of two that always agree."""
    certain = np.tile([0.1, 0.7], (50, 1))
    assert scores.effective_count(certain) == 2.0
    assert np.isnan(scores.joint_pit(certain, [0.1, 0.7]))
    assert np.isnan(scores.joint_pit(RNG.standard_normal((50, 1)) * np.ones(2), [0.0, 0.0]))


def test_the_joint_pit_needs_more_draws_than_values():
    assert np.isnan(scores.joint_pit(RNG.standard_normal((5, 3)), np.zeros(3)))
