"""A loop's task in a folder: a runner that takes no time, and a fit that grows surer with every run."""

from __future__ import annotations

import sys

import numpy as np

from bayeslaw.loop.task import Task
from bayeslaw.planning.candidates import drawn_from, with_cost
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted

SPACE = {"count": 16, "optimizer": "adamw", "params_nonembedding": [1e8, 2e8], "tokens_per_param": 20}
SPACE |= {"learning_rate": {"low": 2e-4, "high": 2e-2}, "batch_tokens": {"low": 3e4, "high": 3e6}}

RUNNER = """
import pathlib, sys
plan, out, how = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
with (out / "calls").open("a") as calls:
    calls.write("called\\n")
rows = [line.split(",") for line in plan.read_text().splitlines()]
head, rows = rows[0] + ["run_id", "loss", "status"], rows[1:]
if how == "fails":
    sys.exit("no GPU today")
if how == "killed":
    sys.exit(130)
if how == "garbage":
    (out / "runs.csv").write_text("this is, no table\\n1, 2, 3\\n")
    sys.exit(0)
if how == "half":
    rows = rows[: len(rows) // 2]
made = [row + [f"{i}", str(2.5 + 0.01 * i), "finished"] for i, row in enumerate(rows)]
if how == "other":
    made = [[*row[:0], *["7e-9" if n == "learning_rate" else x for n, x in zip(head, row)]] for row in made]
if how == "lost":
    made = [[*row[:-2], "", "diverged"] for row in made]
(out / "runs.csv").write_text("\\n".join(",".join(row) for row in [head, *made]) + "\\n")
sys.exit(1 if how == "half" else 0)
"""


def surer(runs, seed):
    """A fit that takes no time, is the surer, the more runs it has seen, and never content."""
    groups = (("new", "adamw"),)
    fit = fake_posterior(40, 12.0 / len(runs) ** 0.5, seed, groups, ((1e8, 2e9),))
    return shifted(fit, log_noise=np.log(1e-6), log_dof_minus_4=0.0)  # no run is lost in noise


def task_in(folder):
    (folder / "runner.py").write_text(RUNNER)
    pool, unit = with_cost(drawn_from(SPACE, "s"), "s")
    return Task(
        folder=folder / "loop",
        targets=(Target(7e9, 1.4e11, "adamw", "new"),),
        candidates=pool.assign(study="new"),
        runner=with_how(folder, "well"),
        budget=1e20,
        table="{out}/runs.csv",
        batch=4,
        rounds=3,
        unit=unit,
    )


def with_how(folder, how):
    return f"{sys.executable} {folder / 'runner.py'} {{plan}} {{out}} {how}"
