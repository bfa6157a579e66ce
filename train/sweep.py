"""Run every run of a plan that has no record yet. Stop it at any time, and run it again to resume.

    bayeslaw-sweep --plan plan.toml --out out/first --workers 2
    bayeslaw-sweep --plan plan.toml --out /shared/first --executor ray --address 10.0.0.1:6379
    bayeslaw-sweep --plan plan.toml --out /shared/first --executor slurm --slurm slurm_partition=gpu

Each run leaves out/first/runs/RUN_ID/record.json; bayeslaw-collect out/first makes them a run table.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from bayeslaw.errors import BadInput
from bayeslaw.files import make_folder, write_atomically
from bayeslaw.lab.data.examples import VALIDATION_SEQUENCES
from bayeslaw.lab.models.counts import flops_per_token, params_nonembedding
from bayeslaw.lab.train import executor_local, executor_ray, executor_slurm, plan, record
from bayeslaw.lab.train.progress import Tally, reporting
from bayeslaw.lab.train.spec import RunSpec, digest

LOCK = ".lock"
FREE_BYTES = 64 * 2**20
LOCK_SECONDS = 10.0
"""Time that a run waits for the exiting worker of a killed sweep [s]."""
SHOWN = 20
OVERHEAD_FLOPS = 1e6

Work = Callable[[RunSpec, Path], dict[str, Any]]
Executor = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], executor_local.Outcomes]


@dataclass
class Report:
    """Outcome of a sweep.

    Attributes:
        records: records of all runs that have one, by run_id.
        earlier: number of records from earlier sweeps.
        failed: traceback or cause of death of each run that was given up, by run_id; it leaves
            ``failure.json``.
        bad: message of each refused run, by run_id.
    """

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def run(
    specs: Sequence[RunSpec], out: Path, work: Work, execute: Executor, stream: TextIO = sys.stderr
) -> Report:
    """Run the runs without a record, in the order of the plan.

    Args:
        specs: as ``train.plan.read`` gives them, each run_id once.
        out: folder of the sweep, made where it is missing.
        work: trains one run in its folder; returns its record, which it has written.
        execute: ``run`` of one of the executors, with all but work and tasks filled in.
        stream: where progress is shown.

    Raises:
        BadInput: another sweep works on the folder, a record is of another run, or no space is left.
    """
    out = out.absolute()
    make_folder(out / record.RUNS)
    _check_space(out, len(specs))
    mark = f"pid {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    with _held(out / LOCK, mark, 0.0, "one sweep a folder"):
        report = Report(_records(specs, out))
        report.earlier = len(report.records)
        todo = [spec for spec in specs if spec.run_id not in report.records]
        _write_plan(specs, out)
        tally = Tally(
            costs={spec.run_id: cost(spec) for spec in specs},
            cells={
                spec.run_id: (spec.optimizer, params_nonembedding(spec.shape), spec.tokens) for spec in specs
            },
            share=lambda run_id: record.share(out / record.RUNS / run_id),
        )
        for run_id, found in report.records.items():
            tally.add(run_id, found, earlier=True)
        tasks = [(work, mark, spec, out) for spec in todo]
        with reporting(tally, stream) as update, closing(execute(alone, tasks)) as outcomes:
            for outcome in outcomes:
                spec = todo[outcome.task]
                if outcome.kind != "done":
                    _check_space(out, len(specs) - len(report.records))
                _enter(report, spec, outcome, out)
                ended = report.records.get(spec.run_id)
                tally.add(spec.run_id, ended)
                update(_told(spec.run_id, ended, outcome))
        return report


def alone(work: Work, mark: str, spec: RunSpec, out: Path) -> dict[str, Any]:
    """Call ``work`` in the run's folder, in one process at a time; return at once if there is a record.

    Args:
        work: as in ``run``.
        mark: text of the sweep's lock file; another text means another sweep, or another folder of that name
            on this machine.
        spec: spec of the run.
        out: folder of the sweep.

    Raises:
        BadInput: the mark differs, or another process works on the run.
    """
    if (there := _text(out / LOCK)) != mark:
        raise BadInput(
            f"{out}: on {platform.node()} this is not the folder of this sweep ({there or 'no lock file'}); "
            "expected one folder on a file system that all nodes share, and one sweep; choose another --out"
        )
    folder = out / record.RUNS / spec.run_id
    make_folder(folder)
    with _held(folder / LOCK, f"a worker of {mark}", LOCK_SECONDS, "one process a run"):
        return record.read(folder) or work(spec, folder)


def cost(spec: RunSpec) -> float:
    """Time of a run up to a constant factor, for the ETA.

    Small networks are bound by memory: with ``OVERHEAD_FLOPS`` added per token, seconds per FLOP are the
    same within 20% from 25k to 1M parameters on a CPU. Validation counts as much as training on a third.
    """
    tokens = spec.tokens + VALIDATION_SEQUENCES * spec.sequence_length / 3
    return tokens * (flops_per_token(spec.shape, spec.sequence_length) + OVERHEAD_FLOPS)


def train_one(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """``train.run.execute``, imported where it is called: the process that hands out runs trains nothing."""
    from bayeslaw.lab.train.run import execute

    return execute(spec, folder)


def _write_plan(specs: Sequence[RunSpec], out: Path) -> None:
    """Write down which runs are wanted, for `bayeslaw watch`; the sweep itself never reads it."""
    runs = [
        {
            "run_id": spec.run_id,
            "study": spec.study,
            "optimizer": spec.optimizer,
            "params_nonembedding": params_nonembedding(spec.shape),
            "tokens": spec.tokens,
            "batch_tokens": spec.batch_tokens,
            "learning_rate": spec.learning_rate,
        }
        for spec in specs
    ]
    with write_atomically(out / record.PLANNED) as temporary:
        temporary.write_text(json.dumps({"runs": runs}) + "\n")


def _records(specs: Sequence[RunSpec], out: Path) -> dict[str, dict[str, Any]]:
    """Records that are there, each checked to be of the plan's run."""
    found = {spec.run_id: record.read(out / record.RUNS / spec.run_id) for spec in specs}
    for spec in specs:
        there = found[spec.run_id]
        if there is not None and there.get("spec_digest") != digest(spec):
            raise BadInput(
                f"{out / record.RUNS / spec.run_id}: holds the record of another run "
                f"(spec {there.get('spec_digest')}, in the plan {digest(spec)}); expected the same choices "
                "under one run_id; rename the run in the plan, or choose another --out"
            )
    return {run_id: there for run_id, there in found.items() if there is not None}


