"""Jobs that write as they go: a command, and what it leaves when it has ended."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.io import write_runs
from tests.strain.fuzz import SPACE
from tests.support.loops import RUNNER

ROOT = Path(__file__).parents[2]

PLAN = """[sweep]
study = "strain"
corpus = "stdlib"

[[part]]
design = "grid"
optimizer = "adamw"
params_nonembedding = 9.3e3
tokens_per_param = 8
learning_rate = [0.004, 0.008, 0.016]
batch_tokens = 256
"""
RUN = (
    "--corpus stdlib --optimizer adamw --params-nonembedding 9.3e3 --tokens 150000 --learning-rate 0.01 "
    "--batch-tokens 256"
)
PYTHON = shlex.quote(sys.executable)

SWEEP = f"{PYTHON} -m bayeslaw.lab.train.sweep --plan plan.toml --out out --workers 1"


@dataclass(frozen=True)
class Job:
    """A command that goes on where it was killed, and what it leaves.

    Attributes:
        command: run in its folder, by a shell.
        left: folder -> what must be the same, whatever was killed.
    """

    command: str
    left: Callable[[Path], Any]


def _draws(folder: Path) -> Any:
    fit = read_posterior(folder / "p.nc")
    spare = sorted(path.name for path in folder.glob("p.nc*"))
    return spare, {name: values.tolist() for name, values in fit.group.items()}


def _losses(folder: Path) -> Any:
    records = [json.loads(path.read_text()) for path in sorted((folder / "out").glob("**/record.json"))]
    return sorted((record["run_id"], record["loss"]) for record in records)


def _lines(folder: Path) -> Any:
    rows = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    return sorted([row["policy"], row["seed"], row["budget"], row["runs"], row["regret"]] for row in rows)


def _rounds(folder: Path) -> Any:
    rounds = sorted((folder / "l").glob("round-*"))
    plans = [(path / "plan.csv").read_text() for path in rounds if (path / "plan.csv").exists()]
    calls = [len(path.read_text().splitlines()) for path in sorted((folder / "l").glob("**/calls"))]
    return plans, [1 if count else 0 for count in calls]


JOBS = {
    "fit": Job(f"{PYTHON} -m bayeslaw.cli fit runs.csv -o p.nc --effort quick", _draws),
    "train.run": Job(f"{PYTHON} -m bayeslaw.lab.train.run {RUN} --folder out/run", _losses),
    "train.sweep": Job(SWEEP, _losses),
    "watch": Job(
        f"mkdir -p out; {PYTHON} -m bayeslaw.cli watch out --port 8917 & page=$!; "
        "(while :; do curl -s -o /dev/null http://127.0.0.1:8917/; sleep 0.2; done) & reader=$!; "
        f"{SWEEP}; code=$?; kill $page $reader; exit $code",
        _losses,
    ),
    "replay": Job(
        f"{PYTHON} -m bayeslaw.cli replay runs.csv --target 1e8,2e9,adamw --budget 40% --policy random "
        "--seeds 2 --refits 1 --workers 1 -o r.jsonl",
        _lines,
    ),
    "loop": Job(
        f"{PYTHON} -m bayeslaw.cli loop --target 1e9,2e10,adamw --space s.toml --budget 1e19 --batch 4 "
        "--rounds 2 --runs runs.csv --study example --out l "
        f"--runner '{PYTHON} runner.py {{plan}} {{out}} well' "
        "--table '{out}/runs.csv'",
        _rounds,
    ),
}


def prepared(folder: Path) -> Path:
    """A folder with what the jobs read."""
    folder.mkdir()
    runs = simulate_runs(example_design(24, params=(2e7, 1e8), tokens_per_param=(20.0,), seed=2), seed=2)
    write_runs(runs, folder / "runs.csv")
    (folder / "plan.toml").write_text(PLAN)
    (folder / "s.toml").write_text(SPACE)
    (folder / "runner.py").write_text(RUNNER)
    return folder


def whole(job: Job, folder: Path, limit: float | None = None) -> tuple[Any, float]:
    """What the undisturbed job leaves, and the seconds that it needs."""
    prepared(folder)
    began = time.perf_counter()
    code, said = outcome(job.command, folder, limit)
    if code != 0:
        raise RuntimeError(f"exit code {code}: {said[-500:]}")
    return job.left(folder), time.perf_counter() - began


def outcome(
    command: str, folder: Path, seconds: float | None = None, **around: str
) -> tuple[int | None, str]:
    """The exit code of a command, and what it said; without a code where it was killed after some seconds.

    Args:
        command: run in the folder by a shell, killed with all its processes.
        folder: where it works. What it says is kept elsewhere.
        seconds: how long it may take.
        around: more variables of its environment.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BAYESLAW_EFFORT": "quick"}
    with tempfile.TemporaryFile() as log:
        work = subprocess.Popen(
            command,
            shell=True,
            cwd=folder,
            env=environment | around,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = work.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(work.pid, signal.SIGKILL)
            work.wait()
            code = None
        log.seek(0)
        return code, log.read().decode(errors="replace")
