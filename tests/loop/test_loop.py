"""The closed loop: rounds, stops, kills at any point, and runners that fail."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bayeslaw.cli import app
from bayeslaw.errors import BadInput
from bayeslaw.law.simulation import simulate_runs
from bayeslaw.loop import journal, rounds
from bayeslaw.loop.runner import checked_command
from bayeslaw.runs.io import read_runs, write_runs
from tests.support.fakes import fake_posterior
from tests.support.loops import surer, task_in, with_how

WRITES = 15
"""Files that a loop of one round writes, and commands that it runs."""


def sure(runs, seed):
    return fake_posterior(40, 0.02, seed, (("new", "adamw"),), ((1e8, 2e9),))


@pytest.fixture
def task(tmp_path):
    return task_in(tmp_path)


def kinds(task):
    return [(entry["round"], entry["kind"]) for entry in journal.read(task.folder)]


def files(folder):
    """Contents of everything that a person reads."""
    kept = [path for path in sorted(folder.rglob("*")) if path.suffix in (".csv", ".json", ".jsonl", ".md")]
    return {str(path.relative_to(folder)): path.read_text() for path in kept}


# -------------------------------------------------------------------------------------------- it goes on


def test_rounds_until_the_last_and_a_journal_of_them(task):
    result = rounds.run(task, surer)
    assert result["stop"] == {"kind": "rounds", "reason": "the limit on rounds, 3, is reached"}
    assert (result["rounds"], result["runs"], result["finished"]) == (3, 12, 12)
    assert result["spent"] <= task.budget
    assert set(result["targets"][0]["recommendation"]) >= {"learning_rate", "batch_tokens"}
    each = ["chosen", "returned", "believed"]
    assert kinds(task) == [(r, kind) for r in (1, 2, 3) for kind in each] + [(4, "stopped")]
    text = (task.folder / "journal.md").read_text()
    parts = ["## Round 1", "**Chosen** by regret: 4 runs", "Why: no run has finished yet"]
    parts += ["**Came back**: 4 of 4 runs (4 finished)", "**Now believed**, from 12 runs"]
    for part in (*parts, "**Stopped**, rounds made: 3, spent: "):
        assert part in text
    chosen = [row for k in (1, 2, 3) for row in json.loads(
        (task.folder / f"round-0{k}" / "design.json").read_text())["rows"]]  # fmt: skip
    assert len(set(chosen)) == 12


def test_a_stop_is_repeated_and_more_rounds_go_on(task):
    one = replace(task, rounds=1)
    first = rounds.run(one, surer)
    before = files(task.folder)
    assert rounds.run(one, surer) == first
    assert files(task.folder) == before
    assert rounds.run(replace(task, rounds=2), surer)["rounds"] == 2
    assert kinds(task)[-1] == (3, "stopped")
    assert [kind for _, kind in kinds(task)].count("stopped") == 1


def test_it_stops_by_its_own_rule_once_nothing_is_left_to_learn(task):
    result = rounds.run(task, sure)
    assert result["stop"]["kind"] == "rule"
    assert "at the target, and cost" in result["stop"]["reason"]
    assert result["rounds"] == 1


def test_it_stops_when_the_budget_is_spent(task):
    cheapest = float(task.candidates["cost"].min())
    result = rounds.run(replace(task, budget=2.5 * cheapest), surer)
    assert (result["stop"]["kind"], result["rounds"]) == ("budget", 1)
    assert result["spent"] <= 2.5 * cheapest


def test_a_round_has_a_budget_of_its_own(task):
    cheapest = float(task.candidates["cost"].min())
    result = rounds.run(replace(task, round_budget=2.5 * cheapest, rounds=2), surer)
    assert result["stop"]["kind"] == "rounds"
    for k in (1, 2):
        plan = pd.read_csv(task.folder / f"round-0{k}" / "plan.csv")
        assert plan["cost"].sum() <= 2.5 * cheapest


def test_a_round_whose_budget_pays_for_no_candidate_left_ends_the_loop(task):
    cost = task.candidates["cost"].where(task.candidates.index != 3, 1.0)
    result = rounds.run(replace(task, candidates=task.candidates.assign(cost=cost), round_budget=2.0), surer)
    assert (result["stop"]["kind"], result["rounds"], result["spent"]) == ("budget", 1, 1.0)
    assert result["stop"]["reason"].startswith("a round may cost 2 FLOP, and the cheapest candidate costs ")


def test_candidates_run_out(task):
    few = replace(task, candidates=task.candidates.head(4), budget=1e25, batch=8)
    assert rounds.run(few, surer)["stop"] == {"kind": "candidates", "reason": "all 4 candidates were run"}


def test_runs_to_begin_with_are_counted_in(task, tmp_path):
    design = task.candidates.head(6).drop(columns="cost")
    write_runs(simulate_runs(design, seed=1), tmp_path / "before.csv")
    seen = []

    def watched(runs, seed):
        seen.append(len(runs))
        return surer(runs, seed)

    result = rounds.run(replace(task, runs=(tmp_path / "before.csv",), rounds=1), watched)
    assert seen == [6, 10]
    assert result["runs"] == 10


def page_of(fit, path, place, runs, target):
    path.write_text(f"{place}: {len(runs)} runs")


# --------------------------------------------------------------------------------------- killed anywhere


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A loop of one round that nobody killed: its result and its files."""
    one = replace(task_in(tmp_path_factory.mktemp("whole")), rounds=1, policy="cheapest")
    return rounds.run(one, surer) | {"folder": ""}, files(one.folder)


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[pytest.mark.slow] if step % 3 else []) for step in range(WRITES)]
)
def test_killed_before_any_of_its_files_it_ends_the_same(task, monkeypatch, whole, step):
    writes = 0

    def dying(function):
        def wrapped(*arguments, **options):
            nonlocal writes
            writes += 1
            if writes == step + 1:
                raise Killed
            return function(*arguments, **options)

        return wrapped

    one, (expected, left) = replace(task, rounds=1, policy="cheapest"), whole
    with monkeypatch.context() as patched:
        for name in ("write_json", "write_runs", "write_posterior", "execute", "write_atomically"):
            patched.setattr(rounds, name, dying(getattr(rounds, name)))
        patched.setattr(journal, "_write", dying(journal._write))
        with pytest.raises(Killed):
            rounds.run(one, surer)
    assert rounds.run(one, surer) | {"folder": ""} == expected
    assert files(one.folder).keys() == left.keys()
    assert files(one.folder)["journal.md"] == left["journal.md"]


