"""A fit that is stopped keeps its draws beside the output, and goes on from them."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.inference import checkpoint, fitting
from bayeslaw.inference.checkpoint import Stopped, keeper, read_checkpoint, unfinished, write_checkpoint
from bayeslaw.law.simulation import example_design, simulate_runs

STATE = {"draws 0": np.arange(6.0).reshape(1, 3, 2), "step": np.array(0.3)}


def test_what_is_kept_is_read_by_the_same_fit_only(tmp_path):
    said = []
    path = tmp_path / "p.nc.unfinished"
    assert read_checkpoint(path, "ours", said.append) == {}
    write_checkpoint(path, "ours", STATE)
    found = read_checkpoint(path, "ours", said.append)
    assert said == []
    assert list(found) == list(STATE)
    np.testing.assert_array_equal(found["draws 0"], STATE["draws 0"])
    assert read_checkpoint(path, "theirs", said.append) == {}
    assert said[0].endswith("of another fit (runs, options or versions differ); this one begins anew")
    path.write_bytes(path.read_bytes()[:100])
    assert read_checkpoint(path, "ours", said.append) == {}
    assert "not readable" in said[1]


def test_it_is_written_by_time_and_at_a_signal(tmp_path, monkeypatch):
    path, came = tmp_path / "c", []
    keep = keeper(path, "ours", {"mode": np.zeros(2)}, came)
    keep(lambda: pytest.fail("too early"))
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    keep(lambda: STATE)
    assert {"mode", "step"} <= set(read_checkpoint(path, "ours"))
    path.unlink()
    monkeypatch.setattr(checkpoint, "EVERY", 1e9)
    came.append(signal.SIGTERM)
    with pytest.raises(Stopped):
        keep(lambda: STATE)
    assert path.exists()


def test_one_fit_at_a_time_writes_an_output_and_leaves_nothing_beside_it(tmp_path):
    with unfinished(tmp_path / "p.nc") as path:
        path.touch()
        with pytest.raises(BadInput, match="another fit is at work there"), unfinished(tmp_path / "p.nc"):
            pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        _killed(tmp_path / "p.nc")
    assert [each.name for each in tmp_path.iterdir()] == ["p.nc.unfinished"]


def _killed(output):
    with unfinished(output) as path:
        path.touch()
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_fit_stopped_by_a_signal_goes_on_to_the_same_posterior(tmp_path, monkeypatch):
    runs = simulate_runs(example_design(12, params=(1e8,), tokens_per_param=(20.0,), seed=1), seed=1)
    asked = {"chains": 2, "draws": 10, "effort": "quick", "checkpoint": tmp_path / "c"}
    whole = fitting.fit(runs, **asked)
    assert not (tmp_path / "c").exists(), "a short fit has nothing to keep"
    drawn = fitting.draw

    def interrupted(*args):
        *rest, keep = args
        blocks = []

        def signalled(pack):
            blocks.append(1)
            if len(blocks) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            keep(pack)

        return drawn(*rest, signalled)

    said = []
    monkeypatch.setattr(fitting, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitting.fit(runs, say=said.append, **asked)
    assert said[-1].startswith(f"stopped: the draws so far are kept in {tmp_path / 'c'}")
    monkeypatch.setattr(fitting, "draw", drawn)
    monkeypatch.setattr(fitting, "whitening", lambda *args: pytest.fail("the mode is known"))
    again = fitting.fit(runs, say=said.append, **asked)
    assert any("going on after 0 draws per chain" in text for text in said)
    for name, values in whole.group.items():
        np.testing.assert_array_equal(again.group[name], values)
