"""Another domain: does a law fitted to runs on books advise the pre-training of networks on source code?

    python -m tests.studies.code run      # fits books, advises on source code: results/code.jsonl; minutes
    python -m train.sweep --plan train/plans/code.toml --out out/code --workers 1
    python -m train.collect out/code -o tests/studies/results/code.csv
    python -m tests.studies.code table    # prints its part of docs/validation.md

Replayed: the four cells of shapes.csv on the standard library's source, six rates each at one batch, where
advice costs what the curve through the cell's own runs says (``evaluation.smoothing``). Live: one network of
83k parameters at 20 tokens a parameter, on the same source, trained with each method's whole advice, and with
other rates about that of the core. Fits are Laplace approximations. A set-up never seen is asked for, unless
code runs of smaller networks are added.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import BOOKS, POSTERIOR, SHAPES
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.cells import finished_runs, group_cells
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Cell, Target
from bayeslaw.text import short
from tests.studies.shapes import first_runs
from tests.studies.tables import Row, counted, markdown, percent, read_rows, run_or_print
from tests.studies.validation.advice import posterior_of

ROOT = Path(__file__).parents[2]
RUNS = Path(__file__).parent / "results" / "code.csv"
RESULTS = RUNS.with_suffix(".jsonl")
CODE = "shapes-code"
LIVE = Cell("code", "adamw", 83_280.0, 1_665_536.0)
"""N of ``models.families``, D = 20 N in whole sequences: a cell of books.csv, too."""
USUAL = {"weight_decay": 0.1, "momentum": 0.9}
SETTINGS = ("learning_rate", "batch_tokens", *USUAL)
SEQUENCE = 128
CURVE_BATCH = 640
"""Batch [tokens] at which the plan tries several rates: that of the core's advice in whole sequences."""
PARTS = {"core": (), "default": DEFAULT_PARTS}
COPY_BOOKS = "best on books at this size, copied"
COPY_CODE = "best of the next smaller on code, copied"
ORDER = [
    *(f"ours, books, {law}{asked}" for asked in ("", ", as if on books") for law in PARTS),
    *(f"ours, books and smaller code, {law}" for law in PARTS),
    "ours, shipped posterior",
    COPY_BOOKS,
    COPY_CODE,
]
COMMON = (24_848.0, 55_536.0, 222_000.0)
"""N of the replayed cells on which every method advises."""


@functools.cache
def books() -> pd.DataFrame:
    """AdamW's runs on books with the usual network: books.csv, and ``first_runs`` without their variants."""
    shapes = first_runs(read_runs(SHAPES))
    both = pd.concat([read_runs(BOOKS), shapes[shapes["study"] == "shapes"]], ignore_index=True)
    return _ended(both[both["optimizer"] == LIVE.optimizer])


@functools.cache
def code() -> pd.DataFrame:
    """The runs of shapes.csv on source code."""
    shapes = read_runs(SHAPES)
    return _ended(shapes[shapes["study"] == CODE])


def _ended(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["status"].isin(["finished", "diverged"])].reset_index(drop=True)


def smaller_code(cell: Cell) -> pd.DataFrame:
    """The code runs of networks smaller than a cell's; none for the smallest."""
    return code()[code()["params_nonembedding"] < cell.params_nonembedding]


def fits(cell: Cell) -> Iterator[tuple[str, Callable[[], Posterior], str | None]]:
    """Our methods for a cell: name, the fit, and the study that is asked about (None: one never seen)."""
    for law, parts in PARTS.items():
        fit = functools.partial(posterior_of, books(), parts)
        yield f"ours, books, {law}", fit, None
        yield f"ours, books, {law}, as if on books", fit, "books" if cell == LIVE else "shapes"
    if len(smaller := smaller_code(cell)):
        both = pd.concat([books(), smaller], ignore_index=True)
        for law, parts in PARTS.items():
            yield f"ours, books and smaller code, {law}", functools.partial(posterior_of, both, parts), CODE
    yield "ours, shipped posterior", functools.partial(read_posterior, POSTERIOR), None


