"""Plans of a batch that grows: shares, batches, rates, and their forms in text and JSON."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules.batches import (
    BatchPlan,
    Growth,
    Switch,
    parse_switches,
    plan_from,
    plan_with_rates,
    running_optimum,
    seesaw,
    serial_steps,
    text_of,
)
from bayeslaw.theory.schedule_bounds import schedule_shape

PLAN = BatchPlan(512, 1e-3, (Switch(0.25, 1024, 1.4e-3), Switch(0.5, 2048, 1.6e-3)))


@pytest.mark.parametrize("exponent", [0.3, 0.57, 1.0])
def test_the_best_fixed_batch_is_the_geometric_mean_of_the_running_optimum(exponent):
    seen = (np.arange(1_000_000) + 0.5) / 1_000_000
    running = exponent + np.log(1000.0) + exponent * np.log(seen)  # ln e^p B*(x)
    assert running.mean() == pytest.approx(math.log(1000.0), abs=1e-5)


def test_a_switch_comes_where_the_running_optimum_reaches_the_batch():
    found = running_optimum(300_000, 0.57)
    assert [at.batch_tokens for at in found] == [2**k for k in (16, 17, 18, 19)]
    assert found[0].share == 0
    for at in found[1:]:
        assert math.exp(0.57) * 300_000 * at.share**0.57 == pytest.approx(at.batch_tokens)


def test_steps_of_a_growing_batch_against_theory():
    """e^-p / (1 - p) times those of the fixed batch, if it grew at every step (theory.md, E2)."""
    exponent, seen = 0.57, (np.arange(1_000_000) + 0.5) / 1_000_000
    ratio = np.mean(1 / (math.exp(exponent) * seen**exponent))
    assert ratio == pytest.approx(math.exp(-exponent) / (1 - exponent), rel=2e-3)
    assert f"{math.exp(-exponent) / (1 - exponent):.3f}" == "1.315"
    last = running_optimum(300_000, exponent)[-1]
    assert f"{last.batch_tokens / (300_000 * last.share**exponent):.3f}" == "1.768"  # e^p
    rounded = serial_steps(plan_with_rates(running_optimum(2**20, exponent), lambda _: 1.0), 1e12)
    assert 1.0 < rounded / (1e12 / 2**20) < 2 * ratio  # rounded down: at most twice as many


def test_bounds_and_the_last_decay_limit_a_running_optimum():
    assert [at.batch_tokens for at in running_optimum(1000, 0.5, lowest=300, highest=600)] == [512]
    late = running_optimum(1300, 0.5, until=0.5)
    assert all(at.share < 0.5 for at in late)
    assert late[-1].batch_tokens == 1024  # 2048 would come after 0.91
    assert running_optimum(1300, 0.5)[-1].batch_tokens == 2048
    assert running_optimum(700, -0.1) == (Growth(0, 512),)
    assert running_optimum(800, 0.0, lowest=2048, highest=4096) == (Growth(0, 2048),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lowest": 300, "highest": 500}, "batch plan: no power of 2 from 300 to 500 tokens; expected one"),
        ({"until": 0.0}, "batch plan: until = 0; expected a share above 0 and at most 1; correct it"),
        (
            {"exponent": math.nan},
            "batch plan: best batch 1000, exponent nan; expected a finite batch above 0",
        ),
        ({"best_batch_tokens": 0.0}, "batch plan: best batch 0, exponent 0.5; expected a finite batch above"),
    ],
)
def test_what_no_plan_can_follow_is_named(arguments, message):
    with pytest.raises(BadInput) as caught:
        running_optimum(**{"best_batch_tokens": 1000.0, "exponent": 0.5, **arguments})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_seesaw_acts_where_the_decay_has_halved_the_rate(decay):
    rates = schedule_shape(10_000, decay, final=0.1)
    found = seesaw(512, decay, 0.1)
    assert [(at.batch_tokens, at.cut) for at in found] == [(512, 1), (1024, 2), (2048, 4), (4096, 8)]
    for at in found[1:]:
        step = round(at.share * 10_000)
        assert rates[step] <= 1 / at.cut < rates[step - 1]
    assert [at.cut for at in seesaw(512, decay, final=0.3)] == [1, 2]


@pytest.mark.parametrize(("ridge", "factor"), [(0.5, 2**-0.5), (1.0, 1.0), (0.0, 0.5)])
def test_seesaw_is_the_published_rule_for_adam_and_sgd_and_a_mere_decay_on_a_flat_ridge(ridge, factor):
    plan = plan_with_rates(seesaw(512), lambda batch: 0.1 * batch**ridge)
    rates = [plan.learning_rate, *(switch.learning_rate for switch in plan.switches)]
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([factor] * 3)


def test_a_running_optimum_moves_the_rate_with_the_best_one():
    def best_rate(batch):  # saturating: half of its largest at 1024
        return 1e-2 / (1 + 1024 / batch)

    plan = plan_with_rates(running_optimum(1000, 0.5), best_rate)
    assert plan.learning_rate == pytest.approx(best_rate(128))
    assert [s.learning_rate for s in plan.switches] == pytest.approx([best_rate(b) for b in (256, 512, 1024)])


def test_text_and_json_come_back():
    assert parse_switches(text_of(PLAN.switches)) == PLAN.switches
    assert parse_switches("") == ()
    written = {**PLAN._asdict(), "switches": [s._asdict() for s in PLAN.switches], "other": 1}
    assert plan_from(json.loads(json.dumps(written)), "plan.json") == PLAN


@pytest.mark.parametrize(
    "text",
    ["0.5:1024", "0.5:1024:0.1:2", "a:1024:0.1", "0:1024:0.1", "1:1024:0.1", "0.5:0:0.1", "0.5:1024:-1"],
)
def test_other_texts_are_refused(text):
    with pytest.raises(BadInput, match="expected switches as SHARE:BATCH:RATE"):
        parse_switches(text)


@pytest.mark.parametrize(
    "content", [{}, {"batch_tokens": 1, "learning_rate": 1, "switches": [{"share": 0.5}]}]
)
def test_other_json_is_refused(content):
    with pytest.raises(BadInput, match=r"^plan\.json: not a batch plan \(KeyError: "):
        plan_from(content, "plan.json")
