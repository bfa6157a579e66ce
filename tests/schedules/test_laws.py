"""Each law against its printed formula, step by step, and what no schedule is."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules import features
from bayeslaw.schedules.features import schedule_features
from bayeslaw.schedules.laws import LAWS, schedule_loss
from bayeslaw.theory.schedule_bounds import PowerBound, convex_bound, power_loss, schedule_shape

AMPLITUDES = {"floor": 2.0, "first": 0.6, "second": 40.0}
RATES = 1e-3 * schedule_shape(60, "cosine", share=0.7, warmup=0.1)
PEAK = 5
"""Index of the first step at the peak rate."""


def annealing(p, rates):
    """Tissue et al.: momentum of the falls, step by step."""
    falls = np.diff(rates, prepend=rates[0]) * -1
    falls[: PEAK + 1] = 0
    area = momentum = 0.0
    for fall in falls:
        momentum = (1 - 1 / p["memory"]) * momentum + fall
        area += momentum
    return p["floor"] + p["first"] * rates.sum() ** -p["exponent"] - p["second"] * area


def fallen(rates, gained):
    """Sum of the falls times what each has gained, the rise to the peak first."""
    total = -rates[PEAK] * gained(PEAK)
    return total + sum((rates[k - 1] - rates[k]) * gained(k) for k in range(PEAK + 1, len(rates)))


def multi_power(p, rates):
    def gained(k):
        reach = p["speed"] * rates[k] ** -p["rate_exponent"] * rates[k:].sum()
        return 1 - (1 + reach) ** -p["fade_exponent"]

    return p["floor"] + p["first"] * rates.sum() ** -p["exponent"] - p["second"] * fallen(rates, gained)


def functional(p, rates):
    def gained(k):
        since = rates[k:].sum()
        weight = p["base"] + rates[: k + 1].sum() ** -p["exponent"]
        return weight * (1 - (1 + p["speed"] * since) ** -p["fade_exponent"])

    return p["floor"] + p["first"] * rates.sum() ** -p["exponent"] - p["second"] * fallen(rates, gained)


@pytest.mark.parametrize(
    ("name", "shapes", "printed"),
    [
        ("annealing", {"exponent": 0.4, "memory": 20.0}, annealing),
        (
            "multi-power",  # the paper's constants of 100M parameters
            {"exponent": 0.453, "speed": 2.132, "rate_exponent": 0.598, "fade_exponent": 0.655},
            multi_power,
        ),
        (
            "functional",
            {"exponent": 0.4, "base": 0.3, "speed": 30.0, "fade_exponent": 0.5},
            functional,
        ),
    ],
)
def test_a_law_is_its_printed_formula(name, shapes, printed):
    params = AMPLITUDES | shapes
    assert schedule_loss(name, params, RATES) == pytest.approx(printed(params, RATES), rel=1e-9)


def test_the_bounds_are_those_of_theory():
    power = {"distance_exponent": 0.114, "noise_exponent": 0.213}
    constants = PowerBound(2.0, 0.6, 0.114, 40.0, 0.213)
    assert schedule_loss("power", AMPLITUDES | power, RATES) == pytest.approx(power_loss(RATES, constants))
    assert schedule_loss("bound", {"floor": 0.0, "first": 4.0, "second": 25.0}, RATES) == pytest.approx(
        convex_bound(RATES, 2.0, 5.0)
    )


def test_blocks_change_little(monkeypatch):
    rates = 1e-3 * schedule_shape(3000, share=0.5, warmup=0.1)
    coarse = schedule_features([rates])
    monkeypatch.setattr(features, "BLOCKS", 10**6)
    exact = schedule_features([rates])
    assert coarse.drop.shape[1] < 80 < exact.drop.shape[1]
    params = AMPLITUDES | {"exponent": 0.45, "speed": 2.0, "rate_exponent": 0.6, "fade_exponent": 0.65}
    both = [float(LAWS["multi-power"].loss(params, each)[0]) for each in (coarse, exact)]
    assert both[0] == pytest.approx(both[1], rel=5e-5)


def test_a_constant_schedule_has_no_falls_and_rows_are_padded():
    f = schedule_features([np.full(50, 1e-3), RATES])
    assert not f.drop[0].any()
    assert f.drop[1].sum() == pytest.approx(RATES.max() - RATES[-1])
    assert f.area_since_peak[0] == f.area[0] == pytest.approx(0.05)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_an_entry_is_whole(law):
    assert min(map(len, (law.formula, law.source))) > 10
    assert all(shape.low < min(shape.start) and max(shape.start) < shape.high for shape in law.shapes)


MULTI = AMPLITUDES | {"exponent": 0.45, "speed": 2.0, "rate_exponent": 0.6, "fade_exponent": 0.65}
TISSUE = AMPLITUDES | {"exponent": 0.4, "memory": 100.0}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: schedule_loss("multi-power", MULTI, np.zeros(9)), "learning_rates of shape (9,), 0 of them"),
        (lambda: schedule_loss("multi-power", MULTI, []), "learning_rates of shape (0,), 0 of them above 0"),
        (lambda: schedule_loss("multi-power", MULTI, [1e-3, -1e-3]), "learning_rates = -0.001; expected"),
        (lambda: schedule_loss("multi-power", MULTI, [1e-3, np.inf]), "learning_rates = inf; expected"),
        (
            lambda: schedule_loss("annealing", TISSUE, RATES),
            "60 steps is shorter than the law's memory of 100",
        ),
        (lambda: schedule_loss("magic", {}, RATES), "schedule law = 'magic'; expected one of annealing"),
        (
            lambda: schedule_loss("bound", {"floor": 1.0}, RATES),
            "parameters floor; expected floor, first, second",
        ),
        (
            lambda: schedule_loss("multi-power", MULTI | {"speed": -1.0}, RATES),
            "speed = -1.0; expected a finite",
        ),
        (lambda: schedule_features([]), "no schedules; expected at least one"),
    ],
)
def test_what_is_no_schedule_is_refused(call, said):
    with pytest.raises(BadInput) as refused:
        call()
    assert said in str(refused.value)