def test_a_report_of_every_fit_replaces_the_last(task):
    seen = []
    two = replace(task, rounds=2, policy="cheapest")
    for _ in range(2):  # the second start finds the loop done, and writes none
        rounds.run(two, surer, report=lambda fit, *given: seen.append(given))
    page, target = task.folder / "report.html", task.targets[0]
    assert [(path, place, len(runs), of) for path, place, runs, of in seen] == [
        (page, "round-02/posterior.nc", 4, target),
        (page, "round-03/posterior.nc", 8, target),
    ]


def test_a_report_that_fails_is_said_and_stops_nothing(task, whole):
    def fails(*_given):
        raise ZeroDivisionError("no\nfigure")

    said: list[str] = []
    one, (expected, left) = replace(task, rounds=1, policy="cheapest"), whole
    assert rounds.run(one, surer, said.append, fails) | {"folder": ""} == expected
    assert files(one.folder)["journal.md"] == left["journal.md"]
    assert "round 2: report.html was not written (ZeroDivisionError: no figure); the loop goes on" in said


def test_a_loop_killed_at_its_report_writes_it_when_it_resumes(task):
    def killed(*_given):
        raise KeyboardInterrupt

    one = replace(task, rounds=1, policy="cheapest")
    with pytest.raises(KeyboardInterrupt):
        rounds.run(one, surer, report=killed)
    rounds.run(one, surer, report=page_of)
    assert (task.folder / "report.html").read_text() == "round-02/posterior.nc: 4 runs"


