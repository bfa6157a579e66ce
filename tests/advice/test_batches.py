"""Batch plans from a posterior, and the command that writes them."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayeslaw.advice.batches import advise_batches, batch_law
from bayeslaw.advice.prediction import predict
from bayeslaw.errors import BadInput
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.schedules.batches import plan_from, running_optimum
from bayeslaw.target import Target
from bayeslaw.theory.schedule_bounds import learning_rate_shift
from tests.support.command import run
from tests.support.fakes import fake_posterior
from train.schedules import fraction

TARGET = Target(1e9, 2e10, "adamw", "ours")


@pytest.fixture(scope="module")
def posterior():
    """Of runs with a cosine, as it says; it knows no other schedule."""
    found = fake_posterior()
    told = {study: {**words, "schedule": "cosine"} for study, words in found.conventions.items()}
    return replace(found, conventions=told)


def test_the_exponent_is_that_of_the_best_batch_between_two_targets(posterior):
    law = batch_law(posterior, TARGET)
    medians = [
        predict(posterior, replace(TARGET, tokens=d)).optimum["batch_tokens"].median for d in (2.5e9, 2e10)
    ]
    assert np.median(law.exponent) == pytest.approx(math.log(medians[1] / medians[0]) / math.log(8), abs=0.05)
    assert law.best_batch_tokens == predict(posterior, TARGET).recommendation["batch_tokens"]


def test_a_plan_follows_the_running_optimum_with_rates_on_the_ridge(posterior):
    found = advise_batches(posterior, TARGET)
    law = batch_law(posterior, TARGET)
    growths = running_optimum(law.best_batch_tokens, float(law.exponent.mean()), until=0.8)
    begin, *later = growths
    assert found.plan.batch_tokens == begin.batch_tokens
    assert [(s.share, s.batch_tokens) for s in found.plan.switches] == [
        (g.share, g.batch_tokens) for g in later
    ]
    for batch, rate in [found.plan[:2], *(switch[1:] for switch in found.plan.switches)]:
        advised = predict(posterior, replace(TARGET, batch_tokens=batch)).recommendation["learning_rate"]
        assert rate == pytest.approx(found.conversion * advised, rel=1e-3)
    assert found.conversion == pytest.approx(0.634, abs=5e-4)  # cosine to a tenth -> the last fifth to 0
    assert (found.schedule, found.decay_share) == ("wsd", pytest.approx(0.2))


@pytest.mark.parametrize(
    ("asked", "factor"),
    [
        ({"schedule": "cosine"}, 1.0),
        ({"schedule": "linear"}, 1.233),  # docs/theory.md: a cosine to a tenth has .811 of its best peak
        ({"until": 0.9}, 0.569),
        ({"decay_share": 0.1}, 0.569),
        ({"exchange": True}, 1.0),
    ],
)
def test_learning_rates_are_for_the_schedule_of_the_plan(posterior, asked, factor):
    found = advise_batches(posterior, TARGET, **asked)
    assert found.conversion == pytest.approx(factor, abs=5e-4)
    usual = advise_batches(posterior, TARGET, schedule="cosine").fixed.learning_rate
    assert found.fixed.learning_rate == pytest.approx(factor * usual, rel=1e-3)


def test_a_posterior_that_knows_schedules_is_asked(posterior):
    values = ("cosine", "wsd")
    shifts = {"schedule": np.tile([0.0, -0.2], (posterior.draws, 1))}
    knows = replace(
        posterior,
        pivot=posterior.pivot | {"share": 1.0},
        common=posterior.common | {"alpha_share": np.full(posterior.draws, 0.3)},
        factor=shifts,
        factor_spread={"schedule": np.ones(posterior.draws)},
        factor_values={"schedule": values},
    )
    cosine, wsd = (advise_batches(knows, TARGET, schedule=kind) for kind in values)
    assert (cosine.conversion, wsd.conversion, wsd.assumes["schedule"]) == (1.0, 1.0, "wsd")
    ratio = wsd.fixed.learning_rate / cosine.fixed.learning_rate
    assert ratio == pytest.approx(math.exp(0.3 * math.log(0.21 / 1.01) - 0.2), rel=1e-2)


def test_a_schedule_without_a_known_shape_is_not_converted(posterior):
    told = posterior.conventions["ours"] | {"schedule": "unknown"}
    other = replace(posterior, conventions=posterior.conventions | {"ours": told})
    found = advise_batches(other, TARGET)
    assert found.conversion == 1.0
    assert "schedule unknown: their learning rates are not converted to wsd" in found.warnings[-1]


def test_a_schedule_of_the_posteriors_own_runs_is_known(posterior):
    told = posterior.conventions["ours"] | {"schedule": "multistep"}
    other = replace(posterior, conventions=posterior.conventions | {"ours": told})
    assert advise_batches(other, TARGET, schedule="multistep").conversion == 1.0
    seen = replace(
        posterior,
        factor={"schedule": np.zeros((posterior.draws, 2))},
        factor_spread={"schedule": np.ones(posterior.draws)},
        factor_values={"schedule": ("cosine", "multistep")},
    )
    assert advise_batches(seen, TARGET, schedule="multistep").assumes["schedule"] == "multistep"
    with pytest.raises(BadInput, match="expected one of constant, cosine, linear, multistep, wsd, which"):
        advise_batches(seen, TARGET, schedule="mixed")


def test_growth_toml_has_cosine_rates_times_the_shift_of_its_own_schedules():
    plan = tomllib.loads((Path(__file__).parents[2] / "train" / "plans" / "growth.toml").read_text())
    fixed = [part for part in plan["part"] if "seed" in part and "batch_schedule" not in part]
    rates = {
        (p["optimizer"], p["tokens"], p["batch_tokens"], p["schedule"]): p["learning_rate"] for p in fixed
    }
    pairs = [(rates[*run, "wsd"], rate) for (*run, kind), rate in rates.items()
             if kind == "cosine" and (*run, "wsd") in rates]  # fmt: skip
    steps, warmup = 10_000, 1000  # 10%, and both end at a tenth, as the lab has it
    cosine, wsd = (
        [fraction(kind, step, steps, warmup, 0.1) for step in range(steps)] for kind in ("cosine", "wsd")
    )
    assert len(pairs) >= 3
    for mine, of_cosine in pairs:
        assert mine / of_cosine == pytest.approx(math.exp(learning_rate_shift(cosine, wsd)), rel=1e-3)


def test_seesaw_begins_with_the_best_fixed_batch_and_takes_fewer_steps(posterior):
    found = advise_batches(posterior, TARGET, exchange=True)
    assert found.plan[:2] == found.fixed[:2]
    assert found.schedule == "constant"
    told = found.to_json()
    assert told["serial_steps"] < told["fixed"]["serial_steps"]
    growing = advise_batches(posterior, TARGET).to_json()
    assert growing["serial_steps"] > growing["fixed"]["serial_steps"]


def test_a_batch_that_may_not_grow_is_doubted(posterior):
    shrinking = replace(
        posterior, group={**posterior.group, "epsilon": np.zeros_like(posterior.group["epsilon"])}
    )
    found = advise_batches(shrinking, TARGET)
    assert found.plan.switches == ()
    assert "may be 0: a fixed batch may be as good" in found.warnings[-1]


def test_the_command_writes_a_plan_that_the_lab_reads(posterior, tmp_path, monkeypatch, capsys):
    write_posterior(posterior, tmp_path / "p.nc")
    monkeypatch.chdir(tmp_path)
    asked = "schedule batch --params 1e9 --tokens 20B --optimizer AdamW --posterior p.nc --study ours".split()
    code, out, err = run(monkeypatch, capsys, *asked, "--max-batch", "512k", "-o", "plan.json", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told == json.loads((tmp_path / "plan.json").read_text())
    plan = plan_from(told, "plan.json")
    known = advise_batches(posterior, TARGET, bounds=(1, 512e3)).plan
    assert [s.batch_tokens for s in plan.switches] == [s.batch_tokens for s in known.switches]
    assert plan[:2] == pytest.approx(known[:2], rel=1e-3)  # the file holds draws in single precision
    assert max(plan.batch_tokens, *(s.batch_tokens for s in plan.switches)) <= 512e3
    code, out, _ = run(monkeypatch, capsys, *asked, "--seesaw")
    assert code == 0
    assert "from share" in out
    assert "schedule       constant; learning rates are those of whole runs with" in out
    code, out, _ = run(monkeypatch, capsys, *asked, "--decay-share", "0.1")
    assert code == 0
    assert (
        "wsd, falling over the last 10%; learning rates are those of whole runs with cosine, times 0.569"
        in out
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--until", "2"], "batch plan: until = 2; expected a share above 0 and at most 1"),
        (["--min-batch", "300", "--max-batch", "500"], "batch plan: no power of 2 from 300 to 500 tokens"),
        (["--min-batch", "none"], "--min-batch none: expected a finite number above 0"),
        (["--study", "nobody"], "--study nobody: not in p.nc; expected one of"),
        (["--decay-share", "2"], "--decay-share 2: expected a share from 0 to 1"),
        (
            ["--schedule", "bananas"],
            "batch plan: schedule = bananas; expected one of constant, cosine, linear, wsd, which the "
            "posterior or this library knows",
        ),
        (
            ["--seesaw", "--schedule", "wsd"],
            "--seesaw takes the place of a cosine's decay; expected no --schedule",
        ),
        (["-o", "/no/such/plan.json"], "/no/such/plan.json: "),
    ],
)
def test_bad_input_is_one_clear_error(given, message, posterior, tmp_path, monkeypatch, capsys):
    write_posterior(posterior, tmp_path / "p.nc")
    monkeypatch.chdir(tmp_path)
    asked = ["schedule", "batch", "--params", "1e9", "--tokens", "2e10", "--posterior", "p.nc", *given]
    code, out, err = run(monkeypatch, capsys, *asked)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
