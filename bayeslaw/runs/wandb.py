"""Read W&B runs as flat tables: the runs page's CSV, JSON with config and summary, run folders, a project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.io import PathLike, narrow, read_texts, read_with, text_encoding
from bayeslaw.runs.trackers.wandb_api import SCHEME, read_project
from bayeslaw.runs.trackers.wandb_offline import read_offline

WANDB_COLUMNS = {"ID": "run_id", "State": "state", "Runtime": "wall_seconds", "Created": "created"}


def read_wandb(path: PathLike) -> pd.DataFrame:
    """W&B runs as a flat table: the runs page's CSV, JSON with config and summary, run folders, a project.

    Configuration keys are flattened to ``config.a.b`` and metrics to ``summary.x``; ID, State, Runtime
    become run_id, state, wall_seconds. A metric recorded as NaN stays the text NaN: it is not missing.

    Raises:
        BadInput: a missing, damaged or foreign file, or a project that cannot be read.
    """
    if str(path).startswith(SCHEME):
        return read_project(str(path))
    path = Path(path)
    if path.is_dir() or path.suffix == ".wandb":
        return read_offline(path)
    readers = {".csv": _wandb_csv, ".json": _wandb_json, ".jsonl": _wandb_json}
    if path.suffix.lower() not in readers and path.is_file():
        raise BadInput(
            f"{path}: unknown suffix {path.suffix!r}; expected .csv, .json, .jsonl, .wandb "
            "or a folder of runs; export it again"
        )
    return narrow(read_with(readers.get(path.suffix.lower(), _wandb_json), path))


def _wandb_csv(path: Path) -> pd.DataFrame:
    return read_texts(path).rename(columns=WANDB_COLUMNS)


def _wandb_json(path: Path) -> pd.DataFrame:
    return pd.DataFrame([_wandb_run(record) for record in _wandb_records(path)])


def _wandb_records(path: Path) -> list[dict[str, Any]]:
    """The runs of a JSON array, or of JSON lines; NaN and Infinity are kept as text."""
    text = path.read_text(encoding=text_encoding(path))
    try:
        if path.suffix.lower() == ".json":
            data = json.loads(text, parse_constant=str)
            records = data.get("runs", [data]) if isinstance(data, dict) else data
        else:
            records = [json.loads(line, parse_constant=str) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not JSON ({error}); expected W&B runs; was the file cut short?") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise BadInput(
            f"{path}: expected a list of runs, each an object with config and summary; export it again"
        )
    return records


def _wandb_run(record: dict[str, Any]) -> dict[str, Any]:
    """Flatten one run; config and summary may be objects or JSON text, values may be wrapped."""
    summary = _object(record.get("summary", record.get("summary_metrics", record.get("summaryMetrics"))))
    flat = {
        "run_id": record.get("id", record.get("name")),
        "name": record.get("display_name", record.get("name")),
        "state": record.get("state"),
        "created": record.get("created_at", record.get("createdAt")),
        "wall_seconds": record.get("runtime", summary.get("_runtime")),
        **_flat("config", _object(record.get("config"))),
        **_flat("summary", summary),
    }
    return {key: value for key, value in flat.items() if value is not None}


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=str)
        except json.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Flatten nested objects to dotted keys; ``{"value": 3}``, as W&B wraps configuration, is 3."""
    if isinstance(value, dict) and set(value) <= {"value", "desc"} and "value" in value:
        return _flat(prefix, value["value"])
    if isinstance(value, dict):
        nested = [_flat(f"{prefix}.{key}", item) for key, item in value.items() if not key.startswith("_")]
        return {key: item for part in nested for key, item in part.items()}
    return {prefix: str(value) if isinstance(value, list) else value}
