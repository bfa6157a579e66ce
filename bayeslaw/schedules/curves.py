"""Loss curves: which learning rate was used at each step, and which losses were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.arrays import Floats, Ints
from bayeslaw.errors import BadInput
from bayeslaw.schedules.features import Features, schedule_features

COLUMNS = ("step", "learning_rate", "loss")
POINTS = 24
"""Losses used of one curve: evenly spaced in steps, the last among them."""

FROM = 0.1
"""Losses are used from this share of a curve's steps on: the laws do not describe the start."""

LONGEST = 10**8
"""Steps of a curve at most."""


@dataclass(frozen=True)
class Curve:
    """One run.

    Attributes:
        name: of the run.
        learning_rates: at each step, shape (steps,).
        steps: after which a loss was measured, from 1 on, shape (loss,).
        losses: [nats/token], shape (loss,).
    """

    name: str
    learning_rates: Floats
    steps: Ints
    losses: Floats


def read_curves(paths: Sequence[Path]) -> list[Curve]:
    """Curves of .csv, .parquet or .jsonl tables with the columns step, learning_rate and loss.

    A column run separates runs; without it a file is one run. Steps are counted from 1. Between rows the
    learning rate goes in a straight line, before the first row it is that of the first row. A row without a
    loss is a corner of the schedule. ``curve.csv`` of the training lab is such a file.

    Raises:
        BadInput: a file that cannot be read, columns that are missing, values that are no steps, rates or
            losses, or a curve without a loss.
    """
    curves = [curve for path in paths for curve in _of_file(path)]
    names = [curve.name for curve in curves]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"curves: the run {twice[0]} occurs in two files; expected one name a run; rename one")
    return curves


def curve_features(curves: Sequence[Curve], points: int = POINTS) -> tuple[Features, Floats]:
    """Features of the schedules up to the losses that are used, and these losses [nats/token].

    Args:
        curves: of ``read_curves``.
        points: losses used of each curve at most, from ``FROM`` of its steps on.
    """
    schedules, losses = [], []
    for curve in curves:
        late = np.flatnonzero(curve.steps >= FROM * curve.steps[-1])
        at = np.unique(np.linspace(late[0], late[-1], min(points, len(late))).round().astype(int))
        schedules += [curve.learning_rates[:step] for step in curve.steps[at]]
        losses.append(curve.losses[at])
    return schedule_features(schedules), np.concatenate(losses)


def _of_file(path: Path) -> list[Curve]:
    table = _table(path)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise BadInput(
            f"{path}: no column {missing[0]}; expected step, learning_rate and loss, and run for several "
            "runs; "
            "rename the columns"
        )
    if "run" not in table:
        name = path.parent.name if path.stem == "curve" and path.parent.name else path.stem
        table = table.assign(run=name)
    return [_curve(path, str(name), rows) for name, rows in table.groupby("run", sort=False)]


def _table(path: Path) -> Any:
    import pandas as pd

    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda file: pd.read_json(file, lines=True),
    }
    if path.suffix not in readers:
        raise BadInput(
            f"{path}: unknown suffix {path.suffix!r}; expected .csv, .parquet or .jsonl; rename it"
        )
    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected a table of loss curves; check the path")
    try:
        return readers[path.suffix](path)
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{path}: cannot be read ({' '.join(str(error).split())[:80]}); expected a table; check the file"
        ) from None


def _curve(path: Path, name: str, rows: Any) -> Curve:
    place = f"{path}, run {name}"
    step = _column(place, rows, "step", 1, LONGEST, "whole numbers from 1 on")
    order = np.argsort(step, kind="stable")
    step = step[order]
    if (step != step.round()).any() or (np.diff(step) == 0).any():
        raise BadInput(f"{place}: step is repeated or no whole number; expected each step once; correct it")
    rate = _column(place, rows, "learning_rate", 0.0, np.inf, "numbers of at least 0")[order]
    if not rate.any():
        raise BadInput(f"{place}: learning_rate is 0 at every step; expected one above 0; give the schedule")
    loss = _losses(place, rows)[order]
    measured = np.isfinite(loss)
    rates = np.interp(np.arange(1, step[-1] + 1), step, rate)
    if not rates[: int(step[measured][0])].any():
        raise BadInput(
            f"{place}: learning_rate is 0 up to the first loss; expected one above 0; drop that loss"
        )
    return Curve(name, rates, step[measured].astype(np.int64), loss[measured])


def _column(place: str, rows: Any, name: str, low: float, high: float, expected: str) -> Floats:
    values = _numbers(place, rows, name, expected)
    wrong = ~((values >= low) & (values <= high) & np.isfinite(values))
    if wrong.any():
        raise BadInput(f"{place}: {name} = {values[wrong][0]:g}; expected {expected}; correct it")
    return values


def _losses(place: str, rows: Any) -> Floats:
    """Losses, NaN where none was measured."""
    values = _numbers(place, rows, "loss", "numbers above 0, or nothing")
    wrong = ~np.isnan(values) & ~((values > 0) & np.isfinite(values))
    if wrong.any():
        raise BadInput(
            f"{place}: loss = {values[wrong][0]:g}; expected numbers above 0, or nothing; leave runs that "
            "diverged out"
        )
    if np.isnan(values).all():
        raise BadInput(f"{place}: no loss; expected at least one; leave this run out")
    return values


def _numbers(place: str, rows: Any, name: str, expected: str) -> Floats:
    try:
        return rows[name].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{place}: {name} holds text; expected {expected}; correct it") from None
