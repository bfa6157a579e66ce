"""A small sweep of stand-in runs: its plan, its specs, an executor without processes."""

from __future__ import annotations

from dataclasses import replace

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import executor_local
from bayeslaw.lab.train.spec import RunSpec, checked
from tests.support import train_works as works
from tests.support.train_works import pids

SPEC = checked(RunSpec("r0", "own", "stdlib", "adamw", 16, 2, 1, 100_096, 4_096, 1e-3))
SPECS = [replace(SPEC, run_id=f"r{i}", seed=i) for i in range(5)]

PLAN = """
[sweep]
study = "own"
corpus = "stdlib"
optimizer = "adamw"
params_nonembedding = 6e3
tokens = 100_096
batch_tokens = 4096
[[part]]
design = "grid"
learning_rate = [1e-3, 3e-3]
seed = [0, 1, 2, 3]
"""


def inline(work, tasks):
    """An executor without processes."""
    for i, task in enumerate(tasks):
        yield executor_local.Outcome(i, *executor_local.attempt(work, task))


def ends(out, name="ended"):
    """How often each run began or ended."""
    return {folder.name: len(pids(folder / name)) for folder in sorted((out / "runs").iterdir())}


def picky(spec, folder):
    if spec.seed == 1:
        raise ZeroDivisionError("one")
    if spec.seed == 2:
        raise BadInput("run r2: tokens = 9; expected fewer")
    return works.train(spec, folder)
