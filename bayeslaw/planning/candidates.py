"""Runs that could be made: a table of candidates with their costs, from a file or a search space.

A space is a TOML file in the style of the plans of ``train``::

    [space]
    count = 2000                                      # candidates to draw; draw_seed = 0 unless given
    optimizer = ["adamw", "muon"]                     # a list is a choice
    params_nonembedding = [25e3, 100e3, 400e3]
    tokens_per_param = [20, 50]                       # or tokens
    learning_rate = {low = 1e-4, high = 1e-1}         # a range, even in the logarithm
    batch_tokens = {low = 512, high = 16384}
    momentum = {low = 0.8, high = 0.98}               # even in ln(1 - momentum)
    corpus = "stdlib"                                 # other constants go into the plan as they are

Several tables ``[[space]]`` are joined, for ranges that differ by optimizer.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.errors import SEED_MAX, BadInput
from bayeslaw.runs.io import narrow, read_table
from bayeslaw.runs.schema import BY_NAME, validate

SETTINGS = ("optimizer", "params_nonembedding", "tokens", "batch_tokens", "learning_rate")
COSTS = {"cost": "cost", "flops": "FLOP", "wall_seconds": "s", "energy_joules": "J"}
"""Columns that may hold the cost, in this order, and its unit."""

SEARCHED = (*SETTINGS, "tokens_per_param", "weight_decay", "momentum")
"""Keys of a space that may be lists or, but for the optimizer, ranges."""

COUNT, COUNT_MAX = 2000, 100_000
"""Candidates drawn from a space that does not say how many, and at most."""

RESULTS = ("loss", "loss_kind", "status", "created", "commit")
"""What a finished run has and a candidate has not."""


def read_candidates(path: Path) -> tuple[pd.DataFrame, str]:
    """Candidates from a table: one row a run, as in the run table but without results.

    Args:
        path: .csv, .parquet or .jsonl, with the columns ``SETTINGS``; the cost is the first column of
            ``COSTS`` that is there, else 6 N D.

    Returns:
        The candidates with a column ``cost``, and its unit.

    Raises:
        BadInput: for a file that cannot be read, no rows, or a row that breaks the rules of a run table.
    """
    return with_cost(read_table(path), str(path))


def with_cost(table: pd.DataFrame, place: str) -> tuple[pd.DataFrame, str]:
    """A checked table of candidates with the column ``cost``, and the cost's unit.

    Args:
        table: one row a run.
        place: what names it in messages.

    Raises:
        BadInput: for missing columns, no rows, a cost that is missing or not above 0, or a broken row.
    """
    missing = [name for name in SETTINGS if name not in table]
    if missing:
        raise BadInput(
            f"{place}: {', '.join(missing)} missing; expected candidates with the columns "
            f"{', '.join(SETTINGS)}; add them, or describe a space of runs with --space"
        )
    if table.empty:
        raise BadInput(f"{place}: no rows; expected one row a candidate; check the filter that made it")
    found = next((name for name in COSTS if name in table), None)
    if found is not None:
        _check_cost(table[found], place, found)
    checked = _checked(table, place)
    n, d = checked["params_nonembedding"], checked["tokens"]
    cost = checked[found].astype(float) if found else 6.0 * n * d
    others = [name for name in COSTS if name in checked and name != "cost"]
    return checked.drop(columns=others).assign(cost=cost), COSTS[found] if found else "FLOP"


def read_space(path: Path) -> tuple[pd.DataFrame, str]:
    """Candidates drawn from a search space, by a scrambled Sobol sequence; the cost is 6 N D.

    Candidates whose batch exceeds their tokens are left out.

    Returns:
        The candidates with a column ``cost``, and its unit, FLOP.

    Raises:
        BadInput: for a file that cannot be read, an unknown or missing key, a bad value, or a space without a
            feasible run.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; expected a space in TOML; check the path (now in {Path.cwd()})"
        )
    try:
        contents = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path}: not a readable TOML file ({error}); correct it there") from None
    spaces = contents.pop("space", None)
    spaces = [spaces] if isinstance(spaces, dict) else spaces
    if contents or not spaces or not all(isinstance(space, dict) for space in spaces):
        raise BadInput(
            f"{path}: {', '.join(contents) or 'no table [space]'}; expected one or more tables [space] "
            "and nothing else; see python -m pydoc bayeslaw.planning.candidates"
        )
    drawn = pd.concat([drawn_from(space, str(path)) for space in spaces], ignore_index=True)
    feasible = drawn[drawn["batch_tokens"] <= drawn["tokens"]]
    if feasible.empty:
        raise BadInput(
            f"{path}: none of {len(drawn)} candidates is feasible, every batch exceeds its run's tokens; "
            "expected batch_tokens (not sequences) of at most tokens; lower batch_tokens"
        )
    return with_cost(feasible.reset_index(drop=True), str(path))