def copies(cell: Cell, batch: float | None) -> Iterator[tuple[str, Row]]:
    """Settings of single runs, with that batch [tokens] where it is fixed.

    The best on books at the same N and D, and the best of the next smaller network on code.
    """
    place = ["optimizer", "params_nonembedding", "tokens"]
    same = books()[(books()[place] == [getattr(cell, name) for name in place]).all(axis=1)]
    smaller = smaller_code(cell)
    below = smaller[smaller["params_nonembedding"] == smaller["params_nonembedding"].max()]
    for method, runs in {COPY_BOOKS: same, COPY_CODE: below}.items():
        usable = finished_runs(runs if batch is None else runs[runs["batch_tokens"] == batch])
        if len(usable):
            best = usable.loc[usable["loss"].idxmin()]
            yield method, {name: float(best[name]) for name in SETTINGS}


def asked(posterior: Posterior, cell: Cell, study: str | None, batch: float | None) -> Row:
    """A posterior's settings, and the 90% interval of the best learning rate; batch [tokens] where fixed."""
    target = Target(cell.params_nonembedding, cell.tokens, cell.optimizer, study, batch)
    found = predict(posterior, target)
    given = {name: value for name, value in found.recommendation.items() if name in SETTINGS}
    best = found.optimum["learning_rate"]
    return USUAL | given | {"interval": [best.lower, best.upper]}


def places() -> Iterator[tuple[Cell, int | None]]:
    """Cells that are advised on, each with its batch [tokens] where that is fixed."""
    yield LIVE, None
    yield LIVE, CURVE_BATCH
    for cell, rows in group_cells(code()):
        yield cell, int(rows["batch_tokens"].iloc[0])


def run() -> None:
    """Append the advice that is not there."""
    done = {(row["method"], row["params"], row["fixed_batch"]) for row in read_rows(RESULTS)}
    for cell, batch in places():
        size = {"params": cell.params_nonembedding, "fixed_batch": batch}
        found = [
            (method, asked(fit(), cell, study, batch))
            for method, fit, study in fits(cell)
            if (method, *size.values()) not in done
        ]
        copied = [pair for pair in copies(cell, batch) if (pair[0], *size.values()) not in done]
        with RESULTS.open("a") as file:
            file.writelines(json.dumps({"method": m} | size | row) + "\n" for m, row in [*found, *copied])


# ------------------------------------------------------------------------------------------ tables


def table(rows: Sequence[Row], runs: pd.DataFrame) -> str:
    """Learning rates at fixed batches, then the network that was trained with each whole advice.

    Args:
        rows: of ``run``.
        runs: of the plan, finished.
    """
    return "\n\n".join([rates(rows, curves(runs)), whole(rows, runs), about(runs)])


def curves(runs: pd.DataFrame) -> dict[float, SmoothedCell]:
    """By N: the curve of each cell of shapes.csv, and of the plan's runs at one batch if they are enough."""
    tried = runs[runs["batch_tokens"] == CURVE_BATCH]
    cells = [smooth_cell(key, own) for key, own in [*group_cells(code()), (LIVE, tried)]]
    return {cell.key.params_nonembedding: cell for cell in cells if np.isfinite(cell.loss)}


