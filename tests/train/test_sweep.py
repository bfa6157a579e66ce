"""Sweeps: killed, resumed, refused; every run trained once and nothing that ended lost."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import executor_local, record, sweep
from bayeslaw.lab.train.spec import digest
from tests.support import train_works as works
from tests.support.train_sweeps import PLAN, SPECS, ends, inline, picky
from tests.support.train_works import alive, pids, until

ROOT = Path(__file__).resolve().parents[2]


def swept(out, specs=SPECS, work=works.train, execute=inline):
    stream = io.StringIO()
    report = sweep.run(specs, out, work, execute, stream)
    return report, stream.getvalue()


def test_a_sweep_runs_what_has_no_record(tmp_path):
    first, _ = swept(tmp_path / "a" / "b", SPECS[:2])
    second, _ = swept(tmp_path / "a" / "b")
    third, _ = swept(tmp_path / "a" / "b")
    assert [(len(r.records), r.earlier) for r in (first, second, third)] == [(2, 0), (5, 2), (5, 5)]
    assert ends(tmp_path / "a" / "b") == dict.fromkeys(["r0", "r1", "r2", "r3", "r4"], 1)
    assert list(second.records) == ["r0", "r1", "r2", "r3", "r4"]


def test_the_log_reads_well(tmp_path):
    swept(tmp_path, SPECS[:2])
    _, text = swept(tmp_path)
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "NOW", line) for line in text.splitlines()]
    assert lines == [
        "NOW  2/5 runs, 0s so far, ETA once something is done",
        "NOW  3/5 runs, 0s so far, ETA 0s; r2 finished, loss 2.0020",
        "NOW  5/5 runs, 0s so far, ETA 0s; r4 finished, loss 2.0020",
        "optimizer      N   tokens  runs  best loss  peak lr  batch, tokens",
        "adamw      6,224  100,096   5/5     2.0020    0.001          4,096",
    ]


def test_failed_and_refused_runs_leave_the_others_alone_and_may_succeed_later(tmp_path):
    report, text = swept(tmp_path, work=picky)
    assert set(report.records) == {"r0", "r3", "r4"}
    assert report.bad == {"r2": "run r2: tokens = 9; expected fewer"}
    assert list(report.failed) == ["r1"]
    assert "5/5 runs (2 given up)" in text
    row = json.loads((tmp_path / "runs" / "r1" / "failure.json").read_text())
    assert row["status"] == "crashed"
    assert row["loss"] is None
    assert row["failure"].endswith("ZeroDivisionError: one")
    assert sweep.summary(report, Path("out")) == [
        "3 runs have a record (0 had one before, 3 are new)",
        "1 runs were refused: correct the plan; nothing of the others is lost",
        "  r2: run r2: tokens = 9; expected fewer",
        "1 runs were given up: the whole reason is in runs/RUN_ID/failure.json; run again to try them again",
        "  r1: ZeroDivisionError: one",
        "next: bayeslaw-collect out -o out/runs.parquet",
    ]
    again, _ = swept(tmp_path)
    assert (set(again.records), again.earlier, again.failed) == ({"r0", "r1", "r2", "r3", "r4"}, 3, {})


def test_a_record_of_other_choices_is_refused(tmp_path):
    swept(tmp_path, SPECS[:2])
    other = replace(SPECS[1], learning_rate=2e-3)
    with pytest.raises(BadInput) as error:
        swept(tmp_path, [SPECS[0], other])
    assert str(error.value) == (
        f"{tmp_path}/runs/r1: holds the record of another run (spec {digest(SPECS[1])}, in the plan "
        f"{digest(other)}); expected the same choices under one run_id; rename the run in the plan, "
        "or choose another --out"
    )


@pytest.mark.parametrize("name", ["runs/r1/record.json", ".lock"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_any_run(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(BadInput, match=rf"{name}: (not a record \(.*Is a|cannot be opened \(Is a) directory"):
        swept(tmp_path, work=pytest.fail)


def test_two_sweeps_on_one_folder_are_refused(tmp_path):
    def nested(spec, folder):
        return swept(tmp_path)

    report, _ = swept(tmp_path, SPECS[:1], nested)
    message = report.bad["r0"]
    assert message.startswith(f"{tmp_path}: in use by pid {os.getpid()} on ")
    assert message.endswith("; expected one sweep a folder; wait for it, stop it, or choose another --out")


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LOCK_SECONDS", 0.1)

    def nested(spec, folder):
        return sweep.alone(works.train, (tmp_path / ".lock").read_text(), spec, tmp_path)

    report, _ = swept(tmp_path, SPECS[:1], nested)
    assert report.bad["r0"].startswith(f"{tmp_path}/runs/r0: in use by a worker of pid {os.getpid()} on ")
    assert "expected one process a run" in report.bad["r0"]


def test_a_worker_of_an_older_sweep_trains_nothing(tmp_path):
    swept(tmp_path, SPECS[:1])
    with pytest.raises(BadInput, match=r"this is not the folder of this sweep \(pid .*all nodes share"):
        sweep.alone(works.train, "pid 1 on another", SPECS[1], tmp_path)
    assert not (tmp_path / "runs" / "r1").exists()


def test_a_full_disk_stops_the_sweep_and_keeps_what_ended(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    full = []
    monkeypatch.setattr(sweep.shutil, "disk_usage", lambda _: usage(1, 1, 2**20 if full else 2**40))

    def fills(spec, folder):
        if spec.seed == 2:
            full.append(True)
            raise OSError(28, "No space left on device")
        return works.train(spec, folder)

    message = (
        f"{tmp_path}: 1 MiB free; expected at least 64 MiB; make room and run the same command again: "
        "%d runs are left, the others are kept"
    )
    with pytest.raises(BadInput) as error:
        swept(tmp_path, work=fills)
    assert str(error.value) == message % 3
    with pytest.raises(BadInput) as error:
        swept(tmp_path)
    assert str(error.value) == message % 5
    full.clear()
    assert swept(tmp_path)[0].earlier == 2
    assert set(ends(tmp_path).values()) == {1}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        BadInput, match=r"file/runs: cannot be made or written to \(.*\); expected a place to write to"
    ):
        swept(tmp_path / "file")


@pytest.fixture
def command(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    given = ["--plan", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--workers", "2"]
    return [sys.executable, "-m", "tests.support.train_works", "sweep", *given]


def started(command, seconds):
    environment = {**os.environ, "SLEEP": str(seconds)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def records(out):
    return len(list(out.glob("runs/*/record.json")))


def in_flight(out):
    return [f for f in out.glob("runs/*") if (f / "began").exists() and not (f / "record.json").exists()]


@pytest.mark.slow
def test_killing_workers_and_the_sweep_loses_only_runs_in_flight(tmp_path, command, monkeypatch, capsys):
    out = tmp_path / "out"
    with started(command, 1.0) as first:
        assert until(lambda: records(out) >= 2 and len(in_flight(out)) == 2)
        victim = in_flight(out)[0]
        os.kill(pids(victim / "began")[-1], signal.SIGKILL)
        assert until(lambda: len(pids(victim / "began")) == 2), "its run is tried again"
        first.kill()
    assert until(lambda: not any(alive(pid) for f in out.glob("runs/*") for pid in pids(f / "began")), 5)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    lost = len(in_flight(out))
    assert 2 <= len(kept) < 8
    assert lost <= 2
    monkeypatch.setattr(sweep.executor_local, "run", lambda work, tasks, workers: inline(work, tasks))
    monkeypatch.setattr(sweep, "train_one", works.train)
    assert sweep.main(command[4:]) == 0
    assert (
        f"8 runs have a record ({len(kept)} had one before, {8 - len(kept)} are new)"
        in capsys.readouterr().out
    )
    assert list(ends(out).values()) == [1] * 8
    assert sum(ends(out, "began").values()) == 8 + 1 + lost
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert all(record.read(folder)["status"] == "finished" for folder in (out / "runs").iterdir())
    assert not list(out.glob("runs/*/*.tmp"))


def test_a_stopped_sweep_says_how_to_go_on(tmp_path, command):
    out = tmp_path / "out"
    with started(command, 30) as process:
        assert until(lambda: len(in_flight(out)) == 2)
        process.terminate()
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.endswith("Stopped; what has ended is kept. Run the same command again to go on.\n")
    assert "Traceback" not in stderr
    assert not any(alive(pid) for folder in out.glob("runs/*") for pid in pids(folder / "began"))


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (works.train, 0, "8 runs have a record"),
        (picky, 2, "2 runs were refused"),
        (None, 1, "8 runs were given up"),
    ],
)
def test_exit_codes(tmp_path, command, monkeypatch, capsys, work, code, said):
    monkeypatch.setattr(sweep.executor_local, "run", lambda work, tasks, workers: inline(work, tasks))
    monkeypatch.setattr(sweep, "train_one", work)
    assert sweep.main(command[4:]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("adamw", "adam"), "plan.toml: part 1, run 1: optimizer = adam; expected one of adamw, "),
        (('"stdlib"', '"nowhere.txt"'), "nowhere.txt"),
        (
            ("= 4096", "= 200e3"),
            "plan.toml: part 1, run 1: batch_tokens = 199936; expected at most tokens = 100096",
        ),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(tmp_path, command, capsys, change, message):
    (tmp_path / "plan.toml").write_text(PLAN.replace(*change))
    assert sweep.main(command[4:]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_no_workers_and_no_ray_are_refused(tmp_path, command, capsys, monkeypatch):
    assert sweep.main([*command[4:-1], "0"]) == 2
    assert capsys.readouterr().err == "Error: --workers 0; expected at least 1\n"
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sweep.main([*command[4:], "--executor", "ray"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: executor ray: Ray is not installed; expected the package ray; pip install 'ray[default]', "
        "or leave --executor at local"
    )


@pytest.mark.slow
def test_the_default_executor_is_the_local_pool(tmp_path):
    report, _ = swept(tmp_path, SPECS[:2], works.train, functools.partial(executor_local.run, workers=1))
    assert len({row["pid"] for row in report.records.values()} - {os.getpid()}) == 1