def drawn_from(space: dict[str, Any], place: str) -> pd.DataFrame:
    """One table ``[space]`` drawn: one row a candidate, each setting once.

    Raises:
        BadInput: as ``read_space``.
    """
    space = dict(space)
    count, seed = space.pop("count", COUNT), space.pop("draw_seed", 0)
    for name, number, least, most in (("count", count, 1, COUNT_MAX), ("draw_seed", seed, 0, SEED_MAX)):
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise BadInput(
                f"{place}: {name} = {number!r}; expected a whole number from {least} to {most}; correct it"
            )
    if ("tokens" in space) == ("tokens_per_param" in space):
        raise BadInput(
            f"{place}: tokens and tokens_per_param "
            + ("are both given" if "tokens" in space else "are both missing")
            + "; expected one of them; "
            + ("drop the other" if "tokens" in space else "add one")
        )
    missing = [name for name in SETTINGS if name not in space and name != "tokens"]
    if missing:
        raise BadInput(
            f"{place}: {', '.join(missing)} missing; expected a value, a list or a range; add it to the space"
        )
    varied = sorted(name for name, value in space.items() if isinstance(value, (list, dict)))
    points = _points(count if varied else 1, len(varied), seed)
    columns = {name: value for name, value in space.items() if name not in varied}
    for name, u in zip(varied, points.T, strict=True):
        columns[name] = _values(name, space[name], u, place)
    table = pd.DataFrame(columns, index=range(len(points)))
    table["params_nonembedding"] = _numbers(table, "params_nonembedding", place)
    if "tokens_per_param" in table:
        table["tokens"] = table["params_nonembedding"] * _numbers(table, "tokens_per_param", place)
        table = table.drop(columns="tokens_per_param")
    for name in ("tokens", "batch_tokens"):
        table[name] = _numbers(table, name, place).round()
    return table.drop_duplicates(ignore_index=True)


def places(table: pd.DataFrame) -> np.ndarray:
    """Settings of candidates scaled to [0, 1], (candidate, dimension), logarithms of those above 0.

    A dimension is a numeric setting that varies; one of zeros where none does.
    """
    columns = []
    for name in (*SETTINGS[1:], "weight_decay", "momentum"):
        if name not in table:
            continue
        values = table[name].to_numpy(float)
        values = np.log1p(-values) if name == "momentum" else np.log(np.maximum(values, 1e-6))
        low, high = np.nanmin(values), np.nanmax(values)
        if high > low:
            columns.append(np.nan_to_num((values - low) / (high - low), nan=0.5))
    return np.column_stack(columns) if columns else np.zeros((len(table), 1))


def _check_cost(values: pd.Series, place: str, name: str) -> None:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))
    if len(bad):
        value = values.iloc[bad[0]]
        shown = "missing" if pd.isna(value) else f"= {value}"
        raise BadInput(
            f"{place}: {name} {shown} in row {bad[0] + 1}, {len(bad)} of {len(values)} such rows; expected "
            "a cost above 0 everywhere; complete the column, or drop it and the cost is 6 N D"
        )


def _checked(table: pd.DataFrame, place: str) -> pd.DataFrame:
    """The table under the rules of a run table, without results; what a run needs besides is lent to it."""
    own = narrow(table.drop(columns=[name for name in RESULTS if name in table]).reset_index(drop=True))
    lent = {"run_id": [f"candidate {i}" for i in range(1, len(own) + 1)], "study": "any"}
    borrowed = [name for name in lent if name not in own]
    checked = validate(own.assign(**{name: lent[name] for name in borrowed}, status="stopped"), place)
    return checked.drop(columns=[*borrowed, "status"])


def _points(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points of the unit cube, (count, dimensions)."""
    if dimensions == 0:
        return np.zeros((count, 0))
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, seed=seed).random_base2(max(count - 1, 0).bit_length())[:count]


def _values(name: str, given: Any, u: np.ndarray, place: str) -> list[Any]:
    """Choices or a range at points of [0, 1)."""
    where = f"{place}: {name} = {given}"
    if name not in SEARCHED:
        raise BadInput(
            f"{where}; only {', '.join(SEARCHED)} are searched; expected one value; "
            "give it, or correct the name"
        )
    if isinstance(given, list):
        if not given:
            raise BadInput(f"{where}; expected at least one choice; add one")
        return [given[int(x * len(given))] for x in u]
    ends = [given.get(end) for end in ("low", "high")]
    if given.keys() != {"low", "high"} or not all(_is_number(end) for end in ends) or not ends[0] < ends[1]:
        raise BadInput(
            f"{where}; expected {{low = ..., high = ...}}, two numbers with low < high; correct it"
        )
    if name == "optimizer":
        raise BadInput(f"{where}; expected names; list them")
    if name == "momentum":
        if not 0 <= ends[0] < ends[1] < 1:
            raise BadInput(f"{where}; expected 0 <= low < high < 1; correct it")
        first, last = np.log1p(-np.array(ends, float))
        return [round(1.0 - float(f"{x:.6g}"), 7) for x in np.exp(first + u * (last - first))]
    if ends[0] <= 0:
        raise BadInput(f"{where}; expected low > 0, for it is even in the logarithm; raise it")
    first, last = np.log(np.array(ends, float))
    return [float(f"{x:.6g}") for x in np.exp(first + u * (last - first))]


def _numbers(table: pd.DataFrame, name: str, place: str) -> pd.Series:
    wrong = [value for value in table[name] if not (_is_number(value) and value > 0)]
    if wrong:
        expected = BY_NAME[name].expected if name in BY_NAME else "> 0"
        raise BadInput(f"{place}: {name} = {wrong[0]!r}; expected a number {expected}; correct it")
    return table[name].astype(float)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
