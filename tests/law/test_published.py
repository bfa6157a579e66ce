"""The published laws give the numbers their papers report."""

import math
import subprocess
import sys

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.law.agreement import ADVISED, agreement, law_answer
from bayeslaw.law.published import LAWS, saturating_rate_at
from bayeslaw.target import Target


@pytest.mark.parametrize(
    ("name", "params", "tokens", "learning_rate", "batch_tokens"),
    [
        ("deepseek", 7e9, 2e12, 4.2e-4, 9.44e6),  # the paper's own 7B settings
        ("deepseek", 6.7e10, 2e12, 3.2e-4, 18.87e6),  # the paper's own 67B settings
        ("porian", 1.08e8, 2.16e9, 4.7e-3, 164 * 2048),
        ("bjorck", 7e9, 1e12, 1.05e-4, None),
        ("step", 1e9, 1e11, 1.64e-3, 1.11e6),
        ("constant", 1e8, 1e9, 2e-3, 5e5),
        ("zhou", 1e9, 1e11, 5.3e-5, None),  # as the note on its units has it
    ],
)
def test_a_law_gives_the_numbers_reported_for_it(name, params, tokens, learning_rate, batch_tokens):
    advice = LAWS[name].recommend(params, tokens)
    assert advice["learning_rate"] == pytest.approx(learning_rate, rel=0.03)
    if batch_tokens is None:
        assert "batch_tokens" not in advice
    else:
        assert advice["batch_tokens"] == pytest.approx(batch_tokens, rel=0.03)


def test_bjorck_finds_llama_1_about_two_and_a_half_times_too_high():
    ratio = 3e-4 / LAWS["bjorck"].recommend(6.7e9, 1e12)["learning_rate"]
    assert 2.3 < ratio < 3.0


@pytest.mark.parametrize(
    ("name", "by_params", "by_tokens"),
    [
        ("step", -0.713, 0.307),
        ("deepseek", -0.125, -0.125),
        ("bjorck", -0.23, -0.32),
        ("porian", -0.36, 0.0),
        ("constant", 0.0, 0.0),
    ],
)
def test_the_exponents_of_the_learning_rate(name, by_params, by_tokens):
    base = math.log(LAWS[name].recommend(3e8, 6e9)["learning_rate"])
    assert math.log(LAWS[name].recommend(3e8 * math.e, 6e9)["learning_rate"]) - base == pytest.approx(
        by_params
    )
    assert math.log(LAWS[name].recommend(3e8, 6e9 * math.e)["learning_rate"]) - base == pytest.approx(
        by_tokens
    )


def test_kaplan_is_refused_where_its_learning_rate_turns_negative():
    assert LAWS["kaplan"].recommend(1.15e10, 1e12)["learning_rate"] > 0
    with pytest.raises(BadInput, match=r"law kaplan: learning rate -.* choose another law"):
        LAWS["kaplan"].recommend(1.3e10, 1e12)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_every_law_keeps_the_contract(law):
    advice = law.recommend(1e8, 2e9)
    assert advice
    assert set(advice) <= set(ADVISED)
    ends = {"learning_rate": (1e-5, 0.1), "weight_decay": (1e-3, 1.0)}
    for name, value in advice.items():
        low, high = ends.get(name, (1e4, 1e8))
        assert low < value < high
    assert law.recommend(1e8, 2e9, batch_tokens=12345.0)["batch_tokens"] == 12345.0
    assert min(map(len, (law.source, law.units, law.formula, law.optimizer))) > 3
    with pytest.raises(BadInput, match="params_nonembedding = -1"):
        law.recommend(-1, 2e9)
    with pytest.raises(BadInput, match="tokens = nan"):
        law.recommend(1e8, float("nan"))


def test_a_law_warns_outside_what_it_was_fitted_on_and_not_inside():
    assert LAWS["step"].warnings(3e8, 2e10) == []
    assert LAWS["deepseek"].warnings(1e8, 1e9) == []
    (text,) = LAWS["deepseek"].warnings(1e9, 1e11)
    assert "C = 6e+20 is 1.48 decades above" in text
    (text,) = LAWS["porian"].warnings(1e7, 1e9)
    assert "below" in text


def test_a_law_warns_about_a_batch_that_is_not_its_own():
    (text,) = LAWS["bjorck"].warnings(1e9, 1e11, batch_tokens=4e6)
    assert "5e+05 tokens, not 4e+06" in text
    assert LAWS["bjorck"].warnings(1e9, 1e11, batch_tokens=5e5) == []


