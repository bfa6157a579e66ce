"""Progress of a sweep: remaining time, and the best run of each cell so far."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

LINE_SECONDS = 3.0
QUIET_SECONDS = 300.0
TABLE_SECONDS = 600.0
LOOK_SECONDS = 10.0
SHOWN_CELLS = 40

Cell = tuple[str, int, int]
"""(optimizer, N, D)"""


@dataclass
class Tally:
    """Tally of a sweep: records go in, text comes out.

    Attributes:
        costs: FLOPs of each run, by run_id.
        cells: cell of each run, by run_id.
        share: function from a run_id to the completed share of the run, from 0 to 1; called for unfinished
            runs, every ``LOOK_SECONDS`` at most.
        clock: time in seconds, from any origin.
        ended: run_ids with a record or given up on.
        best: finished record of the smallest loss, by cell.
        statuses: number of runs by status, "given up" for those without a record.
    """

    costs: Mapping[str, float]
    cells: Mapping[str, Cell]
    share: Callable[[str], float] = lambda run_id: 0.0
    clock: Callable[[], float] = time.monotonic
    ended: set[str] = field(default_factory=set)
    best: dict[Cell, Mapping[str, Any]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()
        self.spent, self.todo = 0.0, sum(self.costs.values())
        self.counts = {cell: [0, 0] for cell in sorted(set(self.cells.values()))}  # ended, planned
        for cell in self.cells.values():
            self.counts[cell][1] += 1
        self.begun = self.before = self._shares()

    def _shares(self) -> dict[str, float]:
        """Completed shares of the runs that were started and have not ended."""
        self.looked = self.clock()
        asked = {run_id: self.share(run_id) for run_id in self.costs if run_id not in self.ended}
        return {run_id: share for run_id, share in asked.items() if share}

    def add(self, run_id: str, record: Mapping[str, Any] | None, earlier: bool = False) -> None:
        """Enter the end of a run; ``earlier`` runs ended before this sweep began and do not measure its
        speed."""
        self.ended.add(run_id)
        status = record["status"] if record else "given up"
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.todo -= self.costs[run_id]
        if record and not earlier:
            self.spent += self.costs[run_id] * (1 - self.before.get(run_id, 0.0))
        cell = self.cells[run_id]
        self.counts[cell][0] += 1
        if (
            record
            and status == "finished"
            and record["loss"] < self.best.get(cell, {"loss": math.inf})["loss"]
        ):
            self.best[cell] = record

    def remaining(self) -> float | None:
        """Remaining seconds at the speed so far; None before any progress."""
        if len(self.ended) == len(self.costs):
            return 0.0
        if self.clock() - self.looked >= LOOK_SECONDS:
            self.begun = self._shares()
        spent, todo = self.spent, self.todo
        for run_id, share in self.begun.items():
            if run_id not in self.ended:
                spent += self.costs[run_id] * (share - self.before.get(run_id, 0.0))
                todo -= self.costs[run_id] * share
        return todo * (self.clock() - self.started) / spent if spent > 0 else None

    def line(self) -> str:
        """Format ended runs, progress of the others, elapsed and remaining time."""
        total, ended, left = len(self.costs), len(self.ended), self.remaining()
        kinds = ", ".join(
            f"{n} {status}" for status, n in list(self.statuses.items()) if status != "finished"
        )
        eta = "ETA once something is done" if left is None else f"ETA {duration(left)}"
        took = duration(self.clock() - self.started)
        shares = [share for run_id, share in self.begun.items() if run_id not in self.ended]
        begun = f", {len(shares)} begun ({sum(shares) / len(shares):.0%})" if shares else ""
        return f"{ended}/{total} runs" + (f" ({kinds})" if kinds else "") + f"{begun}, {took} so far, {eta}"

    def table(self) -> list[str]:
        """Format the best run so far of each cell, in aligned columns."""
        rows = [("optimizer", "N", "tokens", "runs", "best loss", "peak lr", "batch, tokens")]
        for cell, (ended, planned) in self.counts.items():
            shown = ("-", "-", "-")
            if best := self.best.get(cell):
                shown = (f"{best['loss']:.4f}", f"{best['learning_rate']:.3g}", f"{best['batch_tokens']:,}")
            rows.append((cell[0], f"{cell[1]:,}", f"{cell[2]:,}", f"{ended}/{planned}", *shown))
        hidden = len(rows) - 1 - SHOWN_CELLS
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths))
            )
            for row in rows[: SHOWN_CELLS + 1]
        ]
        return [*lines, f"... and {hidden} more cells"] if hidden > 0 else lines


@contextmanager
def reporting(tally: Tally, stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Show a tally while it grows: live on a terminal, as dated lines elsewhere.

    Yields a function to call after each run, with a text about that run. A log gets a line at most every
    ``LINE_SECONDS``, one after ``QUIET_SECONDS`` without any, and the table of cells every ``TABLE_SECONDS``
    and at the end.
    """
    with (_live if stream.isatty() else _logged)(tally, stream) as update:
        yield update


@contextmanager
def _logged(tally: Tally, stream: TextIO) -> Iterator[Callable[[str], None]]:
    shown = {"run": -math.inf, "line": tally.clock(), "table": tally.clock()}
    unsaid = ""
    one_at_a_time, over = threading.Lock(), threading.Event()

    def say(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", file=stream, flush=True)
        shown["line"] = tally.clock()

    def update(text: str) -> None:
        nonlocal unsaid
        with one_at_a_time:
            unsaid = text
            if tally.clock() - shown["run"] >= LINE_SECONDS:
                say(f"{tally.line()}; {text}")
                unsaid, shown["run"] = "", shown["line"]
            if tally.clock() - shown["table"] >= TABLE_SECONDS:
                print("\n".join(tally.table()), file=stream, flush=True)
                shown["table"] = tally.clock()

    def break_silence() -> None:
        while not over.wait(LOOK_SECONDS):
            with one_at_a_time:
                if tally.clock() - shown["line"] >= QUIET_SECONDS:
                    say(tally.line())

    say(tally.line())
    watch = threading.Thread(target=break_silence, daemon=True)
    watch.start()
    try:
        yield update
    finally:
        over.set()
        watch.join()
        if unsaid:
            say(f"{tally.line()}; {unsaid}")
        print("\n".join(tally.table()), file=stream, flush=True)


@contextmanager
def _live(tally: Tally, stream: TextIO) -> Iterator[Callable[[str], None]]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    latest = ""

    def update(text: str) -> None:
        nonlocal latest
        latest = text

    def picture() -> Group:
        lines = [tally.line(), latest, "", *tally.table()]
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    with Live(get_renderable=picture, console=Console(file=stream), refresh_per_second=2):
        yield update


def duration(seconds: float) -> str:
    """
    >>> duration(8.4), duration(75), duration(3 * 3600 + 125), duration(3 * 86400)
    ('8s', '1m15s', '3h02m', '3d00h')
    """
    whole = round(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{below}"
    return f"{whole}s"
