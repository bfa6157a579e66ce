"""The batch, the rule to stop, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import surface_at
from bayeslaw.errors import BadInput
from bayeslaw.planning.batches import design, plan_table
from bayeslaw.planning.candidates import drawn_from, with_cost
from bayeslaw.planning.stopping import (
    LEAST_SLOPE,
    compute_slope,
    regret_bound,
    seed_noise,
    stop_rule,
    verdict,
)
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.target import Target, parse_target
from tests.support.command import run
from tests.support.fakes import fake_posterior, shifted
from tests.support.pictures import inked

ROOT = Path(__file__).resolve().parents[2]
SPACE = """
[space]
count = 60
optimizer = "adamw"
params_nonembedding = [25e3, 100e3]
tokens_per_param = [20, 50]
learning_rate = {low = 1e-4, high = 1e-1}
batch_tokens = {low = 512, high = 16384}
weight_decay = {low = 0.01, high = 1.0}
corpus = "stdlib"
"""
ASKED = ["design", "--posterior", "p.nc", "--target", "1e6,2e7,adamw", "--space", "s.toml"]
ASKED += ["--budget", "1e12", "-o", "plan.csv"]


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(200)


@pytest.fixture(scope="module")
def pool():
    space = {"count": 40, "optimizer": "adamw", "params_nonembedding": [1e8, 4e8], "tokens_per_param": 20}
    space |= {"learning_rate": {"low": 2e-4, "high": 2e-2}, "batch_tokens": {"low": 3e4, "high": 3e6}}
    return with_cost(drawn_from(space, "s"), "s")[0]


@pytest.fixture
def folder(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_posterior(fit, tmp_path / "p.nc")
    (tmp_path / "s.toml").write_text(SPACE)
    return tmp_path


# ------------------------------------------------------------------------------------------- the answer


def test_the_answer_adds_up(fit, pool):
    targets = [Target(7e9, 1.4e11, "adamw", None), Target(7e9, 1.4e11, "muon", None)]
    result = design(fit, targets, pool, 6e18, batch=4)
    assert list(result) == "inputs runs cost regret stop candidates warnings posterior".split()
    assert result["cost"] == pytest.approx(sum(each["cost"] for each in result["runs"]))
    assert result["cost"] <= 6e18
    bought = sum(each["regret_reduction"] for each in result["runs"])
    assert result["regret"]["before"] - result["regret"]["after"] == pytest.approx(bought)
    assert result["regret"]["before"] == pytest.approx(sum(result["regret"]["before_by_decision"].values()))
    assert [each["row"] - 1 for each in result["runs"]] == list(result.rows)
    assert (
        np.isnan(result.alone).sum() == result["candidates"]["offered"] - result["candidates"]["affordable"]
    )
    assert json.loads(json.dumps(result.to_json())) == result


def test_the_mean_of_two_equal_targets_is_that_of_one(fit, pool):
    target = Target(7e9, 1.4e11, "adamw", None)
    one, two = (design(fit, [target] * k, pool, 2e18, batch=2) for k in (1, 2))
    assert one["regret"]["before"] == pytest.approx(two["regret"]["before"])
    assert [each["row"] for each in one["runs"]] == [each["row"] for each in two["runs"]]


def test_a_design_from_nothing_but_the_prior(pool):
    fit = fake_posterior(200)
    nothing = replace(
        fit,
        group={name: values[:, :0] for name, values in fit.group.items()},
        study={name: values[:, :0] for name, values in fit.study.items()},
        cell={name: values[:, :0] for name, values in fit.cell.items()},
        **dict.fromkeys(("groups", "studies", "optimizers", "cells"), ()),
    )
    result = design(nothing, [Target(7e9, 1.4e11, "adamw", "new")], pool, 1e20, batch=5)
    assert result["regret"]["before"] > result["regret"]["after"] > 0
    assert result["stop"]["stop"] is False
    assert len(result.rows) == 5


def test_doubts_are_told(fit, pool):
    doubtful = replace(fit, diagnostics={"converged": False})
    said = design(doubtful, [Target(1e8, 2e9, "lion", "ours")], pool, 2e18)["warnings"]
    assert said[:3] == [
        "the fit has not converged: what runs are expected to buy is uncertain",
        "target N = 1e+08, D = 2e+09 lies inside the fitted runs: no extrapolation is left to improve",
        "optimizer lion was never seen: drawn from the population",
    ]
    assert "candidates as large as a target or larger: 40 of 40" in said
    said = design(fit, [Target(1e8, 2e9, "adamw", "ours")], pool, 2e18)["warnings"]
    assert said[0] == (
        "target N = 1e+08, D = 2e+09 is a fitted cell: runs there tell more than any elsewhere"
    )


def test_a_weight_decay_that_no_candidate_varies_is_told(fit, pool):
    said = design(fit, [Target(7e9, 1.4e11, "adamw", "ours")], pool, 2e18)["warnings"]
    assert any(text.startswith("no candidate varies weight decay: its share of the regret") for text in said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"budget": 1e10},
            "budget = 1e+10; the cheapest of 40 candidates costs 1.2e+18; expected a budget that pays for "
            "one; raise it, or offer smaller runs",
        ),
        ({"budget": -1.0}, "budget = -1; expected a finite number above 0; give it as 1e18"),
        ({"batch": 0}, "batch = 0; expected at least one run; raise it"),
        ({"targets": []}, "design: no target; expected at least one; give one as N,D,OPTIMIZER"),
        ({"tolerance": 0.0}, "tolerance = 0; expected a finite number above 0; give it as 0.001"),
    ],
)
def test_bad_numbers_are_refused(fit, pool, change, message):
    asked = {"targets": [Target(7e9, 1.4e11, "adamw", "ours")], "budget": 1e19} | change
    with pytest.raises(BadInput) as caught:
        design(fit, asked.pop("targets"), pool, **asked)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["7e9", "7e9,1e11", "7e9,x,adamw", "7e9,1e11,adamw,3", "7e9,1e11,"])
def test_a_target_is_three_parts(text):
    with pytest.raises(BadInput) as caught:
        parse_target(text)
    assert str(caught.value) == (
        f"--target {text}: expected N,D,OPTIMIZER; give it as 7e9,1.4e11,adamw or 7B,140B,adamw"
    )


# ------------------------------------------------------------------------------------------ when to stop


def test_each_reason_to_stop():
    going = stop_rule(0.002, 1e18, bound=0.004)
    assert (going.stop, going.reason) == (
        False,
        "the best runs left are expected to lower the regret by 0.2% of the loss, and it may still be 0.4%, "
        "more than the tolerance of 0.1%",
    )
    near = stop_rule(0.002, 1e18, 0.004, tolerance=0.005)
    assert near.stop
    assert near.reason == "the regret is below 0.4% with probability 90%, within the tolerance of 0.5%"
    saving = 1e20 * np.expm1(0.002 / 0.05)
    dear = stop_rule(0.002, 2 * saving, 0.004, target_cost=1e20, slope=0.05)
    assert dear.stop
    assert dear.numbers["saving"] == pytest.approx(saving)
    assert "which spares 4.08e+18 at the target, and cost 8.16e+18" in dear.reason
    assert not stop_rule(0.002, 0.5 * saving, 0.004, target_cost=1e20, slope=0.05).stop


def test_a_gain_that_no_single_run_shows_is_still_a_gain():
    assert not stop_rule(1e-5, 1.0, 0.004, target_cost=1e20, slope=0.05).stop


def test_a_target_of_flops_has_a_price_of_its_own():
    fit = fake_posterior(50)
    target = Target(*fit.reference, "adamw", "ours")
    told = verdict(fit, [target], 1e-3, 1e3, "FLOP")
    assert told.numbers["target_cost"] == 6 * target.params_nonembedding * target.tokens
    assert not told.stop
    assert "target_cost" not in verdict(fit, [target], 1e-3, 1e3, "J").numbers


def test_the_bound_is_the_weighted_quantile_of_the_regret():
    fit = fake_posterior(200)
    target = Target(*fit.reference, "adamw", "ours")
    at = surface_at(fit, target)
    regret = outcome_of(at, decide(at)).regret
    assert regret_bound(fit, [target]) == pytest.approx(np.quantile(regret, 0.9), rel=0.05)
    only = np.zeros(200)
    only[7] = 1.0
    assert regret_bound(fit, [target], only) == pytest.approx(regret[7])


def test_noise_and_slope_are_those_of_the_surface():
    exact = shifted(fake_posterior(20, spread=0.0), log_noise=np.log(2e-3), log_dof_minus_4=np.log(2.0))
    target = Target(*exact.reference, "adamw", "ours")
    assert seed_noise(exact, target) == pytest.approx(2e-3 * np.sqrt(6 / 4))
    assert compute_slope(exact, target) == pytest.approx(exact.study["slope_d"][0, 0], rel=0.01)


def test_a_level_that_rises_with_tokens_makes_no_gain_priceless():
    exact = shifted(fake_posterior(20, spread=0.0), slope_d=-0.5)
    target = Target(*exact.reference, "adamw", "ours")
    assert compute_slope(exact, target) == pytest.approx(LEAST_SLOPE)
    told = verdict(exact, [target], 1e-3, 1e3, "FLOP").numbers
    assert told["saving"] == pytest.approx(told["target_cost"] * np.expm1(1e-3 / LEAST_SLOPE))


# ------------------------------------------------------------------------------------------ the command


def test_people_read_a_table(folder, monkeypatch, capsys):
    asked = [*ASKED, "--study", "ours", "--batch", "3", "--plot", "c.png", "--cost-of-target", "1e15"]
    code, out, err = run(monkeypatch, capsys, *asked)
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "plan written to plan.csv, 3 runs for adamw N = 1M D = 20M"
    assert lines[1].split("  ")[-1].strip() == "lowers regret by"
    assert [line.split()[0] for line in lines[3:8]] == ["1", "2", "3", "cost", "regret"]
    assert "of the loss expected now (" in lines[7]
    assert lines[8].endswith("expected after these runs (each counted given those above it)")
    assert lines[9].startswith(("stop    ", "go on   "))
    assert inked(folder / "c.png") > 0.02


def test_json_has_units_and_the_plan_lies_beside_it(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *ASKED, "--json", "--policy", "cheapest")
    assert code == 0
    result = json.loads(out)
    parts = "output inputs runs cost regret stop candidates warnings posterior bill"
    assert list(result) == parts.split()
    assert result["inputs"]["cost_unit"] == "FLOP"
    assert result["inputs"]["targets"] == [
        {"params_nonembedding": 1e6, "tokens": 2e7, "optimizer": "adamw", "study": None}
    ]
    assert set(result["stop"]["numbers"]) == {
        *("regret_reduction", "regret_bound", "cost", "target_cost", "compute_slope", "saving")
    }
    assert len(pd.read_csv("plan.csv")) == len(result["runs"]) == 8


def test_train_reads_the_plan(folder, monkeypatch, capsys):
    from bayeslaw.lab.train import plan

    assert run(monkeypatch, capsys, *ASKED, "--study", "ours")[0] == 0
    said = []
    alone = plan.read(Path("plan.csv"), said.append)
    assert len(alone) == 8
    assert {spec.study for spec in alone} == {"ours"}
    assert said == ["plan.csv: columns ignored, no settings of a run: cost, expected_regret_reduction"]
    assert run(monkeypatch, capsys, *ASKED)[0] == 0
    Path("sweep.toml").write_text(
        '[sweep]\nstudy = "next"\nwarmup_share = 0.1\n[[part]]\ndesign = "list"\nfile = "plan.csv"\n'
    )
    specs = plan.read(Path("sweep.toml"), said.append)
    written = pd.read_csv("plan.csv")
    assert [spec.learning_rate for spec in specs] == written["learning_rate"].tolist()
    assert [spec.tokens for spec in specs] == written["tokens"].tolist()
    assert [spec.weight_decay for spec in specs] == written["weight_decay"].tolist()


def test_a_plan_keeps_what_the_candidates_say(fit, pool):
    named = pool.assign(run_id=[f"r{i}" for i in range(len(pool))], width=64.0, seed=1.0)
    found = design(fit, [Target(7e9, 1.4e11, "adamw", "ours")], named, 1e19, batch=2)
    written = plan_table(named, found)
    assert written["run_id"].tolist() == [f"r{row}" for row in found.rows]
    assert written["width"].tolist() == [64, 64]
    assert written["width"].dtype == np.int64


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ["--study", "mine"],
            "--study mine: not in p.nc; expected one of ours, theirs; leave it out for a set-up never seen",
        ),
        (
            ["--candidates", "c.csv"],
            "design: expected either --candidates FILE or --space FILE; give one of them",
        ),
        (["-o", "plan.txt"], "plan.txt: unknown suffix '.txt'; expected a plan in .csv; rename it"),
        (["--policy", "magic"], "policy = 'magic'; expected one of regret, "),
        (
            ["--budget", "1"],
            "budget = 1; the cheapest of 60 candidates costs 7.5e+10; expected a budget that",
        ),
        (["--posterior", "no.nc"], "no.nc: no such file; expected a posterior"),
    ],
)
def test_bad_input_is_one_clear_message_and_no_plan(folder, monkeypatch, capsys, extra, message):
    code, out, err = run(monkeypatch, capsys, *ASKED, *extra)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert not list(folder.glob("plan*"))


def test_candidates_that_name_their_study(folder, monkeypatch, capsys):
    rows = pd.DataFrame({"learning_rate": [1e-3, 2e-3], "batch_tokens": 4096, "optimizer": "adamw"})
    rows = rows.assign(params_nonembedding=1e5, tokens=2e6, study="new")
    rows.to_csv("c.csv", index=False)
    asked = [*ASKED[:5], "--candidates", "c.csv", "--budget", "1e13", "-o", "plan.csv", "--json"]
    code, out, _ = run(monkeypatch, capsys, *asked)
    assert code == 0
    assert json.loads(out)["inputs"]["targets"][0]["study"] == "new"
    code, _, err = run(monkeypatch, capsys, *asked, "--study", "ours")
    assert code == 2
    assert err == (
        "error: design: the candidates name the study new, --study ours; expected one set-up for all runs; "
        "keep one\n"
    )


def test_design_loads_no_jax(folder):
    script = (
        "import sys, bayeslaw.cli.app as cli\n"
        f"sys.argv = ['bayeslaw', *{ASKED!r}, '--json']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert {"jax", "numpyro", "arviz", "torch", "matplotlib"} & set(done.stdout.split()) == set()
