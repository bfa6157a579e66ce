"""Definition of the run table, one row per training run. Checks and documents follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.target import CELL as CELL

STATUSES = ("finished", "diverged", "crashed", "stopped")
DIVERGED_RATIO = 1.4
FAR = 4.0
"""An untrained model's loss over a good one's: ln(50,000) / 2.7."""

MOST_LOSS = 1e6
"""A finished run's loss above it is refused, whatever its unit."""

MOST_NATS = 15.0
"""A uniform guess over a vocabulary of a million costs 13.8 nats a token."""

MAX_SHOWN = 20


@dataclass(frozen=True)
class Column:
    """One column of the run table.

    Attributes:
        name: as in the file.
        kind: text; count (whole numbers, held as float64, written as integers); real (float64).
        unit: of the number, or "" for text and ratios.
        meaning: in plain words.
        required: present in every table and every row.
        above, at_least, at_most, below: the range of a number; None for no bound.
        allowed: the values of a text, or () for any.
    """

    name: str
    kind: Literal["text", "count", "real"]
    unit: str
    meaning: str
    required: bool = False
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    allowed: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Description of valid values, for messages and documents.

        >>> Column("tokens", "count", "count", "D", above=0).expected
        '> 0 [count]'
        """
        if self.kind == "text":
            return "one of " + ", ".join(self.allowed) if self.allowed else "text"
        bounds = ((">", self.above), (">=", self.at_least), ("<=", self.at_most), ("<", self.below))
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        return (limits or "a finite number") + (f" [{self.unit}]" if self.unit else "")


COLUMNS: tuple[Column, ...] = (
    Column("run_id", "text", "", "names the run, once in the table", required=True),
    Column("study", "text", "", "the set-up the runs share: data, code, conventions", required=True),
    Column("optimizer", "text", "", "lower-case name, such as adamw or muon", required=True),
    Column("params_nonembedding", "count", "count", "N, parameters without embeddings", True, 0, None, 1e15),
    Column("params_embedding", "count", "count", "embedding parameters, output head included", at_least=0),
    Column("width", "count", "count", "residual stream width", above=0),
    Column("depth", "count", "count", "number of blocks", above=0),
    Column("heads", "count", "count", "attention heads", above=0),
    Column("parametrization", "text", "", "standard, mup, ..."),
    Column("normalization", "text", "", "layernorm, rmsnorm, qk-norm, ..."),
    Column("tokens", "count", "count", "D, training tokens, repeats included", True, 0, None, 1e18),
    Column("batch_tokens", "count", "tokens", "B, tokens (not sequences) a step", True, above=0),
    Column("sequence_length", "count", "tokens", "tokens a sequence", above=0),
    Column("tokenizer", "text", "", "what cut the text into tokens"),
    Column("learning_rate", "real", "", "peak learning rate", True, above=0),
    Column("schedule", "text", "", "cosine, linear, wsd, constant, ..."),
    Column("warmup_tokens", "count", "tokens", "tokens until the peak learning rate", at_least=0),
    Column("final_lr_ratio", "real", "", "last learning rate over its peak", at_least=0),
    Column("decay_share", "real", "", "share of the run in which the rate falls", at_least=0, at_most=1),
    Column("momentum", "real", "", "SGD or Muon momentum, or Adam's beta1", at_least=0, below=1),
    Column("beta2", "real", "", "decay of the second moment", at_least=0, at_most=1),
    Column("weight_decay", "real", "", "decoupled weight decay", at_least=0),
    Column("dropout", "real", "", "dropout probability", at_least=0, below=1),
    Column("epsilon", "real", "", "added to the denominator of the step", at_least=0),
    Column("grad_clip", "real", "", "largest gradient norm; 0 means no clipping", at_least=0),
    Column("seed", "count", "", "of initialisation and data order"),
    Column("loss", "real", "nats/token", "final loss; missing when there is none", above=0),
    Column("loss_kind", "text", "", "val_final, train_smoothed, ..."),
    Column("status", "text", "", "how the run ended", True, allowed=STATUSES),
    Column("flops", "real", "FLOP", "floating point operations of the run", above=0),
    Column("wall_seconds", "real", "s", "wall-clock time", at_least=0),
    Column("energy_joules", "real", "J", "energy of the run", at_least=0),
    Column("device", "text", "", "what it ran on"),
    Column("lambda_max", "real", "", "largest eigenvalue of the Hessian"),
    Column("hessian_trace", "real", "", "trace of the Hessian"),
    Column(
        "lambda_preconditioned",
        "real",
        "",
        "largest eigenvalue of the preconditioned Hessian, early in warm-up",
    ),
    Column("noise_scale", "real", "tokens", "gradient noise scale, early in warm-up"),
    Column("commit", "text", "", "commit of the training code"),
    Column("created", "text", "ISO 8601", "when the run ended"),
)
BY_NAME = {column.name: column for column in COLUMNS}
REQUIRED = tuple(column.name for column in COLUMNS if column.required)

Problem = tuple[int, str]
"""Row position from 0, and the problem there."""


def validate(table: pd.DataFrame, source: str, row_numbers: Sequence[int] | None = None) -> pd.DataFrame:
    """Check a run table and give every column its dtype.

    Text becomes ``str`` (optimizer and status in lower case), every number ``float64``. A loss that is
    not finite becomes missing unless the run finished. Unknown columns are kept as they are.

    Args:
        table: one row per run.
        source: name of the table in messages, such as its file.
        row_numbers: number of each row in messages, if rows were left out; by default 1, 2, ...

    Returns:
        A new table with rows numbered from 0.

    Raises:
        BadInput: names every broken row, at most 20 of them in full.
    """
    _check_shape(table, source)
    checked = table.reset_index(drop=True)
    problems: list[Problem] = []
    for column in COLUMNS:
        if column.name in checked:
            checked[column.name], found = _coerce(checked[column.name], column)
            problems += found
    problems += _cross_checks(checked, {row for row, _ in problems})
    if problems:
        numbers = range(1, len(table) + 1) if row_numbers is None else row_numbers
        raise BadInput(_report(problems, checked["run_id"], source, numbers))
    if "loss" in checked:
        checked["loss"] = checked["loss"].where(np.isfinite(checked["loss"]))
    return checked


def mark_diverged(table: pd.DataFrame, ratio: float = DIVERGED_RATIO) -> pd.DataFrame:
    """Mark finished runs that did not train as diverged, and keep their loss.

    A finished run diverged where its loss is infinite, or above ``ratio`` times the smallest loss of a
    finished run of its cell (study, optimizer, N, tokens). In a cell of one or two finished runs it also
    diverged above ``FAR`` times the median of its study. A missing loss says nothing and is left.

    A loss that is too small to be true is no measure of the others: its run is set aside as stopped. It is
    below 1/``ratio`` of the median of its cell, with at most a tenth of the cell's runs (or one), and no
    divergence explains it: some of the other runs had no higher learning rate, or it is below 1/``FAR`` of
    their median. In a cell of one or two finished runs it is below 1/``FAR`` of the median of its study.

    Args:
        table: a run table with the required columns and loss in nats/token.
        ratio: above 1; 1.4 separates the two groups of losses in the public Step Law and Marin sweeps.

    Raises:
        BadInput: ratio is not above 1.
    """
    if not ratio > 1:
        raise BadInput(f"diverged ratio = {ratio:g}; expected a number above 1; leave it at {DIVERGED_RATIO}")
    finished = table["status"] == "finished"
    loss = table["loss"].where(finished & np.isfinite(table["loss"]))
    cell = [table[name] for name in CELL]
    far = _far_from_study(table, loss)
    small = _too_small(table, loss, ratio) | (far < 1 / FAR)
    smallest = loss.mask(small).groupby(cell).transform("min")
    diverged = np.isposinf(table["loss"]) | (loss > ratio * smallest) | (far > FAR)
    status = table["status"].mask(finished & diverged & ~small, "diverged")
    return table.assign(status=status.mask(small, "stopped"))


def _far_from_study(table: pd.DataFrame, loss: pd.Series) -> pd.Series:
    """Loss over the median of its study, of at least three; missing where three of its own cell judge it."""
    few = loss.groupby([table[name] for name in CELL]).transform("count") < 3
    study = loss.groupby(table["study"])
    return (loss / study.transform("median")).where(few & (study.transform("count") >= 3))


def _too_small(table: pd.DataFrame, loss: pd.Series, ratio: float) -> pd.Series:
    """Where a loss is too small beside those of its cell; see `mark_diverged`."""
    cell = [table[name] for name in CELL]
    runs, median = loss.groupby(cell).transform("count"), loss.groupby(cell).transform("median")
    low = (loss < median / ratio) & (runs >= 3) & (median <= MOST_NATS)
    few = low.groupby(cell).transform("sum") <= np.maximum(1, runs / 10)
    rate = table["learning_rate"].where(loss.notna())
    highest, others = (rate.where(rows).groupby(cell) for rows in (low, ~low))
    explained = highest.transform("max") < others.transform("min")
    return low & few & (~explained | (loss < median / FAR))


def columns_markdown() -> str:
    """Columns of the run table as a Markdown table, for documents."""
    rows = [
        f"| {column.name}{'*' if column.required else ''} | {column.expected} | {column.meaning} |"
        for column in COLUMNS
    ]
    return "\n".join(["| column (* required) | values | meaning |", "|---|---|---|", *rows])


def _check_shape(table: pd.DataFrame, source: str) -> None:
    """Refuse a table that lacks required columns or rows, or has a column twice."""
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise BadInput(
            f"{source}: not a run table, {_several(len(missing), 'required column')} missing: "
            f"{', '.join(missing)}; found {_listed(table.columns)}; "
            "convert it with: bayeslaw import SOURCE -o runs.parquet --study NAME"
        )
    repeated = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    if repeated:
        raise BadInput(
            f"{source}: column {', '.join(repeated)} appears twice; expected each column once; "
            "rename or drop one"
        )
    if table.empty:
        raise BadInput(
            f"{source}: no rows; expected one row a run; check that the export or filter kept any runs"
        )


def _coerce(values: pd.Series, column: Column) -> tuple[pd.Series, list[Problem]]:
    """Convert one column to its dtype, and find rows whose value is missing or not allowed."""
    if column.kind == "text":
        return _coerce_text(values, column)
    numbers = _numbers(values)
    unread = numbers.isna().to_numpy()
    bad = unread & np.array([not (_is_missing(value) or _is_nan_text(value)) for value in values])
    problems = [
        (int(row), f"{column.name} = {_shortened(values.iloc[row])}; expected a number, {column.expected}")
        for row in np.flatnonzero(bad)
    ]
    outside = ~bad & _outside(numbers, column)
    if column.required:
        problems += [
            (int(row), f"{column.name} missing; expected {column.expected}")
            for row in np.flatnonzero(unread & ~bad)
        ]
    problems += [
        (int(row), f"{column.name} = {numbers.iloc[row]:.10g}; expected {column.expected}")
        for row in np.flatnonzero(outside)
    ]
    return numbers, problems


def _coerce_text(values: pd.Series, column: Column) -> tuple[pd.Series, list[Problem]]:
    """Convert one column to text; names of optimizers and statuses become lower case."""
    texts = [None if _is_missing(value) else _text(value) for value in values]
    if column.name in ("optimizer", "status"):
        texts = [text and text.lower() for text in texts]
    problems = []
    for row, text in enumerate(texts):
        if text is None and column.required:
            problems.append((row, f"{column.name} missing; expected {column.expected}"))
        elif text is not None and column.allowed and text not in column.allowed:
            problems.append((row, f"{column.name} = {_shortened(text)}; expected {column.expected}"))
    return pd.Series(texts, index=values.index, dtype="str"), problems


def _outside(numbers: pd.Series, column: Column) -> np.ndarray:
    """Find numbers out of their range or infinite; an infinite loss is judged later."""
    values = numbers.to_numpy()
    outside = np.isinf(values) if column.name != "loss" else np.zeros(len(values), bool)
    for bound, fails in (
        (column.above, np.less_equal),
        (column.at_least, np.less),
        (column.at_most, np.greater),
        (column.below, np.greater_equal),
    ):
        if bound is not None:
            outside |= fails(values, bound)
    return outside


def _cross_checks(table: pd.DataFrame, skip: set[int]) -> list[Problem]:
    """Check rules over several columns or rows, for rows that passed the rules of each column."""
    problems = []
    losses = table["loss"] if "loss" in table else pd.Series(math.nan, index=table.index)
    seen: set[str] = set()
    columns = (table[name] for name in ("run_id", "batch_tokens", "tokens", "status"))
    for row, (run_id, batch, tokens, status, loss) in enumerate(zip(*columns, losses)):
        if row in skip:
            continue
        if batch > tokens:
            limit = f"tokens = {tokens:.10g} [tokens, not sequences]"
            problems.append((row, f"batch_tokens = {batch:.10g}; expected <= {limit}"))
        if status == "finished" and math.isfinite(loss) and loss > MOST_LOSS:
            problems.append((row, f"loss = {loss:g} in a finished run; set status=diverged"))
        elif status == "finished" and not math.isfinite(loss):
            what = "missing" if math.isnan(loss) else f"= {loss:g}"
            fix = "set status=crashed or drop the row" if math.isnan(loss) else "set status=diverged"
            problems.append((row, f"loss {what} in a finished run; {fix}"))
        if run_id in seen:
            problems.append((row, "run_id repeats an earlier row's; expected each run once"))
        seen.add(run_id)
    return problems


def _report(problems: list[Problem], run_ids: pd.Series, source: str, numbers: Sequence[int]) -> str:
    """Format one message for all broken rows, numbered from 1."""
    rows = sorted({row for row, _ in problems})
    lines = [
        f"  row {numbers[row]}{_named(run_ids.iloc[row])}: {text}"
        for row, text in sorted(problems, key=lambda problem: problem[0])
    ]
    hidden = len(lines) - MAX_SHOWN
    more = [f"  ... and {_several(hidden, 'more problem')}"] if hidden > 0 else []
    head = f"{source} breaks the run-table contract in {_several(len(rows), 'row')}:"
    last = "Correct or drop these rows; rows are counted from 1 below the header."
    return "\n".join([head, *lines[:MAX_SHOWN], *more, last])


def _named(run_id: Any) -> str:
    return "" if _is_missing(run_id) else f" (run {run_id})"


def _numbers(values: pd.Series) -> pd.Series:
    """Convert to float64; anything that is not a number becomes missing."""
    if pd.api.types.is_float_dtype(values.dtype) or pd.api.types.is_integer_dtype(values.dtype):
        return values.astype("float64")
    return pd.Series([_number(value) for value in values], index=values.index, dtype="float64")


def _number(value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or _is_missing(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _is_nan_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in ("nan", "+nan", "-nan")


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _shortened(value: Any) -> str:
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _listed(names: Any) -> str:
    shown = ", ".join(str(name) for name in list(names)[:30]) or "no columns"
    return shown + (", ..." if len(names) > 30 else "")
