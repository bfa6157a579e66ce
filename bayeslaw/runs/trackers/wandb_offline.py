"""W&B folders that a run leaves on disk: ``wandb/offline-run-.../run-ID.wandb`` (or ``run-...``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.runs.io import PathLike
from bayeslaw.runs.trackers.rows import Row, flat, found, last_values, reading, table_of
from bayeslaw.runs.trackers.wire import Value, fields, integer, message, messages, text, wandb_records

WHAT = "folders of W&B runs, each with run-ID.wandb"
Message = dict[int, list[Value]]


def read_offline(path: PathLike) -> pd.DataFrame:
    """One row per ``run-ID.wandb`` file: configuration, last logged values and summary, and how it ended.

    Fields by number from wandb/proto/wandb_internal.proto. A run without an exit record was running when the
    file was written, or was killed.

    Raises:
        BadInput: no such file, or one that is damaged.
    """
    root = Path(path)
    rows = [reading(file, WHAT, _run, file) for file in found(root, "*.wandb", WHAT)]
    return table_of(rows, root, WHAT)


def _run(file: Path) -> Row:
    config: Row = {}
    summary: Row = {}
    points: list[tuple[float | None, str, float]] = []
    row: Row = {"run_id": file.stem.removeprefix("run-"), "state": "running"}
    with file.open("rb") as records:
        for data in wandb_records(records):
            record = fields(data)
            if run := message(record, 17):
                row |= {"run_id": text(run, 1), "project": text(run, 3), "name": text(run, 8)}
                config |= _values(message(run, 4))
                summary |= _values(message(run, 5))
            config |= _values(message(record, 5))
            summary |= _values(message(record, 3))
            points += _logged(message(record, 2))
            if 18 in record:
                row["state"] = "failed" if integer(message(record, 18), 1) else "finished"
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    seconds = (
        {"wall_seconds": summary["_runtime"]} if isinstance(summary.get("_runtime"), int | float) else {}
    )
    last = {
        name: "NaN" if value is None else value  # W&B writes null for a NaN that was set in run.summary
        for name, value in summary.items()
        if not name.startswith("_")
    }
    row = row | seconds | last_values(points) | flat("metrics", last) | flat("config", kept)
    return {key: value for key, value in row.items() if value != ""}


def _values(record: Message) -> Row:
    """Updates of a configuration or summary record: key or nested key, and a value in JSON."""
    return {_key(item): _json(text(item, 16)) for item in messages(record, 1)}


def _logged(record: Message) -> list[tuple[float | None, str, float]]:
    items = {_key(item): _json(text(item, 16)) for item in messages(record, 1)}
    step = items.get("_step")
    at = float(step) if isinstance(step, int | float) else None
    numbers = {name: _number(value) for name, value in items.items() if not name.startswith("_")}
    return [(at, name, value) for name, value in numbers.items() if value is not None]


def _key(item: Message) -> str:
    return text(item, 1) or ".".join(
        str(part, "utf-8") for part in item.get(2, []) if isinstance(part, bytes)
    )


def _json(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=str)
    except ValueError:
        return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    return (
        float(value) if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity") else None
    )
