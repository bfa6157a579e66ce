"""X1 and X2 of a schedule's shape: the formula as it is printed, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.schedule_bounds import (
    PowerBound,
    bound_ratio,
    convex_bound,
    convex_optimum,
    learning_rate_shift,
    power_loss,
    power_optimum,
    schedule_scalars,
    schedule_shape,
)
from tests.theory.brute_force import least

STEPS = 20_000
LINEAR = schedule_shape(STEPS)
LAW = PowerBound(2.5, 3.0, 0.114, 0.4, 0.213)


def printed(rates, distance, gradient):
    """The bound term by term, as it stands in the paper."""
    rates, steps = list(rates), len(rates)
    squares = [(rate * gradient) ** 2 for rate in rates]
    total = distance**2 / (2 * sum(rates)) + sum(squares) / (2 * sum(rates))
    for k in range(steps - 1):
        total += 0.5 * rates[k] / sum(rates[k + 1 :]) * sum(squares[k:]) / sum(rates[k:])
    return total


@pytest.mark.parametrize("options", [{}, {"decay": "cosine", "final": 0.1}, {"share": 0.2, "warmup": 0.1}])
def test_the_bound_is_the_printed_formula(options):
    rates = 0.03 * schedule_shape(50, **options)
    assert convex_bound(rates, 2.0, 5.0) == pytest.approx(printed(rates, 2.0, 5.0))


def test_the_linear_schedules_scalars():
    x = schedule_scalars(LINEAR)
    assert f"{STEPS * x.distance:.4f} {x.noise:.4f}" == "1.0000 1.0004"


def test_the_shift_from_cosine_to_wsd():
    cosine, wsd = schedule_shape(STEPS, "cosine"), schedule_shape(STEPS, share=0.2)
    assert f"{learning_rate_shift(cosine, wsd):.3f}" == "-0.635"
    back = learning_rate_shift(wsd, 3e-4 * cosine)  # a smaller shape needs a larger multiplier
    assert back == pytest.approx(-learning_rate_shift(cosine, wsd) - np.log(3e-4))


@pytest.mark.parametrize(
    ("options", "rate", "level"),
    [
        ({"warmup": 0.1}, 0.983, 1.018),
        ({"final": 0.1}, 0.809, 1.124),
        ({"decay": "cosine"}, 0.971, 1.030),
        ({"decay": "cosine", "final": 0.1}, 0.811, 1.121),
        ({"decay": "cosine", "final": 0.1, "warmup": 0.1}, 0.807, 1.137),
        ({"decay": "root", "share": 0.2}, 0.543, 1.063),
        ({"decay": "root"}, 1.49, 1.007),
        ({"decay": "square"}, 1.414, 1.061),
        ({"share": 0.05}, 0.425, 1.206),
        ({"share": 0.2}, 0.514, 1.080),
        ({"share": 0.4}, 0.608, 1.029),
        ({"share": 0.8}, 0.832, 1.001),
        ({"share": 0.2, "final": 0.1}, 0.482, 1.140),
        ({"share": 0.0}, 0.295, 1.694),
    ],
)
def test_the_table_relative_to_linear(options, rate, level):
    other = schedule_shape(STEPS, **options)
    assert np.exp(learning_rate_shift(LINEAR, other)) == pytest.approx(rate, abs=0.001)
    assert bound_ratio(LINEAR, other) == pytest.approx(level, abs=0.001)


def test_the_best_rates_are_minima():
    shape = schedule_shape(300, share=0.3)
    rate, value = convex_optimum(shape, 2.0, 5.0)
    place, lowest = least(lambda x: convex_bound(np.exp(x) * shape, 2.0, 5.0), [-3.0])
    assert [np.log(rate), value] == pytest.approx([place[0], lowest], rel=1e-6)
    above_floor = LAW._replace(floor=0.0)
    place, _ = least(lambda x: power_loss(np.exp(x) * shape, above_floor), [-3.0])
    assert np.log(power_optimum(shape, LAW)) == pytest.approx(place[0], abs=1e-6)


def test_the_convex_bound_is_the_power_bound_with_powers_of_one():
    rates = 0.02 * schedule_shape(100, "cosine")
    assert power_loss(rates, PowerBound(0.0, 4.0, 1.0, 25.0, 1.0)) == pytest.approx(
        convex_bound(rates, 2.0, 5.0)
    )


def test_steps_at_a_rate_of_zero_change_nothing_at_the_end():
    assert schedule_scalars([*LINEAR, 0.0, 0.0]) == schedule_scalars(LINEAR)


def test_a_steep_decay_does_not_cancel():
    steep = np.linspace(1.0, 0.0, 100_001)[:-1] ** 3
    x = schedule_scalars(steep)
    assert np.isfinite(x).all()
    assert x.noise == pytest.approx(schedule_scalars(np.linspace(1.0, 0.0, 10_001)[:-1] ** 3).noise, rel=1e-3)


def test_only_the_constant_schedule_grows_worse_with_the_steps():
    def grown(**options):
        return np.diff([schedule_scalars(schedule_shape(t, **options)).noise for t in (1000, 100_000)])[0]

    assert grown(share=0.0) == pytest.approx(0.5 * np.log(100), rel=0.01)
    assert abs(grown()) < 0.01
    assert abs(grown(share=0.2)) < 0.05


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: schedule_scalars([]), "learning_rates of shape (0,), 0 of them above 0"),
        (lambda: schedule_scalars([0.0, 0.0]), "learning_rates of shape (2,), 0 of them above 0"),
        (lambda: schedule_scalars([[1.0, 2.0]]), "learning_rates of shape (1, 2), 2 of them above 0"),
        (lambda: schedule_scalars([1.0, -0.1]), "schedule_scalars: learning_rates = -0.1"),
        (lambda: convex_bound([1.0, np.nan]), "convex_bound: learning_rates = nan"),
        (lambda: schedule_shape(10, "exponential"), "decay = 'exponential'; expected one of linear, cosine"),
        (lambda: schedule_shape(0), "steps = 0; expected a whole number above 0"),
        (lambda: schedule_shape(10, share=1.5), "share = 1.5; expected 0 to 1"),
        (lambda: schedule_shape(10, share=0.9, warmup=0.2), "share + warmup = 1.1; expected at most 1"),
        (lambda: power_loss([1.0], LAW._replace(noise=0.0)), "power_loss: noise = 0.0"),
    ],
)
def test_what_is_no_schedule_is_refused(call, said):
    with pytest.raises(BadInput) as refused:
        call()
    assert said in str(refused.value)