def _enter(report: Report, spec: RunSpec, outcome: executor_local.Outcome, out: Path) -> None:
    """File an outcome; a run given up leaves its row, as crashed, and the reason."""
    if outcome.kind == "done":
        report.records[spec.run_id] = outcome.value
    elif outcome.kind == "bad":
        report.bad[spec.run_id] = outcome.value
    else:
        report.failed[spec.run_id] = outcome.value
        row = {**record.row(spec, "crashed", None, None, 0), "failure": outcome.value}
        make_folder(out / record.RUNS / spec.run_id)
        with write_atomically(out / record.RUNS / spec.run_id / record.FAILURE) as temporary:
            temporary.write_text(json.dumps(row, indent=1) + "\n")


def _told(run_id: str, ended: dict[str, Any] | None, outcome: executor_local.Outcome) -> str:
    if ended is None:
        lines = str(outcome.value).splitlines()
        return f"{run_id} {'refused' if outcome.kind == 'bad' else 'given up'}: {lines[-1] if lines else ''}"
    loss = ended.get("loss")
    return f"{run_id} {ended['status']}" + (f", loss {loss:.4f}" if loss is not None else "")


@contextmanager
def _held(lock: Path, mark: str, seconds: float, expected: str) -> Iterator[None]:
    """Hold a lock file, which then says ``mark``; the kernel frees it when the process ends."""
    with _opened(lock) as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BadInput(
                        f"{lock.parent}: in use by {_text(lock)}; expected {expected}; "
                        "wait for it, stop it, or choose another --out"
                    ) from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(mark)
        file.flush()
        yield


