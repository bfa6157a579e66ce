"""Run tasks as one job array of a Slurm cluster, through submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.lab.train.executor_local import RETRIES, Outcome, Outcomes, Reply, attempt

POLL_SECONDS = 1.0
JOBS = "slurm"
"""Folder of the sweep in which submitit keeps each job's call, result and log."""


class Call:
    """One task on its node; Slurm may preempt and requeue it, since a run resumes from its checkpoint."""

    def __call__(self, work: Callable[..., Any], task: tuple[Any, ...], directory: str) -> Reply:
        """Run the task, with relative paths resolved as on the submitting machine."""
        with suppress(OSError):
            os.chdir(directory)
        return attempt(work, task)

    def checkpoint(self, *arguments: Any) -> Any:
        """What submitit submits again, when the job is preempted or out of time: the same call."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def run(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    folder: Path,
    parameters: Mapping[str, str] | None = None,
    cluster: str | None = None,
) -> Outcomes:
    """As ``train.executor_local.run``, one job of an array per task.

    Every node needs this project installed, and the sweep's folder and the corpus under the same path, on a
    shared file system. A task whose job dies, or that raises anything but BadInput, is submitted again,
    ``RETRIES`` times at most. Closing the iterator cancels the jobs.

    Args:
        work: importable by name.
        tasks: arguments of the calls.
        folder: where submitit keeps calls, results and logs.
        parameters: of ``submitit.AutoExecutor.update_parameters``: ``timeout_min``, ``gpus_per_node``,
            ``slurm_partition``, ``slurm_array_parallelism``.
        cluster: ``slurm``, or ``local`` for processes on this machine; None for Slurm.

    Raises:
        BadInput: submitit is not installed, Slurm is not here, or a parameter is none.
    """
    executor = _executor(folder, parameters or {}, cluster or "slurm")
    if not tasks:
        return
    call, here = Call(), os.getcwd()
    tries = [1] * len(tasks)
    count = len(tasks)
    jobs = dict(enumerate(executor.map_array(call, [work] * count, list(tasks), [here] * count)))
    try:
        while jobs:
            ended = [task for task, job in jobs.items() if job.done()]
            for task in ended:
                kind, value = _result(jobs.pop(task))
                if kind == "failed" and tries[task] <= RETRIES:
                    tries[task] += 1
                    jobs[task] = executor.submit(call, work, tasks[task], here)
                else:
                    yield Outcome(task, kind, value)
            if not ended:
                time.sleep(POLL_SECONDS)
    finally:
        for job in jobs.values():
            with suppress(Exception):  # a job that has ended needs no cancelling
                job.cancel()


def _executor(folder: Path, parameters: Mapping[str, str], cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise BadInput(
            "executor slurm: submitit is not installed; expected the package submitit; "
            "pip install 'bayeslaw[slurm]', or leave --executor at local"
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise BadInput(
            f"executor slurm: no Slurm here ({error}); expected a machine from which sbatch submits; "
            "go to the login node, or leave --executor at local"
        ) from None
    try:
        executor.update_parameters(**{name: _value(text) for name, text in parameters.items()})
    except (NameError, TypeError, ValueError) as error:
        raise BadInput(
            f"--slurm: {' '.join(str(error).split())[:300]}; expected parameters of submitit's AutoExecutor; "
            "give timeout_min=240, slurm_partition=gpu and the like"
        ) from None
    return executor


def _value(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _result(job: Any) -> Reply:
    try:
        return job.result()
    except Exception as error:  # submitit's own errors share no base: its job died, or left no result
        return "failed", f"its job died ({' '.join(str(error).split())[:300]})"