def test_the_laws_import_quickly():
    heavy = ("scipy", "pandas", "jax")
    code = f"import sys, bayeslaw.law.published; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "size", "advised", "value"),
    [
        ("zhang", (1e9, 2e10), "critical_batch_tokens", 93.20 * 1e3**0.47 * 512),  # the same along D = 20 N
        (
            "zhang",
            (3e8, 3.07e9),
            "critical_batch_tokens",
            621 * 3e2**0.087 * 512,
        ),  # the paper's fit at this D
        ("power-lines", (1e9, 2e10), "weight_decay", 4.5 * (0.0306 * 2e10**0.383 * 2048) / 2e10 / 9.96e-4),
        ("kaplan", (1e9, 2e10), "critical_batch_tokens", 2e8 * 2.53**-4.76),
        ("merrill", (1e9, 2e10), "critical_batch_tokens", 4096 * 4096),
    ],
)
def test_what_else_laws_say(name, size, advised, value):
    near = 0.45 if size[1] == 3.07e9 else 0.02  # two fits of one paper
    assert LAWS[name].recommend(*size)[advised] == pytest.approx(value, rel=near)


def test_the_saturating_law_takes_account_of_the_batch():
    law = LAWS["saturating"]
    low, high = (law.recommend(5e8, 2e10, batch)["learning_rate"] for batch in (2.14e5, 2.14e9))
    assert low / high == pytest.approx(0.5, rel=1e-3)
    assert high == pytest.approx(math.exp(-6.10), rel=1e-3)
    assert law.warnings(5e8, 2e10, 1e6) == []
    steps = [math.log(saturating_rate_at(5e8, 2e10, 2.14e5 * math.exp(x))) for x in (-1e-4, 1e-4)]
    assert (steps[1] - steps[0]) / 2e-4 == pytest.approx(0.5, abs=1e-4)


def field(target, ours=None):
    return agreement([law_answer(law, target) for law in LAWS.values()], target, ours)


def test_the_field_agrees_that_the_rate_falls_with_size_and_not_what_tokens_do():
    found = field(Target(1e9, 2e10))
    assert found["slopes"]["params"] == {
        "lower": -0.713,
        "upper": pytest.approx(-0.125),
        "raise": 0,
        "reduce": 6,
        "rules": {"mup": pytest.approx(-1 / 3), "completep": pytest.approx(-1 / 3)},
    }
    assert found["slopes"]["tokens"]["rules"] == pytest.approx({"scion": -0.56, "hyperp": -0.32})
    assert (found["slopes"]["tokens"]["raise"], found["slopes"]["tokens"]["reduce"]) == (1, 3)
    assert not found["advice"]["batch_tokens"]["agree"]
    assert set(found["advice"]["learning_rate"]["laws"]).isdisjoint({"constant", "saturating"})


def test_where_ours_stands():
    ours = {
        "recommendation": {"learning_rate": 1e-3},
        "optimum": {"learning_rate": {"lower": 5e-4, "upper": 1e-3}},
    }
    target = Target(1e9, 2e10, batch_tokens=5e5)
    told = field(target, ours)["advice"]
    assert told["learning_rate"]["inside_interval"] == ["step", "deepseek", "bjorck"]
    assert "batch_tokens" not in told, "a batch that is fixed is no advice"
    assert "ours" not in told["weight_decay"]
    assert told["weight_decay"]["agree"] is None, "one law cannot agree"
    answers = [law_answer(law, target) for law in LAWS.values()]
    found = agreement(answers, target, ours, {"params": -0.4, "tokens": 0.1})
    assert (found["slopes"]["params"]["ours"], found["slopes"]["tokens"]["ours"]) == (-0.4, 0.1)


def test_laws_that_break_down_do_not_count():
    told = field(Target(7e10, 1.4e12))
    assert "kaplan" not in told["advice"]["learning_rate"]["laws"]
    assert told["slopes"]["params"]["reduce"] == 5


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
@pytest.mark.parametrize("place", [(1e9, 1e300), (1e300, 1e9), (1.0, 1e200)])
def test_a_law_that_breaks_down_says_so_and_gives_no_number(law, place):
    told = law_answer(law, Target(*place))
    broken = [text for text in told["warnings"] if "breaks down this far out" in text]
    assert bool(broken) != bool(told["recommendation"])
    assert all(0 < value < math.inf for value in told["recommendation"].values())
