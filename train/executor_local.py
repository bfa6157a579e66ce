"""A pool of long-lived worker processes, one thread each, that survives the death of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from bayeslaw.errors import BadInput
from bayeslaw.processes import die_with_parent

RETRIES = 2
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
NO_NOISE = "ignore:resource_tracker:UserWarning"
"""Stopped workers leave semaphores; Python's tracker removes them and would warn about it."""
STOP_SECONDS = 3.0

Kind = Literal["done", "bad", "failed"]
Reply = tuple[Kind, Any]
"""Outcome of a call, and its value, the text of its BadInput, or a traceback."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a task: ``value`` is the result of the work (done), or the reason for its failure (bad,
    failed)."""

    task: int
    kind: Kind
    value: Any


Outcomes = Generator[Outcome, None, None]


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    task: int | None = None


def run(work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int) -> Outcomes:
    """Call ``work(*task)`` for every task, in order, and yield outcomes as they come.

    A task whose worker dies, or that raises anything but BadInput, is tried again, ``RETRIES`` times at most.
    Closing the iterator, or any exception here, stops the workers at once; so does the death of this process.

    Args:
        work: importable by name, with picklable arguments and result.
        tasks: arguments of the calls.
        workers: number of processes, at least one.

    Raises:
        BadInput: workers die while starting.
    """
    queue, tries, failed_starts = deque(range(len(tasks))), [0] * len(tasks), 0
    left, pool, ended = len(tasks), list[_Worker](), list[Outcome]()
    try:
        while True:
            while len(pool) < min(workers, left):
                pool.append(_start(work))
            for worker in pool:
                if worker.ready and worker.task is None and queue:
                    worker.task = queue.popleft()
                    tries[worker.task] += 1
                    with suppress(OSError):  # it died just now, as its sentinel will tell
                        worker.pipe.send(tasks[worker.task])
            yield from ended  # while the workers are busy
            if not left:
                return
            ended = []
            heard = set(wait([w.pipe for w in pool] + [w.process.sentinel for w in pool]))
            for worker in [w for w in pool if w.pipe in heard or w.process.sentinel in heard]:
                task, reply = worker.task, _reply(worker)
                if reply is None:
                    pool.remove(worker)
                    code = _stop(worker)
                    failed_starts += not worker.ready
                    if failed_starts > RETRIES:
                        raise BadInput(
                            f"workers die while starting ({code}); expected them to live; see above"
                        )
                kind, value = reply or ("failed", f"its worker died ({code})")
                if reply and not worker.ready:
                    worker.ready, failed_starts = True, 0
                worker.task = None
                if task is None:
                    continue
                if kind == "failed" and tries[task] <= RETRIES:
                    queue.appendleft(task)
                else:
                    left -= 1
                    ended.append(Outcome(task, kind, value))
    finally:
        for worker in pool:
            worker.process.terminate()
        for worker in pool:
            _stop(worker)


def attempt(work: Callable[..., Any], task: tuple[Any, ...]) -> Reply:
    """Make one call, with any exception as a reply; torch, if loaded, uses one thread."""
    try:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        return "done", work(*task)
    except BadInput as error:
        return "bad", str(error)
    except Exception:
        return "failed", traceback.format_exc().strip()


def _start(work: Callable[..., Any]) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(work, theirs), daemon=True)
    with _for_workers():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _for_workers() -> Iterator[None]:
    """Environment of new processes: one thread, and no Ctrl-C (the terminal sends it to all; we stop
    them)."""
    set_here = {**dict.fromkeys(ONE_THREAD, "1"), "PYTHONWARNINGS": NO_NOISE}
    before = {name: os.environ.get(name) for name in set_here}
    os.environ.update(set_here)
    resource_tracker.ensure_running()  # before the mask, since its start would unblock the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(work: Callable[..., Any], pipe: Connection) -> None:
    """Run a worker: greet, then answer tasks until the parent closes the pipe or dies."""
    die_with_parent()
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            reply = attempt(work, pipe.recv())
            try:
                pipe.send(reply)
            except (TypeError, AttributeError) as error:  # a result that cannot be pickled
                pipe.send(("failed", f"its result cannot be sent: {error}"))


def _reply(worker: _Worker) -> Reply | None:
    """Receive what the worker sent (its greeting counts as done), or None if it is dead."""
    try:
        if worker.pipe.poll():
            return worker.pipe.recv() or ("done", None)
    except (EOFError, OSError):
        pass
    return None


def _stop(worker: _Worker) -> str:
    """Make sure that a worker is gone; return how it ended."""
    worker.process.join(STOP_SECONDS)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join()
    code = worker.process.exitcode or 0
    worker.process.close()
    worker.pipe.close()
    return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
