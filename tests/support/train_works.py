"""Stand-ins for training, and programs that tests start and kill; workers import them, without pytest."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically


def note(path: Path, text: object) -> None:
    with path.open("a") as lines:
        lines.write(f"{text}\n")


def until(condition, seconds=60.0):
    """Wait for a condition; its last value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def whole(n: int) -> tuple[int, int, str]:
    return n, os.getpid(), os.environ["OMP_NUM_THREADS"]


def whole_slowly(n: int) -> tuple[int, int]:
    time.sleep(0.1)
    return n, os.getpid()


def moody(n: int, folder: Path) -> int:
    """0 works; 1 raises, 2 refuses, 3 dies, always; 4 dies once; 5 returns what no pipe carries."""
    note(folder / str(n), os.getpid())
    if n == 1:
        raise ZeroDivisionError("one")
    if n == 2:
        raise BadInput("two; expected less")
    if n == 3 or (n == 4 and len((folder / "4").read_text().split()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return (lambda: 5) if n == 5 else n  # type: ignore[return-value]


def sleeps(n: int, folder: Path) -> None:
    note(folder / "pids", os.getpid())
    if n:
        time.sleep(600)


class Unborn:
    """Kills the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)

    def __call__(self) -> None:
        pass


def train(spec, folder: Path) -> dict:
    """As ``train.run.execute``: notes when it begins and ends; takes SLEEP seconds."""
    from bayeslaw.lab.train import record

    note(folder / "began", os.getpid())
    time.sleep(float(os.environ.get("SLEEP", "0")))
    row = record.row(spec, "finished", 2.0 + abs(spec.learning_rate - 3e-3), 2.5, spec.tokens)
    row |= {"node": os.environ.get("RAY_RAYLET_PID", ""), "pid": os.getpid()}
    with write_atomically(folder / "record.json") as temporary:
        temporary.write_text(json.dumps(row))
    note(folder / "ended", os.getpid())
    return row


def train_dying_once(spec, folder: Path) -> dict:
    """The run of seed 1 is killed at its first try."""
    if spec.seed == 1 and not (folder / "began").exists():
        note(folder / "began", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    return train(spec, folder)


def pool_parent(folder: str) -> None:
    """A process with two busy workers, to be killed; a shell's background job would not hear SIGINT."""
    from bayeslaw.lab.train import executor_local

    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(executor_local.run(sleeps, [(1, Path(folder)), (2, Path(folder))], workers=2))


def replay_parent(folder: str) -> None:
    """A process with two busy replays, to be killed."""
    from functools import partial

    from bayeslaw.rehearsal.many import run
    from bayeslaw.rehearsal.task import study_of
    from tests.support import rehearsals

    signal.signal(signal.SIGINT, signal.default_int_handler)
    study = study_of(rehearsals.sweep(), [rehearsals.TARGET], [3 * rehearsals.CHEAP])
    run(study, ["random"], [0, 1], Path(folder) / "r.jsonl", partial(never_fits, Path(folder)), workers=2)


def never_fits(folder: Path, runs: object, seed: int) -> None:
    sleeps(1, folder)


def sweep(*arguments: str) -> None:
    """``python -m bayeslaw.lab.train.sweep``, with ``train`` for the work."""
    from bayeslaw.lab.train import sweep as module

    module.train_one = train
    sys.exit(module.main(list(arguments)))


def ray_sweep(plan: str, out: str) -> None:
    """A sweep on a cluster of two nodes with a core each, of which one is lost when four runs have ended."""
    import threading

    import ray
    from ray.cluster_utils import Cluster

    from bayeslaw.lab.train import sweep as module

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def lose_a_node() -> None:
        while len(list(Path(out).glob("runs/*/record.json"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        note(Path(out) / "lost", "second")

    threading.Thread(target=lose_a_node, daemon=True).start()
    module.train_one = train_dying_once
    code = module.main(["--plan", plan, "--out", out, "--executor", "ray", "--address", cluster.address])
    assert not ray.is_initialized()
    cluster.shutdown()
    sys.exit(code)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
