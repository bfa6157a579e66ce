"""What a folder of a sweep or a loop says at this moment; files that are half there are passed over."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.loop import journal

QUIET_SECONDS = 600.0
"""Without a new file for so long, runs that have not ended count as stopped."""

FIRST_FILES = ("planned.json", "loop.json")
"""What a sweep and a loop write before their first run or round, hidden files aside."""
WAIT_SECONDS = 1.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a folder is.

    Attributes:
        planned: runs that are known to be wanted; at least those begun.
        ended: runs that have ended, however.
        counts: runs by status; ``running`` or ``quiet`` for those begun, ``waiting`` for the others.
        seconds_left: at the speed so far; None where nothing tells.
        quiet_seconds: since the last file was written.
    """

    planned: int
    ended: int
    counts: dict[str, int]
    seconds_left: float | None
    quiet_seconds: float


@dataclass(frozen=True)
class State:
    """A folder at one moment.

    Attributes:
        folder: of the sweep or loop.
        runs: a row per run: columns of the run table, ``share`` [0 to 1] while it runs, its ``folder``.
        progress: of the runs, and in a loop of the round at work.
        entries: of the loop's journal; none in a sweep.
        posterior: file of the latest fit; None where there is none.
        report: page that the loop wrote about it; likewise.
        given: runs that the loop began with, whose tables lie elsewhere; known once its first fit is there.
    """

    folder: Path
    runs: list[Row]
    progress: Progress
    entries: list[dict[str, Any]] = field(default_factory=list)
    posterior: Path | None = None
    report: Path | None = None
    given: int = 0


def wait_for(folder: Path, say: Callable[[str], None]) -> None:
    """Wait until a sweep or a loop has begun in a folder that does not exist yet, or holds nothing else.

    Args:
        folder: of the sweep or loop; one with other things in it is not waited for.
        say: is told once that, and where, the wait is.
    """
    if not _awaited(folder):
        return
    say(f"{folder}: no sweep or loop has begun there yet; waiting for it, Ctrl-C ends")
    while _awaited(folder):
        time.sleep(WAIT_SECONDS)


def _awaited(folder: Path) -> bool:
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        path.name in FIRST_FILES or path.name.startswith(".") for path in folder.iterdir()
    )


def read_state(folder: Path, now: float | None = None) -> State:
    """Read a folder of `bayeslaw-sweep` or `bayeslaw loop`.

    Args:
        folder: of the sweep or loop.
        now: seconds since the epoch; by default the clock's.

    Raises:
        BadInput: it is neither, or its journal is damaged.
    """
    now = time.time() if now is None else now
    rounds = sorted(folder.glob("round-*"))
    if not rounds and not (folder / "runs").is_dir():
        raise BadInput(
            f"{folder}: neither runs/ nor round-01/ in it; expected the folder of a sweep or a loop; "
            "name that of --out"
        )
    places = [place / "out" for place in rounds] or [folder]
    runs = [run for place in places for run in _runs(place)]
    planned = [run for place in places for run in _planned(place)]
    if rounds and not any(place.joinpath("runs").is_dir() for place in places):
        runs = [run for place in rounds for run in _returned(place)]
    page = folder / "report.html"
    newest = _newest(folder, places, rounds)
    posteriors = [path for place in reversed(rounds) if (path := place / "posterior.nc").is_file()]
    return State(
        folder,
        runs,
        _progress(runs, planned, max(0.0, now - newest) if newest else math.inf),
        journal.read(folder) if rounds else [],
        posteriors[0] if posteriors else None,
        page if rounds and page.is_file() else None,
        int(_number((_object(folder / "round-01" / "believed.json") or {}).get("runs")) or 0),
    )


def curve(run: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(tokens, loss) along a run that has ended; empty where it left none."""
    place = run.get("folder")
    if place is None or not (Path(place) / "curve.csv").is_file():
        return []
    with (Path(place) / "curve.csv").open(encoding="utf-8", newline="") as lines:
        points = [(_number(line.get("tokens")), _number(line.get("loss"))) for line in csv.DictReader(lines)]
    return [(tokens, loss) for tokens, loss in points if tokens is not None and loss is not None]


def _runs(place: Path) -> Iterator[Row]:
    """Runs begun in a folder of a sweep, those that ended with what they left."""
    for folder in sorted((place / "runs").iterdir()) if (place / "runs").is_dir() else []:
        if not folder.is_dir():
            continue
        row = _object(folder / "record.json") or _object(folder / "failure.json")
        if row is None:
            share = _number(_text(folder / "share.txt")) or 0.0
            row = {"status": "running", "share": min(max(share, 0.0), 1.0)}
        yield row | {"run_id": str(row.get("run_id", folder.name)), "folder": folder}


def _planned(place: Path) -> list[Row]:
    """Runs that a sweep wrote down as wanted."""
    listed = (_object(place / "planned.json") or {}).get("runs", [])
    return [run for run in listed if isinstance(run, dict)] if isinstance(listed, list) else []


def _returned(place: Path) -> Iterator[Row]:
    """Runs that a round of a loop brought back, where the runner left no folder for each."""
    if not (place / "runs.parquet").is_file():
        return
    from bayeslaw.runs.io import read_runs

    for row in read_runs(place / "runs.parquet").to_dict("records"):
        yield {str(name): value for name, value in row.items() if value == value}


def _progress(runs: list[Row], planned: list[Row], quiet: float) -> Progress:
    by_id = {str(run.get("run_id")): run for run in planned}
    begun = {run["run_id"]: run for run in runs}
    counts: dict[str, int] = {}
    for run in runs:
        status = str(run.get("status"))
        word = "quiet" if status == "running" and quiet > QUIET_SECONDS else status
        counts[word] = counts.get(word, 0) + 1
        run["status"] = word
        run.update({key: value for key, value in by_id.get(run["run_id"], {}).items() if key not in run})
    waiting = [run for run_id, run in by_id.items() if run_id not in begun]
    if waiting:
        counts["waiting"] = len(waiting)
    ended = [run for run in runs if run["status"] not in ("running", "quiet")]
    left = _seconds_left(ended, [run for run in runs if run["status"] == "running"], waiting)
    return Progress(len(runs) + len(waiting), len(ended), counts, left, quiet)


def _seconds_left(ended: list[Row], running: list[Row], waiting: list[Row]) -> float | None:
    """Work left over the speed of one run, by as many as are running; work is 6 N D, or a run each."""
    timed = [run for run in ended if _number(run.get("wall_seconds"))]
    if not running and not waiting:
        return 0.0
    speed = sum(_work(run) for run in timed) / (sum(float(run["wall_seconds"]) for run in timed) or math.inf)
    if not running or speed <= 0:
        return None
    left = sum(_work(run) * (1 - run.get("share", 0.0)) for run in running) + sum(map(_work, waiting))
    return left / (speed * len(running))


def _work(run: Mapping[str, Any]) -> float:
    sizes = [_number(run.get(name)) for name in ("params_nonembedding", "tokens")]
    return 6.0 * sizes[0] * sizes[1] if sizes[0] and sizes[1] else 1.0


def _newest(folder: Path, places: list[Path], rounds: list[Path]) -> float:
    """When a file of the folder was last written [s since the epoch]; 0 without any."""
    files = [folder / journal.LINES, *(path for place in rounds for path in place.glob("*"))]
    files += [path for place in places for path in place.glob("runs/*/*")]
    return max((found for path in files if (found := _modified(path))), default=0.0)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _object(path: Path) -> Row | None:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
