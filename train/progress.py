"""How far a sweep is: the time it still needs, and the best run of each cell so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

LINE_SECONDS = 3.0
TABLE_SECONDS = 600.0
SHOWN_CELLS = 40

Cell = tuple[str, int, int]
"""(optimizer, N, D)"""


@dataclass
class Tally:
    """What has ended so far; records go in, text comes out.

    Attributes:
        costs: FLOPs of each run, by run_id.
        cells: cell of each run, by run_id.
        clock: seconds, of any origin.
        ended: run_ids with a record or given up.
        best: finished record of the smallest loss, by cell.
        statuses: number of runs by status, "given up" for those without a record.
    """

    costs: Mapping[str, float]
    cells: Mapping[str, Cell]
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

    def add(self, run_id: str, record: Mapping[str, Any] | None, earlier: bool = False) -> None:
        """Enter the end of a run; ``earlier`` if it ended before this sweep began: it tells no speed."""
        self.ended.add(run_id)
        status = record["status"] if record else "given up"
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.todo -= self.costs[run_id]
        self.spent += 0.0 if earlier or not record else self.costs[run_id]
        cell = self.cells[run_id]
        self.counts[cell][0] += 1
        if (
            record
            and status == "finished"
            and record["loss"] < self.best.get(cell, {"loss": math.inf})["loss"]
        ):
            self.best[cell] = record

    def remaining(self) -> float | None:
        """Seconds still needed if FLOPs go on at the speed so far; None before the first run ended."""
        if len(self.ended) == len(self.costs):
            return 0.0
        return self.todo * (self.clock() - self.started) / self.spent if self.spent else None

    def line(self) -> str:
        """Runs ended, time taken and time to go."""
        total, ended, left = len(self.costs), len(self.ended), self.remaining()
        kinds = ", ".join(
            f"{n} {status}" for status, n in list(self.statuses.items()) if status != "finished"
        )
        eta = "ETA after the first run" if left is None else f"ETA {duration(left)}"
        took = duration(self.clock() - self.started)
        return f"{ended}/{total} runs" + (f" ({kinds})" if kinds else "") + f", {took} so far, {eta}"

    def table(self) -> list[str]:
        """Best so far of each cell, in aligned columns."""
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

    Yields a function to call after each run, with a text about that run: in a log, a line at most every
    ``LINE_SECONDS``, and the table of cells every ``TABLE_SECONDS`` and at the end.
    """
    with (_live if stream.isatty() else _logged)(tally, stream) as update:
        yield update


@contextmanager
def _logged(tally: Tally, stream: TextIO) -> Iterator[Callable[[str], None]]:
    shown = {"line": -math.inf, "table": tally.clock()}
    unsaid = ""

    def say(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", file=stream, flush=True)

    def update(text: str) -> None:
        nonlocal unsaid
        now, unsaid = tally.clock(), text
        if now - shown["line"] >= LINE_SECONDS:
            say(f"{tally.line()}; {text}")
            unsaid, shown["line"] = "", now
        if now - shown["table"] >= TABLE_SECONDS:
            print("\n".join(tally.table()), file=stream, flush=True)
            shown["table"] = now

    say(tally.line())
    try:
        yield update
    finally:
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
