"""The pool of workers: every task ends once, whatever happens to the processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import executor_local
from tests.support import train_works as works
from tests.support.train_works import alive, pids, until

ROOT = Path(__file__).resolve().parents[2]


def test_one_worker_keeps_the_order_and_lives_on_with_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    outcomes = list(executor_local.run(works.whole, [(n,) for n in range(5)], workers=1))
    assert [(o.task, o.kind, o.value[0]) for o in outcomes] == [(n, "done", n) for n in range(5)]
    assert {o.value[2] for o in outcomes} == {"1"}
    assert len({o.value[1] for o in outcomes}) == 1
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_two_workers_share_the_tasks():
    outcomes = list(executor_local.run(works.whole_slowly, [(n,) for n in range(30)], workers=2))
    assert sorted(o.value[0] for o in outcomes) == list(range(30))
    assert len({o.value[1] for o in outcomes} - {os.getpid()}) == 2


def test_no_task_needs_no_worker():
    assert list(executor_local.run(works.whole, [], workers=2)) == []


def test_each_end_of_a_task_leaves_the_others_alone(tmp_path):
    outcomes = {
        o.task: o for o in executor_local.run(works.moody, [(n, tmp_path) for n in range(6)], workers=2)
    }
    assert [outcomes[n].kind for n in range(6)] == ["done", "failed", "bad", "failed", "done", "failed"]
    tries = [len(pids(tmp_path / str(n))) for n in range(6)]
    assert tries == [1, 3, 1, 3, 2, 3]
    assert outcomes[1].value.endswith("ZeroDivisionError: one")
    assert outcomes[2].value == "two; expected less"
    assert outcomes[3].value == "its worker died (signal 9, Killed)"
    assert outcomes[5].value.startswith("its result cannot be sent: ")


def test_workers_that_never_come_up_end_the_pool():
    with pytest.raises(BadInput, match=r"^workers die while starting \(exit code 3\); expected them to live"):
        list(executor_local.run(works.Unborn(), [()] * 9, workers=2))


def test_closing_the_iterator_stops_the_workers_at_once(tmp_path):
    outcomes = executor_local.run(works.sleeps, [(0, tmp_path), (1, tmp_path)], workers=2)
    next(outcomes)
    assert until(lambda: len(pids(tmp_path / "pids")) == 2)
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < executor_local.STOP_SECONDS
    assert not any(alive(pid) for pid in pids(tmp_path / "pids"))


@pytest.mark.parametrize("program", ["pool_parent", pytest.param("replay_parent", marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_die_with_their_parent(tmp_path, program, number):
    command = [sys.executable, "-m", "tests.support.train_works", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        try:
            assert until(lambda: len(pids(tmp_path / "pids")) == 2)
            parent.send_signal(number)
            parent.wait(10)
        finally:
            parent.kill()
    assert until(lambda: not any(alive(pid) for pid in pids(tmp_path / "pids")), 5)
