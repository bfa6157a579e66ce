"""The same sweep on a Ray cluster of two nodes, one of which is lost on the way."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("ray")

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import executor_ray, record, sweep
from tests.support.documents import ROOT
from tests.support.train_sweeps import PLAN, ends


@pytest.mark.slow
def test_a_cluster_loses_a_worker_and_a_node_and_every_run_ends_once(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    out = tmp_path / "out"
    command = ["tests.support.train_works", "ray_sweep", str(tmp_path / "plan.toml"), str(out)]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "SLEEP": "2", "RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "8 runs have a record (0 had one before, 8 are new)" in done.stdout
    assert (out / "lost").exists()
    assert set(ends(out).values()) == {1}
    rows = [record.read(folder) for folder in (out / "runs").iterdir()]
    assert {row["status"] for row in rows} == {"finished"}
    assert len({row["node"] for row in rows}) == 2
    began = ends(out, "began")
    assert sum(began.values()) >= 8 + 2, "two runs of seed 1 were killed, and tried again"


@pytest.mark.parametrize("place", ["--address", "RAY_ADDRESS"])
def test_an_address_where_nothing_listens_is_refused_at_once(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "plan.toml").write_text(PLAN)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    given = ["--plan", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--executor", "ray"]
    if place == "--address":
        given += [place, address]
    else:
        monkeypatch.setenv(place, address)
    monkeypatch.setattr("ray.init", pytest.fail)
    assert sweep.main(given) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Error: executor ray: no cluster at {address} ([Errno 111] Connection refused); expected the "
        "address of a running head node; start one with: ray start --head"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:1", "ray://127.0.0.1:1"])
def test_odd_addresses_are_refused_at_once(address):
    with pytest.raises(BadInput, match=re.escape(f"executor ray: no cluster at {address} (")):
        next(executor_ray.run(print, [], address))


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_listens_but_is_not_ray_is_refused_soon(words, monkeypatch):
    monkeypatch.setattr(executor_ray, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=lambda: answered.append(_answer(server, words)), daemon=True)
        answered = []
        answer.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(BadInput, match=f"no cluster at {address} \\(({SILENT}|{OTHER})\\)"):
            executor_ray._check_answer(address)
        answer.join(5)
        answered[0].close()


SILENT, OTHER = "timed out", "what listens there is not Ray"


def _answer(server, words):
    """Take one connection and say the words; silence keeps it open."""
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(words)
    return connection
