"""Kills -9 at random moments: nothing lost, doubled or half-written. Slow, outside CI, resumable.

    python -m tests.strain.kills run [--kills 200] [--seed 0]   # results/kills.jsonl
    python -m tests.strain.kills table

Each job is run once undisturbed. Then it is begun anew and killed, with all its processes, after a random
share of the time that it needs, again and again; each time the same command goes on in the same folder. After
its last kill it ends by itself. What it leaves must be what the undisturbed run left: losses of runs to the
last bit, the same draws, each result once, and no file that only a work under way has.
"""

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

import numpy as np

from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.io import write_runs
from tests.strain.fuzz import SPACE
from tests.studies.tables import markdown, read_rows, study_parser
from tests.support.loops import RUNNER

RESULTS = Path(__file__).parent / "results" / "kills.jsonl"
ROOT = Path(__file__).parents[2]
PER_JOB = 5
"""Kills before a job is left in peace."""

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
    "train.sweep": Job(
        f"{PYTHON} -m bayeslaw.lab.train.sweep --plan plan.toml --out out --workers 1", _losses
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


def ended(command: str, folder: Path, seconds: float | None) -> bool:
    """Whether a command ended well within some seconds; else it and its children are killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BAYESLAW_EFFORT": "quick"}
    with (folder / "log").open("ab") as log:
        work = subprocess.Popen(
            command, shell=True, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = work.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(work.pid, signal.SIGKILL)
            work.wait()
            return False
    if code:
        raise RuntimeError(f"exit code {code}: {(folder / 'log').read_text()[-500:]}")
    return True


def trial(job: Job, place: Path, number: int, seed: int, reference: Any, seconds: float) -> dict[str, Any]:
    """One job, killed up to ``PER_JOB`` times, and whether it left what it should."""
    folder = prepared(place / f"killed-{number}")
    rng = np.random.default_rng([seed, number])
    kills, done = 0, False
    try:
        while not done and kills < PER_JOB:
            done = ended(job.command, folder, float(rng.uniform(0.05, 0.9)) * seconds)
            kills += not done
        if not done:
            ended(job.command, folder, None)
        found, said = job.left(folder), ""
    except (RuntimeError, OSError, ValueError, KeyError, StopIteration) as error:
        found, said = None, f"{type(error).__name__}: {error}"[-300:]
    return {"kills": kills, "same": found == reference, "said": said}


def run(wanted: int, seed: int) -> None:
    """Append trials, job by job in turn, until there are so many kills."""
    RESULTS.parent.mkdir(exist_ok=True)
    rows = read_rows(RESULTS)
    with tempfile.TemporaryDirectory() as where:
        references: dict[str, tuple[Any, float]] = {}
        while sum(row["kills"] for row in rows) < wanted:
            number = len(rows)
            name = list(JOBS)[number % len(JOBS)]
            place = Path(where) / name
            if name not in references:
                place.mkdir()
                folder = prepared(place / "whole")
                began = time.perf_counter()
                ended(JOBS[name].command, folder, None)
                references[name] = JOBS[name].left(folder), time.perf_counter() - began
            row = {"job": name, "number": number, "seed": seed}
            row |= trial(JOBS[name], place, number, seed, *references[name])
            rows.append(row)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """One row per job."""
    body = []
    for name in dict.fromkeys(row["job"] for row in rows):
        mine = [row for row in rows if row["job"] == name]
        same = sum(row["same"] for row in mine)
        body.append([f"`{name}`", str(len(mine)), str(sum(row["kills"] for row in mine)), str(same)])
    return markdown("Killed at random moments", ["job", "times run", "kills -9", "left the same"], body)


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked.kills, asked.seed)
    print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