def test_a_runner_stopped_by_a_person_is_called_again_on_its_plan(task, tmp_path):
    killed = replace(task, runner=with_how(tmp_path, "killed"), rounds=1)
    with pytest.raises(BadInput) as caught:
        rounds.run(killed, surer)
    assert str(caught.value) == (
        "--runner: stopped by a signal (exit code 130), its plan is half done; expected it to end; "
        "run the same loop again to go on"
    )
    plan = (task.folder / "round-01" / "plan.csv").read_text()
    assert rounds.run(replace(task, rounds=1), surer)["runs"] == 4
    assert (task.folder / "round-01" / "plan.csv").read_text() == plan
    assert (task.folder / "round-01" / "out" / "calls").read_text() == "called\n" * 2


# ------------------------------------------------------------------------------------- runners that fail


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fails", "--runner: exit code 1, its last line: no GPU today; {out}/runs.csv: does not exist; "),
        ("garbage", "--runner: exit code 0; {out}/runs.csv: "),
        ("other", "--runner: exit code 0; none of 4 new runs in {out}/runs.csv is of the plan's 4; expected"),
    ],
)
def test_a_failing_runner_is_one_error_and_the_loop_stays_sound(task, tmp_path, how, message):
    with pytest.raises(BadInput) as caught:
        rounds.run(replace(task, runner=with_how(tmp_path, how)), surer)
    out = (task.folder / "round-01" / "out").absolute()
    assert str(caught.value).startswith(message.format(out=out))
    assert kinds(task) == [(1, "chosen")]
    assert rounds.run(replace(task, rounds=1), surer)["runs"] == 4
    assert kinds(task)[:2] == [(1, "chosen"), (1, "returned")]


def test_where_the_collecting_fails_too_the_runner_is_named_first(task, tmp_path):
    collect = f"{sys.executable} -c 'raise SystemExit(\"nothing here\")' {{table}}"
    with pytest.raises(BadInput) as caught:
        rounds.run(replace(task, runner=with_how(tmp_path, "fails"), collect=collect), surer)
    assert str(caught.value).startswith(
        "--runner: exit code 1, its last line: no GPU today; "
        "--collect: exit code 1, its last line: nothing here; "
    )


def test_a_plan_half_done_counts_and_is_charged_by_half(task, tmp_path):
    result = rounds.run(replace(task, runner=with_how(tmp_path, "half"), rounds=1), surer)
    returned = json.loads((task.folder / "round-01" / "returned.json").read_text())
    assert (result["runs"], returned["planned"], returned["runs"]) == (2, 4, 2)
    assert result["spent"] == pytest.approx(task.candidates["cost"].to_numpy()[returned["rows"]].sum())
    assert returned["notes"] == [
        "--runner ended with exit code 1",
        "2 of 4 planned runs did not come back; they were not charged",
    ]


def test_runs_that_all_diverge_leave_the_priors(task, tmp_path):
    result = rounds.run(replace(task, runner=with_how(tmp_path, "lost"), rounds=2), None)
    assert (result["runs"], result["finished"], result["targets"]) == (8, 0, [])


def test_one_table_that_grows_from_round_to_round(task, tmp_path):
    grow = tmp_path / "grow.py"
    grow.write_text(
        "import pandas as pd, sys, pathlib\n"
        "plan, table = pd.read_csv(sys.argv[1]), pathlib.Path(sys.argv[2])\n"
        "old = pd.read_csv(table) if table.exists() else plan.head(0)\n"
        "names = [f'r{len(old) + i}' for i in range(len(plan))]\n"
        "new = plan.assign(loss=2.5, status='finished', run_id=names)\n"
        "pd.concat([old, new]).to_csv(table, index=False)\n"
    )
    table = tmp_path / "all.csv"
    command = f"{sys.executable} {grow} {{plan}} {table}"
    result = rounds.run(replace(task, runner=command, table=str(table), rounds=2), surer)
    assert result["runs"] == 8
    ids = [set(read_runs(task.folder / f"round-0{k}" / "runs.parquet")["run_id"]) for k in (1, 2)]
    assert ids == [{f"r{i}" for i in range(4)}, {f"r{i}" for i in range(4, 8)}]