def rates(rows: Sequence[Row], cells: dict[float, SmoothedCell]) -> str:
    """One line a method: learning rate and regret in each cell; the first has the cells' own curves."""
    own = ["the cell's own runs"]
    own += [f"{cell.learning_rate:.3g} (error {percent(cell.noise, 1)})" for cell in cells.values()]
    body = [[*own, "-", "-", "-"]]
    advised: dict[str, dict[float, Row]] = {}
    for row in rows:
        if row["fixed_batch"] is not None:
            advised.setdefault(row["method"], {})[row["params"]] = row
    for method in sorted(advised, key=ORDER.index):
        at = {n: row for n, row in advised[method].items() if n in cells}
        shown = [_rate(at[n], cell) if n in at else "-" for n, cell in cells.items()]
        common = [_regret(at[n], cell) for n, cell in cells.items() if n in COMMON]
        known = [(row["interval"], cells[n].learning_rate) for n, row in at.items() if "interval" in row]
        inside = counted([low <= best <= high for (low, high), best in known])
        widths = [high / low for (low, high), _ in known]
        width = f"{np.median(widths):.2g} times" if widths else "-"
        body.append([method, *shown, percent(float(np.mean(common)), 2), inside, width])
    names = [f"N = {short(n)}" + (", trained" if n == LIVE.params_nonembedding else "") for n in cells]
    head = ["rate by", *names, f"mean regret, {' to '.join(map(short, (min(COMMON), max(COMMON))))}"]
    head += ["best rate in 90% interval", "its width"]
    return markdown("Source code: learning rate at the cell's batch, and its regret", head, body)


def _regret(row: Row, cell: SmoothedCell) -> float:
    return float(cell.regret(row["learning_rate"], cell.batch_tokens)[0])


def _rate(row: Row, cell: SmoothedCell) -> str:
    beyond = "" if cell.inside(row["learning_rate"], cell.batch_tokens)[0] else "at least "
    return f"{row['learning_rate']:.3g}: {beyond}{percent(_regret(row, cell), 2)}"


def whole(rows: Sequence[Row], runs: pd.DataFrame) -> str:
    """One line a method whose advice for the live cell was trained; all of the first seed."""
    runs = runs[runs["seed"] == runs["seed"].min()]
    body = []
    for row in rows:
        loss = trained(row, runs) if row["fixed_batch"] is None else None
        if loss is not None:
            settings = [f"{row['learning_rate']:.3g}", f"{whole_batch(row)}"]
            settings += [f"{row[name]:.2g}" for name in USUAL]
            gap = percent(loss / runs["loss"].min() - 1, 2)
            body.append([row["method"], *settings, f"{loss:.4f}", gap])
    head = ["settings of", "peak learning rate", "batch, tokens", "weight decay", "beta1", "loss, nats"]
    n, d = short(LIVE.params_nonembedding), short(LIVE.tokens)
    title = f"Source code, trained with each whole advice: N = {n}, D = {d}, one seed"
    return markdown(title, [*head, f"over the best of {len(runs)} runs"], body)


def about(runs: pd.DataFrame) -> str:
    """The rates that were tried at the batch of the core's advice."""
    tried = runs[runs["batch_tokens"] == CURVE_BATCH].sort_values("learning_rate")
    points = ", ".join(
        f"{run['loss']:.4f} at {run['learning_rate']:.3g}{' (a second seed)' if run['seed'] else ''}"
        for run in tried.to_dict("records")
    )
    return f"With the core's other settings and {CURVE_BATCH} tokens a batch: {points}."


def whole_batch(row: Row) -> int:
    """The batch of an advice in whole sequences [tokens]."""
    return max(1, round(row["batch_tokens"] / SEQUENCE)) * SEQUENCE


def trained(row: Row, runs: pd.DataFrame) -> float | None:
    """Loss of the run with an advice's settings to four digits; None without one."""
    same = runs["batch_tokens"] == whole_batch(row)
    for name in ("learning_rate", *USUAL):
        same &= np.isclose(runs[name], float(f"{row[name]:.4g}"), rtol=1e-6)
    found = runs["loss"][same]
    return float(found.iloc[0]) if len(found) else None


def printed() -> str:
    """The tables of the committed results."""
    return table(read_rows(RESULTS), finished_runs(read_runs(RUNS)))


if __name__ == "__main__":
    run_or_print(__doc__, run, printed)
