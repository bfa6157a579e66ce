"""Trials of an Optuna study in SQLite."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.runs.io import PathLike
from bayeslaw.runs.trackers.rows import Row, flat, reading, table_of
from bayeslaw.runs.trackers.sqlite import opened, rows_of

WHAT = "an Optuna storage in SQLite, such as study.db"
SPECIAL = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


def read_optuna(path: PathLike) -> pd.DataFrame:
    """Trials of an Optuna storage (optuna/storages/_rdb/models.py): parameters, user attributes, objective.

    Parameters and fixed settings in user attributes are ``config.NAME``. The objective of a study that
    minimises one value is ``metrics.objective``; a pruned trial's is its last reported value.

    Raises:
        BadInput: no such storage, or a study with several objectives, or one that is maximised.
    """
    file = Path(str(path).removeprefix("sqlite:///"))
    with opened(file, WHAT) as store:
        rows = reading(file, WHAT, _trials, store)
    return table_of(rows, file, WHAT)


def _trials(store: Any) -> list[Row]:
    names = {row["study_id"]: row["study_name"] for row in rows_of(store, "studies")}
    minimised = _minimised(store)
    parts: dict[int, Row] = defaultdict(dict)
    for row in rows_of(store, "trial_params"):
        parts[row["trial_id"]][f"config.{row['param_name']}"] = _parameter(row)
    for row in rows_of(store, "trial_user_attributes"):
        parts[row["trial_id"]] |= flat(
            f"config.{row['key']}", json.loads(row["value_json"], parse_constant=str)
        )
    for row in rows_of(store, "trial_intermediate_values"):
        value = _value(row["intermediate_value"], row["intermediate_value_type"])
        parts[row["trial_id"]] |= {"metrics.objective": value, "last_step": row["step"]}
    for row in rows_of(store, "trial_values"):
        parts[row["trial_id"]]["metrics.objective"] = _value(row["value"], row["value_type"])
    rows = []
    for row in rows_of(store, "trials"):
        part = parts[row["trial_id"]]
        if row["study_id"] not in minimised and "metrics.objective" in part:
            part["metrics.maximised"] = part.pop("metrics.objective")
        name = names[row["study_id"]]
        own = {"run_id": f"{name}-{row['number']}", "study_name": name, "state": row["state"].lower()}
        rows.append(own | _seconds(row) | part)
    return rows


def _minimised(store: Any) -> set[int]:
    """Studies with one objective, which is minimised."""
    directions: dict[int, list[str]] = defaultdict(list)
    for row in rows_of(store, "study_directions"):
        directions[row["study_id"]].append(row["direction"])
    return {study for study, found in directions.items() if found == ["MINIMIZE"]}


def _parameter(row: Any) -> Any:
    """A parameter's value; that of a categorical one is an index into its choices."""
    distribution = json.loads(row["distribution_json"])
    if distribution["name"] == "CategoricalDistribution":
        choice = distribution["attributes"]["choices"][int(row["param_value"])]
        return choice if isinstance(choice, bool | int | float | str) else str(choice)
    return row["param_value"]


def _value(value: float | None, kind: str | None) -> Any:
    number = SPECIAL.get(str(kind), math.nan if value is None else value)
    return "NaN" if math.isnan(number) else number


def _seconds(row: Any) -> Row:
    begun, ended = row["datetime_start"], row["datetime_complete"]
    if not begun or not ended:
        return {}
    return {"wall_seconds": (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()}
