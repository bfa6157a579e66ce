"""Active design replayed on a finished sweep: what is bought, how it is scored, and that it resumes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.planning.policies import POLICIES
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.rehearsal.many import append, area, cost_to, curves, read, run
from bayeslaw.rehearsal.one import replayed, scored
from bayeslaw.rehearsal.task import study_of
from bayeslaw.runs.io import write_runs
from bayeslaw.runs.schema import validate
from bayeslaw.target import Target
from tests.support.command import run as command
from tests.support.fakes import fake_posterior
from tests.support.pictures import inked
from tests.support.rehearsals import CHEAP, TARGET, sweep
from tests.support.sweeps import grid_cell

TARGET_SMALL = Target(3e8, 6e9, "adamw", None)


def learns(runs, seed):
    """A fit that takes no time and is the surer, the more runs it has seen."""
    return fake_posterior(100, 10.0 / np.sqrt(1 + len(runs)), seed, (("made up", "adamw"),), ((1e8, 2e9),))


@pytest.fixture(scope="module")
def runs():
    return sweep()


@pytest.fixture(scope="module")
def study(runs):
    return study_of(runs, [TARGET], [2.5 * CHEAP, 40 * CHEAP], batch=3)


# ------------------------------------------------------------------------------------ dividing the sweep


def test_the_targets_runs_judge_and_are_never_for_sale(runs, study):
    assert (len(study.pool), len(study.judges)) == (40, 49)
    assert set(study.pool["params_nonembedding"]) == {1e8, 3e8}
    assert study.targets == (Target(1e9, 2e10, "adamw", "made up"),)
    assert study.cost[:1] == pytest.approx(CHEAP)
    assert set(study_of(runs, [TARGET], [1e19], below=2e8).pool["params_nonembedding"]) == {1e8}


def test_one_size_only_leaves_the_other_cells_for_sale():
    cells = [grid_cell(1e8, d, rates=5, batches=4) for d in (2e9, 4e9)]
    one = validate(pd.concat(cells, ignore_index=True), "sweep")
    assert set(study_of(one, [Target(1e8, 4e9, "adamw", None)], [1e20]).pool["tokens"]) == {2e9}


def test_budgets_may_be_shares_of_the_pool(runs, study):
    assert study_of(runs, [TARGET], ["10%", "50%"]).budgets == pytest.approx(
        study.cost.sum() * np.array([0.1, 0.5])
    )
    with pytest.raises(BadInput, match=r"budgets = 10, x%; expected one or more that differ"):
        study_of(runs, [TARGET], ["10", "x%"])


def test_the_digest_changes_with_what_is_compared(runs, study):
    same = study_of(runs, [TARGET], [2.5 * CHEAP, 40 * CHEAP], batch=3)
    assert same.digest == study.digest
    assert study_of(runs, [TARGET], [2.5 * CHEAP, 50 * CHEAP], batch=3).digest != study.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"targets": [Target(7e9, 1e11, "adamw", None)]},
            "pool: no finished run at the target 7e+09,1e+11,adamw; expected runs there, for they judge the "
            "advice; name one of the table's cells, such as 1e+09,2e+10,adamw",
        ),
        (
            {"budgets": [1e15]},
            "budget = 1e+15; the cheapest of 40 runs in the pool costs 1.2e+18; "
            "expected a budget that pays for one; raise it",
        ),
        ({"budgets": [1e19, 1e19]}, "budgets = 1e+19, 1e+19; expected one or more that differ; give them as"),
        (
            {"budgets": []},
            "budgets = none; expected one or more that differ; give them as 1e18 and 1e19, or as 1% and 10%",
        ),
        ({"batch": 0}, "batch = 0; expected at least 1; raise it"),
        ({"start": -1}, "start = -1; expected at least 0; raise it"),
        ({"below": 1e6}, "pool: 0 runs besides the targets', none of them finished; expected a pool of"),
    ],
)
def test_a_sweep_that_cannot_be_replayed_is_refused(runs, change, message):
    with pytest.raises(BadInput) as caught:
        study_of(**{"runs": runs, "targets": [TARGET], "budgets": [1e19]} | change)
    assert str(caught.value).startswith(message)


def test_a_pool_without_finished_runs_is_refused(runs):
    small = runs["params_nonembedding"] < 1e9
    lost = runs.assign(
        status=runs["status"].where(~small, "crashed"), loss=runs["loss"].where(~small, np.nan)
    )
    with pytest.raises(BadInput, match="pool: 40 runs besides the targets', none of them finished"):
        study_of(lost, [TARGET], [1e19])


# ------------------------------------------------------------------------------------------- one replay


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_buys_each_run_once_and_within_the_budget(study, policy):
    rows = list(replayed(study, policy, 0, learns))
    assert [row["budget"] for row in rows] == list(study.budgets)
    cost = dict(zip(study.pool["run_id"], study.cost, strict=True))
    left = dict(cost)
    for row in rows:
        assert len(row["bought"]) == len(set(row["bought"])) == row["runs"] > 0
        assert row["spent"] == pytest.approx(sum(cost[run_id] for run_id in row["bought"]))
        assert row["spent"] <= row["budget"]
    for run_id in rows[-1]["bought"]:
        del left[run_id]
    assert rows[-1]["spent"] + min(left.values()) > rows[-1]["budget"]  # nothing affordable is left
    assert rows[1]["bought"][: rows[0]["runs"]] == rows[0]["bought"]
    assert json.loads(json.dumps(rows)) == rows


def test_results_are_hidden_until_bought(study):
    seen = []

    def watched(runs, seed):
        seen.append(set(runs["run_id"]))
        return learns(runs, seed)

    rows = list(replayed(study, "regret", 0, watched))
    assert seen[-1] == set(rows[-1]["bought"])
    assert all(a <= b for a, b in itertools.pairwise(seen))
    assert not set(study.judges["run_id"]) & seen[-1]
    assert rows[0]["fits"] + rows[1]["fits"] == len(seen)


def test_policies_without_a_model_fit_once_a_budget(study):
    for policy in [name for name, row in POLICIES.items() if not row.model]:
        assert [row["fits"] for row in replayed(study, policy, 1, learns)] == [1, 1]


def test_policies_with_a_model_say_what_they_expect(study):
    first, last = replayed(study, "regret", 0, learns)
    assert 0 < first["foretold"] < scored(learns(study.pool.head(0), 0), study)["announced"]
    verdict = first["next"]
    assert verdict["stop"] == (verdict["reduction"] < verdict["noise"])
    assert 0 < verdict["cost"] <= last["budget"] - first["spent"]
    assert last["next"] is None  # the last budget pays for nothing more
    (without,) = replayed(study_of(study.pool, [TARGET_SMALL], [2.5 * CHEAP]), "random", 0, learns)
    assert without["foretold"] is without["next"] is None


def test_runs_at_the_start_are_paid_for(runs):
    study = study_of(runs, [TARGET], [20 * CHEAP], start=2)
    (row,) = replayed(study, "cheapest", 3, learns)
    (other,) = replayed(study, "regret", 3, learns)
    assert row["bought"][:2] == other["bought"][:2]
    assert row["spent"] <= 20 * CHEAP


def test_the_priors_speak_until_a_run_finishes(runs):
    small = runs["params_nonembedding"] < 3e8
    lost = runs.assign(
        status=runs["status"].where(~small, "diverged"), loss=runs["loss"].where(~small, np.nan)
    )
    study = study_of(lost, [TARGET], [2.5 * CHEAP])

    def never(runs, seed):
        raise AssertionError("nothing finished: nothing to fit")

    (row,) = replayed(study, "cheapest", 0, never)
    assert (row["runs"], row["finished"]) == (2, 0)
    assert row["announced"] > 0


def test_the_prior_posterior_is_wide_and_knows_no_run():
    nothing = prior_posterior(["weight_decay"], draws=50)
    assert (nothing.groups, nothing.cells, nothing.draws) == ((), (), 50)
    assert "lambda" in nothing.group
    assert "zeta" not in nothing.group


def test_more_runs_are_scored_as_more_certain(study):
    few, many = (scored(learns(study.pool.head(k), 0), study) for k in (2, 40))
    assert few["width"] > many["width"]
    assert few["announced"] > many["announced"]
    assert 0 <= many["coverage"] <= 1
    assert len(many["cells"]) == 1
    assert many["regret"] == many["cells"][0]["regret"] >= 0


# -------------------------------------------------------------------------------------------- many of them


def test_a_replay_goes_on_where_it_was_killed(study, tmp_path):
    path, whole, told = tmp_path / "r.jsonl", tmp_path / "whole.jsonl", []
    rows = run(study, ["regret", "random"], [0], whole, learns)
    first = whole.read_text().splitlines()[0]
    path.write_text(f"{first}\n" + first[: len(first) // 2])  # killed while it wrote
    again = run(study, ["regret", "random"], [0], path, learns, tell=told.append)
    clean = [
        [{k: v for k, v in row.items() if k not in ("seconds", "fits")} for row in part]
        for part in (rows, again)
    ]
    assert clean[0] == clean[1]
    assert len(told) == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert run(study, ["regret", "random"], [0], path, None) == again  # nothing left: nothing is fitted


@pytest.mark.slow
def test_replays_in_processes_give_the_same(study, tmp_path):
    told = []
    side = run(study, ["cheapest", "random"], [0], tmp_path / "a.jsonl", learns, workers=2, tell=told.append)
    alone = run(study, ["cheapest", "random"], [0], tmp_path / "b.jsonl", learns)
    assert [row["bought"] for row in side] == [row["bought"] for row in alone]
    assert [row["regret"] for row in side] == [row["regret"] for row in alone]
    assert len(told) == 4


def test_two_replays_on_one_file_are_refused(study, tmp_path):
    path, said = tmp_path / "r.jsonl", []

    def second(row):
        with pytest.raises(
            BadInput, match="another replay is at work there; expected one at a time"
        ) as caught:
            run(study, ["cheapest"], [0], path, learns)
        said.append(str(caught.value))

    rows = run(study, ["cheapest"], [0], path, learns, tell=second)
    assert len(said) == len(rows) == len(path.read_text().splitlines())
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_file_of_another_study_or_damaged_is_refused(runs, study, tmp_path):
    path = tmp_path / "r.jsonl"
    run(study, ["cheapest"], [0], path, learns)
    other = study_of(runs, [TARGET], [5 * CHEAP])
    with pytest.raises(BadInput, match=r"r.jsonl: line 1 is of another replay"):
        run(other, ["cheapest"], [0], path, learns)
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(BadInput, match=r"r.jsonl: line 1 is no row of a replay"):
        read(path)


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path):
    append(tmp_path / "r.jsonl", {"policy": "p", "seed": 0, "budget": 1.0, "r2": float("nan")})
    assert read(tmp_path / "r.jsonl")[0]["r2"] is None


def row(policy, seed, budget, regret, **rest):
    common = {"r2": 0.9, "coverage": 0.9, "width": 1.0, "announced": 0.002, "within": 1.0, "runs": 3}
    return {"policy": policy, "seed": seed, "budget": budget, "regret": regret} | common | rest


def test_curves_areas_and_costs_by_hand():
    rows = [row("a", s, b, r) for s, pair in enumerate([(0.01, 0.001), (0.03, 0.002)]) for b, r in
            zip((1e18, 1e19), pair, strict=True)]  # fmt: skip
    first, last = curves(rows)["a"]
    assert (first["seeds"], first["budget"]) == (2, 1e18)
    assert first["regret"]["median"] == pytest.approx(0.02)
    assert last["announced_ratio"] == pytest.approx(0.75)
    assert area([r for r in rows if r["seed"] == 0], "regret") == pytest.approx(0.0055)
    assert area([r for r in rows if r["seed"] == 0], "regret", log=True) == pytest.approx(10**-2.5)
    assert cost_to(rows, 0.002) == 1e19
    assert cost_to(rows, 0.05) == 1e18
    assert cost_to(rows, 0.0001) is None
    assert cost_to(rows, 0.01, share=0.5) == 1e18
    assert area([row("a", 0, 1e18, None)], "regret") is None


# ------------------------------------------------------------------------------------------ the command


@pytest.fixture
def folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bayeslaw.rehearsal.one.exact", learns)
    write_runs(runs, "pool.csv")
    return tmp_path


ASKED = ["replay", "pool.csv", "--target", "1e9,2e10,adamw", "--budget", "3e18", "--budget", "4e19"]
ASKED += ["--policy", "cheapest", "--policy", "random", "--seeds", "2", "-o", "r.jsonl", "--workers", "1"]


def test_people_read_a_table_and_a_figure(folder, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, *ASKED, "--plot", "c.png")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert [line[0] for line in lines[3:7]] == ["cheapest", "cheapest", "random", "random"]
    assert inked(folder / "c.png") > 0.02
    assert len(Path("r.jsonl").read_text().splitlines()) == 8


def test_json_and_resuming(folder, monkeypatch, capsys):
    assert command(monkeypatch, capsys, *ASKED)[0] == 0
    before = Path("r.jsonl").read_text()
    code, out, _ = command(monkeypatch, capsys, *ASKED, "--json")
    assert code == 0
    result = json.loads(out)
    assert list(result) == ["output", "inputs", "curves", "areas"]
    assert set(result["curves"]) == {"cheapest", "random"}
    assert Path("r.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--policy", "magic"], "policy = 'magic'; expected one of regret, "),
        (["--target", "7e9,1e11,adamw"], "pool.csv: no finished run at the target 7e+09,1e+11,adamw"),
        (["--seeds", "0"], "replay: seeds = 0; expected a whole number from 1 to 10000; give one of these"),
        (["-o", "no/r.jsonl"], "no/r.jsonl: cannot be written, no is no folder; create it or choose another"),
        (["--budget", "1e10"], "budget = 1e+10; the cheapest of 40 runs in the pool costs 1.2e+18"),
    ],
)
def test_bad_input_is_one_clear_message(folder, monkeypatch, capsys, extra, message):
    code, out, err = command(monkeypatch, capsys, *ASKED, *extra)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
