"""Task of a loop, and its folder; ``bayeslaw.loop.rounds`` lists the files."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslaw.errors import BadInput
from bayeslaw.files import plain_json, write_atomically
from bayeslaw.planning.batches import BATCH, POLICY
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

STUDY = "loop"
"""Default study of the runs."""

TABLE = "{out}/runs.parquet"
"""Default place of the runner's run table."""

ROUNDS = 20
"""Default maximum number of rounds."""


@dataclass(frozen=True)
class Task:
    """Purpose and limits of a loop.

    Attributes:
        folder: folder of the loop; created if missing.
        targets: as in ``batches.design``.
        candidates: table with ``cost`` and ``study``, one study for all (``candidates.with_cost``).
        runner: command with ``{plan}``, and ``{out}`` for its folder; it runs again on its plan after a kill.
        budget: budget of all rounds together, in the unit of the cost.
        collect: second command, with ``{table}`` and ``{out}``; None if the runner writes the table.
        table: run table that the runner, or ``collect``, leaves; may hold ``{out}``.
        runs: run tables to start with.
        batch: maximum number of runs per round.
        round_budget: maximum cost per round.
        rounds: maximum number of rounds.
        policy: a name in ``policies.POLICIES``.
        tolerance, target_cost: as in ``batches.design``.
        unit: unit of the cost.
        seed: seed of fits and draws.
    """

    folder: Path
    targets: tuple[Target, ...]
    candidates: pd.DataFrame
    runner: str
    budget: float
    collect: str | None = None
    table: str = TABLE
    runs: tuple[Path, ...] = ()
    batch: int = BATCH
    round_budget: float | None = None
    rounds: int = ROUNDS
    policy: str = POLICY
    tolerance: float | None = None
    target_cost: float | None = None
    unit: str = "FLOP"
    seed: int = 0


def spent(task: Task, number: int) -> tuple[float, list[int]]:
    """Cost and candidate numbers of the runs that came back before a round."""
    rows = [
        row for k in range(1, number) for row in read_json(round_folder(task, k) / "returned.json")["rows"]
    ]
    return float(task.candidates["cost"].to_numpy(float)[rows].sum()), rows


def same_task(task: Task) -> None:
    """Record what must not change between starts, or compare with the record.

    Raises:
        BadInput: something differs, or a run table cannot be read.
    """
    path = task.folder / "loop.json"
    table = task.candidates.to_csv(index=False).encode()
    asked = {
        "targets": [repr(target) for target in task.targets],
        "candidates": hashlib.sha256(table).hexdigest()[:12],
        "runs": [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in task.runs if path.exists()],
        "unit": task.unit,
        "seed": task.seed,
    }
    if not path.exists():
        if task.runs:
            read_runs(*task.runs)
        write_json(path, asked)
    there = read_json(path)
    for name, value in asked.items():
        if there.get(name) != value:
            raise BadInput(
                f"{path}: another {name} ({there.get(name)}, now {value}); "
                "expected the loop that began here; repeat its options, or choose another --out"
            )


def check_round_budget(task: Task) -> None:
    """Refuse a round's budget that pays for none of the candidates.

    Raises:
        BadInput: it is not finite, or below the cheapest candidate.
    """
    most, cheapest = task.round_budget, float(task.candidates["cost"].min())
    if most is not None and not cheapest <= most < math.inf:
        raise BadInput(
            f"round budget = {most:g}; the cheapest of {len(task.candidates)} candidates costs "
            f"{cheapest:.3g}; expected a finite budget that pays for one; raise it, or leave it out"
        )


def round_folder(task: Task, number: int) -> Path:
    """Folder of a round."""
    return task.folder / f"round-{number:02d}"


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of a round.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path}: cannot be read ({error}); expected what `bayeslaw loop` wrote; "
            f"delete {path.parent} and later rounds, and run the loop again"
        ) from None
    return dict(found)


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Write a file of a round, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(plain_json(contents), indent=1) + "\n", encoding="utf-8")
