"""The job array of submitit, on its local executor; skips where submitit is not installed."""

from __future__ import annotations

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import executor_slurm, sweep
from tests.support.train_sweeps import PLAN
from tests.support.train_works import moody


def test_without_submitit_or_slurm_it_says_so(tmp_path, capsys):
    (tmp_path / "plan.toml").write_text(PLAN)
    given = ["--plan", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--executor", "slurm"]
    assert sweep.main(given) == 2
    assert "Error: executor slurm: " in capsys.readouterr().err
    assert sweep.main([*given, "--slurm", "partition"]) == 2
    assert "--slurm partition: expected NAME=VALUE" in capsys.readouterr().err


@pytest.mark.slow
def test_every_task_ends_as_on_one_machine(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(executor_slurm, "POLL_SECONDS", 0.05)
    notes = tmp_path / "notes"
    notes.mkdir()
    tasks = [(n, notes) for n in (0, 1, 2, 4)]
    outcomes = executor_slurm.run(moody, tasks, tmp_path / "jobs", {"timeout_min": "2"}, "local")
    found = {outcome.task: outcome for outcome in outcomes}
    assert {task: outcome.kind for task, outcome in found.items()} == {
        0: "done",
        1: "failed",
        2: "bad",
        3: "done",
    }
    assert "ZeroDivisionError: one" in found[1].value
    assert found[2].value == "two; expected less"
    tries = {n: len((notes / str(n)).read_text().split()) for n, _ in tasks}
    assert tries == {0: 1, 1: 3, 2: 1, 4: 2}


def test_a_preempted_call_is_submitted_again_as_it_was():
    pytest.importorskip("submitit")
    again = executor_slurm.Call().checkpoint(moody, (0,), "/here")
    assert (again.args, type(again.function)) == ((moody, (0,), "/here"), executor_slurm.Call)


def test_parameters_that_submitit_lacks_are_named(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(BadInput, match=r"--slurm: .*colour"):
        next(executor_slurm.run(moody, [(0,)], tmp_path, {"colour": "red"}, "local"))
