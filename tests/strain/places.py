"""Full disks, read-only folders, clocks that jump, two at once. Slow, outside CI; needs root and gcc.

    python -m tests.strain.places run [--times 3] [--seed 0]   # results/places.jsonl
    python -m tests.strain.places table

Each job of ``kills`` is run once undisturbed. Then it runs where something is wrong, and says so or ends
well; where it did not end, the same command runs again once things are right. What it leaves must be what
the undisturbed run left. What it says must be an error in words, and no traceback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from tests.strain.jobs import JOBS, Job, outcome, prepared, whole
from tests.studies.tables import markdown, read_rows, run_and_print

RESULTS = Path(__file__).parent / "results" / "places.jsonl"
Said = list[tuple[int | None, str]]
"""Exit codes and words of the commands that ran one after the other."""

YEAR = 365 * 86_400
LIMIT = 600.0
"""Seconds after which a job hangs."""

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

/* The clock of the day jumps by JUMP seconds, two seconds after the first look at it. */
int clock_gettime(clockid_t which, struct timespec *told) {
    static int (*real)(clockid_t, struct timespec *);
    static time_t began;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, told);
    if (which != CLOCK_REALTIME || code) return code;
    if (!began) began = told->tv_sec;
    if (told->tv_sec - began >= 2) told->tv_sec += atol(getenv("JUMP"));
    return code;
}
"""


def mounted(disk: Path, options: str) -> None:
    """Mount a small disk in memory there, or change the one that is."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


def full_disk(job: Job, folder: Path, rng: np.random.Generator, seconds: float) -> Said:
    """On a disk that somebody else fills up after a random share of the time, then with room again."""
    filler = folder.parent / "filler"
    begun = Timer(float(rng.uniform(0.05, 0.9)) * seconds, _fill, [filler])
    begun.start()
    first = outcome(job.command, folder, LIMIT)
    begun.cancel()
    begun.join()
    filler.unlink(missing_ok=True)
    return [first, outcome(job.command, folder, LIMIT)]


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)):
            pass


def read_only(job: Job, folder: Path, rng: np.random.Generator, seconds: float) -> Said:
    """On a disk that nobody can write to, then on one that one can."""
    mounted(folder.parent, "remount,ro")
    first = outcome(job.command, folder, LIMIT)
    mounted(folder.parent, "remount,rw")
    return [first, outcome(job.command, folder, LIMIT)]


def _jumped(job: Job, folder: Path, jump: int) -> Said:
    with tempfile.TemporaryDirectory() as where:
        library = Path(where) / "clock.so"
        build = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
        subprocess.run(build, input=CLOCK, text=True, check=True)
        return [outcome(job.command, folder, LIMIT, LD_PRELOAD=str(library), JUMP=str(jump))]


def clock_back(job: Job, folder: Path, rng: np.random.Generator, seconds: float) -> Said:
    """With a clock that jumps back by up to a year."""
    return _jumped(job, folder, -int(rng.uniform(60, YEAR)))


def clock_forth(
    job: Job, folder: Path, rng: np.random.Generator, needed: int
) -> list[tuple[int | None, str]]:
    """With a clock that jumps forth by up to a year."""
    return _jumped(job, folder, int(rng.uniform(60, YEAR)))


def two_at_once(
    job: Job, folder: Path, rng: np.random.Generator, needed: int
) -> list[tuple[int | None, str]]:
    """Twice at once, the second begun up to two seconds after the first; then once more, if neither ended."""
    with ThreadPoolExecutor(2) as both:
        first = both.submit(outcome, job.command, folder, LIMIT)
        time.sleep(float(rng.uniform(0, 2)))
        second = both.submit(outcome, job.command, folder, LIMIT)
    found = sorted([second.result(), first.result()], key=lambda each: each[0] == 0)
    return found if found[-1][0] == 0 else [*found, outcome(job.command, folder, LIMIT)]


WRONG: dict[str, Callable[[Job, Path, np.random.Generator, float], Said]] = {
    "full disk": full_disk,
    "read-only": read_only,
    "clock back": clock_back,
    "clock forth": clock_forth,
    "two at once": two_at_once,
}


def clear(code: int | None, said: str) -> bool:
    """Whether a command ended well, or said in a line what is wrong."""
    return code == 0 or (code in (1, 2) and "error: " in said.lower() and "Traceback" not in said)


def trial(
    job: Job, wrong: str, place: Path, rng: np.random.Generator, reference: tuple[Any, float]
) -> dict[str, Any]:
    """One job with one thing wrong: whether what it said is clear, and what it left the same."""
    found = WRONG[wrong](job, prepared(place), rng, reference[1])
    try:
        same = found[-1][0] == 0 and job.left(place) == reference[0]
    except (OSError, ValueError, KeyError) as error:
        found, same = [*found, (None, f"{type(error).__name__}: {error}")], False
    told = all(clear(*each) for each in found)
    said = "" if told and same else "\n---\n".join(f"{code}: {text[-600:]}" for code, text in found)
    return {"codes": [code for code, _ in found], "clear": told, "same": same, "said": said}


def run(times: int, seed: int) -> None:
    """Append the trials that are missing: each job, each thing that can be wrong, so many times."""
    RESULTS.parent.mkdir(exist_ok=True)
    done = {(row["job"], row["wrong"], row["number"]) for row in read_rows(RESULTS)}
    for name, job in JOBS.items():
        reference = None
        for wrong in WRONG:
            for number in range(times):
                if (name, wrong, number) in done:
                    continue
                with tempfile.TemporaryDirectory() as where:
                    mounted(Path(where), "size=256m")
                    try:
                        reference = reference or whole(job, Path(where) / "whole", LIMIT)
                        shutil.rmtree(Path(where) / "whole", ignore_errors=True)
                        rng = np.random.default_rng([seed, number, list(WRONG).index(wrong)])
                        row = {"job": name, "wrong": wrong, "number": number, "seed": seed}
                        row |= trial(job, wrong, Path(where) / "work", rng, reference)
                    finally:
                        subprocess.run(["umount", "--lazy", where], check=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """One row per job, one column per thing that was wrong."""
    body = []
    for name in dict.fromkeys(row["job"] for row in rows):
        cells = []
        for wrong in WRONG:
            mine = [row for row in rows if row["job"] == name and row["wrong"] == wrong]
            well = sum(row["clear"] and row["same"] for row in mine)
            cells.append(f"{well} of {len(mine)}" if mine else "-")
        body.append([f"`{name}`", *cells])
    return markdown("Said clearly, and in the end left the same", ["job", *WRONG], body)


if __name__ == "__main__":
    run_and_print(__doc__, ("times", 3), run, lambda: table(read_rows(RESULTS)))