def _opened(lock: Path) -> TextIO:
    try:
        return lock.open("a+")
    except OSError as error:
        raise BadInput(
            f"{lock}: cannot be opened ({error.strerror}); expected the lock file of a sweep; remove it"
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _check_space(out: Path, left: int) -> None:
    """Stop while records can still be written; ended runs are kept, the rest is left for later."""
    free = shutil.disk_usage(out).free
    if left and free < FREE_BYTES:
        raise BadInput(
            f"{out}: {free / 2**20:.0f} MiB free; expected at least {FREE_BYTES / 2**20:.0f} MiB; make room "
            f"and run the same command again: {left} runs are left, the others are kept"
        )


def main(arguments: list[str] | None = None) -> int:
    """``bayeslaw-sweep``; 0, 1 if runs failed, 2 for bad input, 130 if stopped."""
    parser = argparse.ArgumentParser(
        "bayeslaw-sweep", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--plan", type=Path, required=True, help="plan: designs (.toml) or a list of runs (.csv)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the sweep")
    parser.add_argument(
        "--workers",
        type=int,
        default=_cores(),
        help="number of local worker processes, by default %(default)s, one per core",
    )
    parser.add_argument("--records", type=Path, help="run table of bayeslaw-collect: its runs count as done")
    parser.add_argument("--executor", choices=("local", "ray", "slurm"), default="local")
    parser.add_argument(
        "--address", help="address of a Ray cluster; by default $RAY_ADDRESS, or this machine alone"
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of submitit for the job array, such as timeout_min=240; repeated",
    )
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if given.workers < 1:
            raise BadInput(f"--workers {given.workers}; expected at least 1")
        specs = plan.read(given.plan, say=lambda note: print(f"note: {note}", file=sys.stderr))
        if given.records:
            from bayeslaw.lab.train.collect import restore

            count = restore(given.records, given.out / record.RUNS)
            print(f"{count} records restored from {given.records}", file=sys.stderr)
        local = functools.partial(executor_local.run, workers=given.workers)
        remote = functools.partial(executor_ray.run, address=given.address)
        array = functools.partial(
            executor_slurm.run,
            folder=given.out.absolute() / executor_slurm.JOBS,
            parameters=_pairs(given.slurm),
        )
        executors: dict[str, Executor] = {"local": local, "ray": remote, "slurm": array}
        report = run(specs, given.out, train_one, executors[given.executor])
    except BadInput as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; what has ended is kept. Run the same command again to go on.", file=sys.stderr)
        return 130
    print("\n".join(summary(report, given.out)))
    return 2 if report.bad else 1 if report.failed else 0


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """Split repeated ``NAME=VALUE``."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, value) in zip(texts, pairs):
        if not (name and equals and value):
            raise BadInput(f"--slurm {text}: expected NAME=VALUE; give it as slurm_partition=gpu")
    return {name: value for name, _, value in pairs}


def summary(report: Report, out: Path) -> list[str]:
    """Format the end of a sweep."""
    new = len(report.records) - report.earlier
    lines = [f"{len(report.records)} runs have a record ({report.earlier} had one before, {new} are new)"]
    for what, runs, step in (
        ("refused", report.bad, "correct the plan; nothing of the others is lost"),
        (
            "given up",
            report.failed,
            f"the whole reason is in {record.RUNS}/RUN_ID/{record.FAILURE}; run again to try them again",
        ),
    ):
        if runs:
            lines.append(f"{len(runs)} runs were {what}: {step}")
            lines += [f"  {run_id}: {text.splitlines()[-1]}" for run_id, text in list(runs.items())[:SHOWN]]
            lines += [f"  ... and {len(runs) - SHOWN} more"] if len(runs) > SHOWN else []
    return [*lines, f"next: bayeslaw-collect {out} -o {out / 'runs.parquet'}"] if report.records else lines


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
