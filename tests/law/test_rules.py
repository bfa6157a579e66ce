"""Rules that carry a tuned run: the numbers that papers print, and what is refused."""

from __future__ import annotations

import math

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.law.rules import RULES, Tuned, parse_tuned, rule_answer, shape_factors
from bayeslaw.target import Target

TUNED = Tuned(1e8, 2e9, 1e5, 1e-3)


def carried(name, n=1e8, d=2e9, batch=1e5):
    return RULES[name].carry(TUNED, n, d, batch)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_that_goes_nowhere_changes_nothing(rule):
    same = rule.carry(TUNED, 1e8, 2e9, 1e5)
    assert (same["learning_rate"], same["batch_tokens"]) == (pytest.approx(1e-3), 1e5)
    assert all(value == pytest.approx(1.0) for name, value in same.items() if name.endswith("factor"))
    assert min(map(len, (rule.formula, rule.source, rule.note))) > 10


@pytest.mark.parametrize(
    ("name", "change", "factor"),
    [
        ("sqrt", {"batch": 4e5}, 2.0),
        ("linear", {"batch": 4e5}, 4.0),
        ("scion", {"d": 2e10}, 10**-0.56),
        ("scion", {"d": 2e10, "batch": 1e5 * 10**0.45}, 10**-0.281),  # along its best batch
        ("hyperp", {"d": 2e10}, 10**-0.32),
        ("hyperp", {"batch": 2e5}, 2**0.558),
        ("mup", {"n": 8e8}, 0.5),  # twice the width and the depth
        ("completep", {"n": 8e8}, 0.5),
        ("moonlight", {"n": 8e8}, 1.0),
    ],
)
def test_exponents(name, change, factor):
    assert carried(name, **change)["learning_rate"] == pytest.approx(1e-3 * factor)


def test_the_surge_is_symmetric_about_its_peak():
    peak = carried("surge", batch=2.14e5 * 0.1**0.76)["learning_rate"]
    sides = [carried("surge", batch=2.14e5 * 0.1**0.76 * x)["learning_rate"] for x in (0.25, 4.0)]
    assert sides == pytest.approx([0.8 * peak] * 2, rel=1e-6)


def test_malladi_moves_momentum_and_epsilon_too():
    use = carried("malladi", batch=4e5)
    assert use == pytest.approx(
        {"learning_rate": 2e-3, "batch_tokens": 4e5, "momentum": 0.6, "beta2": 0.8, "epsilon": 5e-9}
    )
    with pytest.raises(BadInput, match=r"rule malladi: momentum = -0.6 at 16 times the tuned batch"):
        carried("malladi", batch=16e5)


def test_completep_between_its_ends():
    half = shape_factors(2.0, 4.0, residual_power=0.5)
    assert half["learning_rate"] == pytest.approx(0.25)
    assert half["residual_factor"] == pytest.approx(0.5)
    assert shape_factors(2.0, 4.0)["initial_sd_factor"] == pytest.approx(math.sqrt(0.5))


def test_an_answer_says_for_whom_a_rule_is_and_where_it_breaks_down():
    (text,) = rule_answer(RULES["linear"], TUNED, Target(1e9, 2e10))["warnings"]
    assert text == "linear rule: made for sgd, not adamw"
    broken = rule_answer(RULES["malladi"], TUNED, Target(1e9, 2e10, batch_tokens=4e6))
    assert broken["recommendation"] == {}
    assert "breaks down" in broken["warnings"][0]


@pytest.mark.parametrize("text", ["1e8,2e9,1e5", "1e8,2e9,1e5,-1", "a,b,c,d", "1e8,2e9,1e5,1e-3,1"])
def test_a_tuned_run_that_is_none_is_refused(text):
    with pytest.raises(BadInput, match="expected N,D,BATCH,RATE, four finite numbers above 0"):
        parse_tuned(text)
    with pytest.raises(BadInput, match="target D = nan"):
        RULES["sqrt"].carry(TUNED, 1e8, float("nan"), 1e5)