def test_a_second_command_collects(task, tmp_path):
    copy = f'{sys.executable} -c "import sys, pandas as pd; pd.read_csv(sys.argv[1]).to_parquet(sys.argv[2])"'
    collect = f"{copy} {{out}}/runs.csv {{table}}"
    assert rounds.run(replace(task, collect=collect, rounds=1), surer)["runs"] == 4


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 1.0}, "budget = 1; the cheapest of 16 candidates costs "),
        ({"runner": "train"}, "--runner train: lacks {plan}; expected a command that is told where the plan"),
        ({"runner": "a 'b"}, "--runner a 'b: No closing quotation; expected a command; close its quotes"),
        ({"collect": "collect"}, "--collect collect: lacks {table}; expected a command that is told where"),
        ({"runner": "no-such-program {plan}"}, "--runner no-such-program: cannot be run (No such file or "),
        ({"rounds": 0}, "rounds = 0; expected at least 1; raise it"),
        *[
            ({"round_budget": b}, f"round budget = {b:g}; the cheapest of 16 candidates costs ")
            for b in (0.0, -1.0, 1.0, float("nan"), float("inf"))
        ],
        ({"policy": "magic"}, "policy = 'magic'; expected one of regret, "),
        ({"runs": (Path("no.csv"),)}, "no.csv: does not exist; expected a run table"),
    ],
)
def test_bad_input_is_one_clear_error(task, change, message):
    with pytest.raises(BadInput) as caught:
        rounds.run(replace(task, **change), surer)
    assert str(caught.value).startswith(message)


def test_the_folder_of_another_task_is_refused(task):
    rounds.run(replace(task, rounds=1), surer)
    with pytest.raises(BadInput, match=r"loop.json: another seed \(0, now 1\); expected the loop that began"):
        rounds.run(replace(task, rounds=1, seed=1), surer)


def test_a_damaged_journal_is_refused_before_anything_is_run(task):
    rounds.run(replace(task, rounds=1), surer)
    path = task.folder / "journal.jsonl"
    kept = path.read_text()
    path.write_text(kept[:-20])
    with pytest.raises(BadInput, match=r"journal.jsonl: line 4 is no entry of a journal"):
        rounds.run(task, surer)
    assert path.read_text() == kept[:-20]
    path.unlink()
    rounds.run(replace(task, rounds=1), surer)
    assert path.read_text() == kept


def test_two_loops_in_one_folder_are_refused(task):
    from bayeslaw.files import alone

    task.folder.mkdir()
    with (
        alone(task.folder / ".lock", "loop", str(task.folder)),
        pytest.raises(BadInput, match="another loop is at work there"),
    ):
        rounds.run(task, surer)


def test_a_command_is_split_as_a_shell_would():
    assert checked_command("--runner", "run --plan {plan} 'a b'", "plan") == [
        "run",
        "--plan",
        "{plan}",
        "a b",
    ]


# ------------------------------------------------------------------------------------------ the command


def test_the_command_line(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bayeslaw.rehearsal.one.exact", surer)
    monkeypatch.setattr("bayeslaw.reporting.page.write_report", page_of)
    task.candidates.drop(columns=["cost", "study"]).to_csv("c.csv", index=False)
    asked = ["bayeslaw", "loop", "--target", "7e9,1.4e11,adamw", "--candidates", "c.csv", "--study", "new"]
    asked += ["--budget", "1e20", "--runner", task.runner, "--table", task.table, "--batch", "4"]
    asked += ["--rounds", "1", "--out", "loop"]
    for arguments, code in ((asked, 0), ([*asked, "--json"], 0), ([*asked, "--study", "x"], 2)):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            app.main()
        assert int(caught.value.code or 0) == code
        out, err = capsys.readouterr()
        if "--json" in arguments:
            assert json.loads(out)["rounds"] == 1
        elif code == 0:
            lines = [line.strip() for line in out.splitlines() if line.strip()]
            assert lines[0] == "4 runs, 4 finished; advice, with 90% intervals of the optimum"
            assert lines[-2].startswith(
                "stopped  the limit on rounds, 1, is reached (rounds made: 1, spent: "
            )
            assert lines[-1] == "journal  loop/journal.md"
            assert Path("loop/report.html").read_text() == "round-02/posterior.nc: 4 runs"
        else:
            assert err.startswith("error: loop/loop.json: another targets")
