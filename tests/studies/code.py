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
from collections.abc import Iterator, Sequence
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
from tests.studies.tables import Row, counted, markdown, percent, read_rows, run_or_print
from tests.studies.validation.advice import posterior_of

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


@functools.cache
def books() -> pd.DataFrame:
    """AdamW's runs on books with the usual network: books.csv, and shapes.csv without its variants."""
    shapes = read_runs(SHAPES)
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


def fits(cell: Cell) -> Iterator[tuple[str, Posterior, str | None]]:
    """Our methods for a cell: name, posterior, and the study that is asked about (None: one never seen)."""
    for law, parts in PARTS.items():
        yield f"ours, books, {law}", posterior_of(books(), parts), None
    if len(smaller := smaller_code(cell)):
        both = pd.concat([books(), smaller], ignore_index=True)
        for law, parts in PARTS.items():
            yield f"ours, books and smaller code, {law}", posterior_of(both, parts), CODE
    yield "ours, shipped posterior", read_posterior(POSTERIOR), None


def copies(cell: Cell, batch: float | None) -> Iterator[tuple[str, Row]]:
    """Settings of single runs: the best on books at the same N and D, and of the next smaller on code."""
    place = ["optimizer", "params_nonembedding", "tokens"]
    same = books()[(books()[place] == [getattr(cell, name) for name in place]).all(axis=1)]
    if batch is not None:
        same = same[same["batch_tokens"] == batch]
    yield "best on books at this size, copied", _best(same)
    if len(smaller := smaller_code(cell)):
        next_below = smaller["params_nonembedding"] == smaller["params_nonembedding"].max()
        yield "best of the next smaller on code, copied", _best(smaller[next_below])


def _best(runs: pd.DataFrame) -> Row:
    finished = finished_runs(runs)
    row = finished.loc[finished["loss"].idxmin()]
    return {name: float(row[name]) for name in SETTINGS}


def asked(posterior: Posterior, cell: Cell, study: str | None, batch: float | None) -> Row:
    """A posterior's settings, and the 90% interval of the best learning rate; batch [tokens] where fixed."""
    target = Target(cell.params_nonembedding, cell.tokens, cell.optimizer, study, batch)
    found = predict(posterior, target)
    given = {name: value for name, value in found.recommendation.items() if name in SETTINGS}
    best = found.optimum["learning_rate"]
    return USUAL | given | {"interval": [best.lower, best.upper]}


def advice(cell: Cell, batch: float | None = None) -> Iterator[tuple[str, Row]]:
    """Each method's settings for a cell; with a batch [tokens] the learning rate alone is advised."""
    for method, posterior, study in fits(cell):
        yield method, asked(posterior, cell, study, batch)
    yield from copies(cell, batch)


def results() -> Iterator[Row]:
    """Advice for the live cell, with intervals at the curve's batch; for those of shapes.csv, judged."""
    for method, given in advice(LIVE):
        yield {"method": method, **_place(LIVE), **given}
    for method, posterior, study in fits(LIVE):
        at = asked(posterior, LIVE, study, CURVE_BATCH)
        yield {"method": method, **_place(LIVE), **at, "at": CURVE_BATCH}
    for key, rows in group_cells(code()):
        cell = smooth_cell(key, rows)
        for method, given in advice(key, float(round(cell.batch_tokens))):
            yield {"method": method, **_place(key), **given, **judged(cell, given)}


def _place(cell: Cell) -> Row:
    return {"study": cell.study, "params": cell.params_nonembedding, "tokens": cell.tokens}


def judged(cell: SmoothedCell, given: Row) -> Row:
    """What a learning rate costs at the cell's batch, and whether its interval holds the cell's best one."""
    at = given["learning_rate"], cell.batch_tokens
    row = {"regret": float(cell.regret(*at)[0]), "among_runs": bool(cell.inside(*at)[0])}
    return row | {"best": cell.learning_rate, "error": cell.noise, "holds": _holds(given, cell)}


def _holds(given: Row, cell: SmoothedCell) -> bool | None:
    """None for a method without an interval."""
    if "interval" not in given:
        return None
    low, high = given["interval"]
    return bool(low <= cell.learning_rate <= high)


def run() -> None:
    """Fit, advise and judge anew."""
    lines = []
    for row in results():
        print(row["method"], short(row["params"]), {name: row[name] for name in SETTINGS}, flush=True)
        lines.append(json.dumps(row) + "\n")
    RESULTS.write_text("".join(lines))


# ------------------------------------------------------------------------------------------ tables


