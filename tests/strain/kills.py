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
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.strain.jobs import JOBS, Job, outcome, prepared, whole
from tests.studies.tables import markdown, read_rows, run_and_print

RESULTS = Path(__file__).parent / "results" / "kills.jsonl"
PER_JOB = 5
"""Kills before a job is left in peace."""


def ended(command: str, folder: Path, seconds: float | None = None) -> bool:
    """Whether a command ended well within some seconds; else it and its children are killed."""
    code, said = outcome(command, folder, seconds)
    if code:
        raise RuntimeError(f"exit code {code}: {said[-500:]}")
    return code == 0


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
            ended(job.command, folder)
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
                references[name] = whole(JOBS[name], place / "whole")
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


if __name__ == "__main__":
    run_and_print(__doc__, ("kills", 200), run, lambda: table(read_rows(RESULTS)))
