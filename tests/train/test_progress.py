"""Progress: time still needed follows FLOPs, and logs stay short."""

from __future__ import annotations

import io
import re

import pytest

from bayeslaw.lab.train import progress
from bayeslaw.lab.train.progress import Tally, reporting
from tests.support.train_works import until

CELLS = {"a": ("adamw", 24_736, 500_000), "b": ("adamw", 24_736, 500_000), "c": ("muon", 83_264, 1_000_000)}
COSTS = {"a": 1.0, "b": 1.0, "c": 8.0}


def ended(loss, status="finished", rate=1e-3):
    return {"status": status, "loss": loss, "learning_rate": rate, "batch_tokens": 4096}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_time_to_go_follows_flops_not_counts(clock):
    tally = Tally(COSTS, CELLS, clock=clock)
    assert tally.line() == "0/3 runs, 0s so far, ETA once something is done"
    clock.now += 10
    tally.add("a", ended(3.0))
    assert tally.remaining() == pytest.approx(90)
    assert tally.line() == "1/3 runs, 10s so far, ETA 1m30s"
    clock.now += 80
    tally.add("c", ended(2.5))
    assert tally.remaining() == pytest.approx(10)
    tally.add("b", None)
    assert tally.line() == "3/3 runs (1 given up), 1m30s so far, ETA 0s"


def test_runs_of_an_earlier_sitting_tell_no_speed(clock):
    tally = Tally(COSTS, CELLS, clock=clock)
    tally.add("c", ended(2.5), earlier=True)
    clock.now += 5
    assert tally.remaining() is None
    tally.add("a", ended(3.0))
    assert tally.remaining() == pytest.approx(5)


def test_runs_that_have_begun_count_for_what_they_did_in_this_sitting(clock):
    shares = {"c": 0.25}
    tally = Tally(COSTS, CELLS, lambda run_id: shares.get(run_id, 0.0), clock)
    assert tally.line() == "0/3 runs, 1 begun (25%), 0s so far, ETA once something is done"
    clock.now += 10
    shares |= {"a": 0.5, "c": 0.5}  # 2.5 of the 10 - 2 that were left
    assert tally.line() == "0/3 runs, 2 begun (50%), 10s so far, ETA 22s"
    clock.now += 5
    shares |= {"a": 0.9}  # not looked at yet
    tally.add("c", ended(2.5))  # 7.5 of its 8 - 2, and half of a: 6.5 in 15 s, 1.5 to do
    assert tally.remaining() == pytest.approx(15 * 1.5 / 6.5)
    assert tally.line() == "1/3 runs, 1 begun (50%), 15s so far, ETA 3s"


def test_a_log_is_never_silent_for_long(clock, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    tally, stream = Tally(COSTS, CELLS, lambda run_id: 0.5 if run_id == "c" else 0.0, clock), io.StringIO()
    with reporting(tally, stream):
        clock.now += 60
        assert until(lambda: "0/3 runs, 1 begun (50%), 1m00s so far" in stream.getvalue(), 5)
    assert stream.getvalue().count("so far") == 2


def test_the_best_of_each_cell_is_a_finished_run(clock):
    tally = Tally(COSTS, CELLS, clock=clock)
    tally.add("a", ended(3.0, rate=2e-3))
    tally.add("b", ended(3.5))
    tally.add("c", ended(None, "diverged"))
    assert tally.table() == [
        "optimizer       N     tokens  runs  best loss  peak lr  batch, tokens",
        "adamw      24,736    500,000   2/2     3.0000    0.002          4,096",
        "muon       83,264  1,000,000   1/1          -        -              -",
    ]
    assert tally.line().startswith("3/3 runs (1 diverged)")


def test_long_tables_are_cut(clock, monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_CELLS", 1)
    assert Tally(COSTS, CELLS, clock=clock).table()[-1] == "... and 1 more cells"


def test_a_log_gets_a_line_now_and_then_and_the_table_rarely(clock):
    runs = {f"r{i}": 1.0 for i in range(1000)}
    tally, stream = Tally(runs, dict.fromkeys(runs, CELLS["a"]), clock=clock), io.StringIO()
    with reporting(tally, stream) as update:
        for run_id in runs:
            clock.now += 1
            tally.add(run_id, ended(3.0))
            update(f"{run_id} finished")
    lines = stream.getvalue().splitlines()
    dated = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \d+/1000 runs, ", line)]
    tables = [line for line in lines if line.startswith("optimizer")]
    assert len(dated) == 1 + 334
    assert len(tables) == 2
    assert dated[-1].endswith("1000/1000 runs, 16m40s so far, ETA 0s; r999 finished")


def test_the_last_word_is_said_even_when_it_comes_early_or_the_sweep_fails(clock):
    tally, stream = Tally(COSTS, CELLS, clock=clock), io.StringIO()

    def stopped():
        with reporting(tally, stream) as update:
            for run_id in ("a", "b"):
                tally.add(run_id, ended(3.0))
                update(f"{run_id} finished")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert "2/3 runs, 0s so far, ETA 0s; b finished\noptimizer" in stream.getvalue()


def test_a_terminal_gets_a_live_picture(clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    tally, stream = Tally(COSTS, CELLS, clock=clock), Terminal()
    with reporting(tally, stream) as update:
        tally.add("a", ended(3.0))
        update("a finished, loss 3.0000")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "1/3 runs, 0s so far, ETA 0s" in shown
    assert "a finished, loss 3.0000" in shown
    assert "adamw      24,736    500,000   1/2     3.0000" in shown