def table(rows: Sequence[Row], runs: pd.DataFrame) -> str:
    """The replayed cells, then the network that was trained.

    Args:
        rows: of ``run``.
        runs: of the plan.
    """
    return "\n\n".join([replayed([row for row in rows if row["study"] == CODE]), *live(rows, runs)])


def replayed(rows: Sequence[Row]) -> str:
    """One line a method: learning rate and regret in each cell; the first has the cells' own curves."""
    frame = pd.DataFrame(rows)
    sizes = sorted(frame["params"].unique())
    cells = frame.groupby("params").first()
    body = [
        [
            "the cell's own runs: best rate (their error)",
            *(f"{cells['best'][n]:.3g} ({percent(cells['error'][n], 1)})" for n in sizes),
            *("-", "-", "-"),
        ]
    ]
    for method, own in frame.groupby("method", sort=False):
        at = own.set_index("params")
        known = own["holds"].dropna()
        widths = [high / low for low, high in own["interval"].dropna()]
        body.append(
            [
                str(method),
                *(_rate(at.loc[n]) if n in at.index else "-" for n in sizes),
                percent(own["regret"].mean(), 2),
                counted(list(known.astype(bool))),
                f"{np.median(widths):.3g} times" if widths else "-",
            ]
        )
    head = ["method", *(f"N = {short(n)}" for n in sizes), "mean regret", "best rate in 90%", "width"]
    title = "Source code, replayed: learning rate at 512 tokens a batch, and its regret"
    return markdown(title, head, body)


def _rate(row: pd.Series) -> str:
    bound = "" if row["among_runs"] else ">= "
    return f"{row['learning_rate']:.3g}: {bound}{percent(row['regret'], 2)}"


def live(rows: Sequence[Row], runs: pd.DataFrame) -> Iterator[str]:
    """One line a method that was trained, and what the rates about the core's advice say."""
    tried = runs[runs["batch_tokens"] == CURVE_BATCH]
    cell = smooth_cell(LIVE, tried)
    body, said = [], []
    for row in rows:
        if row["study"] != LIVE.study:
            continue
        if "at" in row:
            low, high = row["interval"]
            verdict = "holds it" if _holds(row, cell) else "does not hold it"
            said.append(f"{row['method']}: {low:.2g} to {high:.2g} {verdict}")
            continue
        settings = [f"{row['learning_rate']:.3g}", f"{whole_batch(row)}"]
        settings += [f"{row[name]:.2g}" for name in USUAL]
        loss = trained(row, runs)
        shown = [f"{loss:.4f}", percent(loss / cell.loss - 1, 2)] if loss else ["not trained", "-"]
        body.append([row["method"], *settings, *shown])
    head = ["method", "peak learning rate", "batch, tokens", "weight decay", "beta1", "loss, nats"]
    head.append("over the lowest of the curve")
    n, d = short(LIVE.params_nonembedding), short(LIVE.tokens)
    yield markdown(f"Source code, trained: N = {n}, D = {d}, one seed of each advice", head, body)
    seeds = tried[tried["learning_rate"].round(6) == tried["learning_rate"].mode()[0].round(6)]["loss"]
    rates = ", ".join(f"{r:.3g}" for r in sorted(tried["learning_rate"].unique()))
    apart = percent(float(np.ptp(np.log(seeds))), 2) if len(seeds) > 1 else "-"
    yield (
        f"The curve goes through {len(tried)} runs of {CURVE_BATCH} tokens a batch, with the core's other "
        f"settings, at rates of {rates}: {cell.loss:.4f} at {cell.learning_rate:.3g}, with an error of "
        f"{percent(cell.noise, 2)}; two seeds of the core's advice differ by {apart}. 90% intervals of the "
        f"best rate there: {'; '.join(said)}."
    )


def whole_batch(row: Row) -> int:
    """The batch of an advice in whole sequences [tokens]."""
    return max(1, round(row["batch_tokens"] / SEQUENCE)) * SEQUENCE


def trained(row: Row, runs: pd.DataFrame) -> float | None:
    """Loss of the run with an advice's settings to four digits, the first seed's; None without one."""
    same = runs["batch_tokens"] == whole_batch(row)
    for name in ("learning_rate", *USUAL):
        same &= np.isclose(runs[name], float(f"{row[name]:.4g}"), rtol=1e-6)
    found = finished_runs(runs[same]).sort_values("seed")["loss"]
    return float(found.iloc[0]) if len(found) else None


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS), read_runs(RUNS)))
