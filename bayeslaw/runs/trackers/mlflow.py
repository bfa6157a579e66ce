"""MLflow: a folder of runs (``mlruns``), its SQLite store, or a server that answers its REST API."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.io import PathLike
from bayeslaw.runs.trackers.rows import RATE, Row, found, last_values, read_yaml, reading, table_of
from bayeslaw.runs.trackers.sqlite import opened, rows_of

WHAT = "an MLflow store: a folder such as mlruns, its SQLite file, or http://HOST:PORT of its server"
STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}  # service.proto, RunStatus
PAGE = 1000
SECONDS = 30


def read_mlflow(path: PathLike) -> pd.DataFrame:
    """Runs of an MLflow store: parameters as ``config.NAME``, last metrics as ``metrics.NAME``.

    Runs that were deleted are left out. A metric that ended as NaN is the text NaN.

    Raises:
        BadInput: no store, or one that is damaged.
    """
    place = str(path)
    if place.startswith(("http://", "https://")):
        return table_of(_served(place.rstrip("/")), place, WHAT)
    file = Path(place.removeprefix("sqlite:///"))
    return table_of(_stored(file) if file.is_file() else _filed(file), place, WHAT)


def _filed(root: Path) -> list[Row]:
    """Runs of a folder: ``EXPERIMENT/RUN`` with meta.yaml, params, metrics."""
    metas = [path for path in found(root, "meta.yaml", WHAT) if (path.parent / "metrics").is_dir()]
    names = {path.parent: _name(path.parent.parent / "meta.yaml") for path in metas}
    rows = []
    for path in metas:
        meta = reading(path, WHAT, _meta, path)
        if meta.get("lifecycle_stage") == "deleted":
            continue
        folder = path.parent
        params = {
            f"config.{file.relative_to(folder / 'params').as_posix()}": file.read_text(encoding="utf-8")
            for file in sorted((folder / "params").rglob("*"))
            if file.is_file()
        }
        metrics = [
            point
            for file in sorted((folder / "metrics").rglob("*"))
            if file.is_file()
            for point in reading(file, WHAT, _points, file, folder / "metrics")
        ]
        status = meta.get("status")
        state = STATES.get(status, str(status)) if isinstance(status, int) else str(status)
        rows.append(
            _row(str(meta.get("run_id", folder.name)), names[folder], state, meta)
            | params
            | last_values(metrics)
        )
    return rows


def _meta(path: Path) -> dict[str, Any]:
    return dict(read_yaml(path))


def _name(path: Path) -> str | None:
    """Name of an experiment by its meta.yaml; None where there is none."""
    return str(dict(read_yaml(path)).get("name", path.parent.name)) if path.is_file() else None


def _points(file: Path, folder: Path) -> list[tuple[float | None, str, float]]:
    """Lines ``timestamp value step`` of a metric's file."""
    name = file.relative_to(folder).as_posix()
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(float(line[2]) if len(line) > 2 else None, name, float(line[1])) for line in lines]


def _stored(path: Path) -> list[Row]:
    """Runs of an SQLite store, read by its tables (mlflow/store/tracking/dbmodels/models.py)."""
    with opened(path, WHAT) as store:
        experiments = {row["experiment_id"]: row["name"] for row in rows_of(store, "experiments")}
        params: dict[str, Row] = defaultdict(dict)
        for row in rows_of(store, "params"):
            params[row["run_uuid"]][f"config.{row['key']}"] = row["value"]
        metrics: dict[str, list[Any]] = defaultdict(list)
        for row in rows_of(store, "latest_metrics"):
            value = float("nan") if row["is_nan"] else row["value"]
            metrics[row["run_uuid"]].append((row["step"], row["key"], value))
        for row in rows_of(store, "metrics"):
            if RATE.search(row["key"]) and not row["is_nan"]:
                metrics[row["run_uuid"]].insert(0, (row["step"], row["key"], row["value"]))
        return [
            _row(row["run_uuid"], experiments.get(row["experiment_id"]), row["status"], dict(row))
            | params[row["run_uuid"]]
            | last_values(metrics[row["run_uuid"]])
            for row in rows_of(store, "runs")
            if row["lifecycle_stage"] != "deleted"
        ]


def _row(run_id: str, experiment: str | None, state: str, times: dict[str, Any]) -> Row:
    """What a run is; times are in milliseconds."""
    begun, ended = times.get("start_time"), times.get("end_time")
    row: Row = {"run_id": run_id, "experiment_name": experiment, "state": str(state).lower()}
    row["name"] = times.get("run_name", times.get("name"))
    if begun and ended:
        row["wall_seconds"] = (float(ended) - float(begun)) / 1000
    return {key: value for key, value in row.items() if value is not None}


def _served(server: str) -> list[Row]:
    """Runs of a server, by its REST API 2.0 (mlflow.org/docs/latest/rest-api.html)."""
    experiments = {
        item["experiment_id"]: item["name"]
        for item in _pages(server, "experiments/search", {"max_results": PAGE}, "experiments")
    }
    asked = {"experiment_ids": list(experiments), "max_results": PAGE}
    return [_served_row(item, experiments) for item in _pages(server, "runs/search", asked, "runs")]


def _served_row(item: dict[str, Any], experiments: dict[str, str]) -> Row:
    info, data = item["info"], item.get("data", {})
    params = {f"config.{each['key']}": each["value"] for each in data.get("params", [])}
    metrics = [
        (float(each.get("step", 0)), each["key"], float(each["value"])) for each in data.get("metrics", [])
    ]
    name = experiments.get(info.get("experiment_id"))
    return _row(info["run_id"], name, info["status"], info) | params | last_values(metrics)


def _pages(server: str, call: str, asked: dict[str, Any], key: str) -> Iterable[dict[str, Any]]:
    token = None
    while True:
        answer = _ask(f"{server}/api/2.0/mlflow/{call}", asked | ({"page_token": token} if token else {}))
        yield from answer.get(key, [])
        token = answer.get("next_page_token")
        if not token:
            return


def _ask(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(asked).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError) as error:
        raise BadInput(f"{url}: no answer ({error}); expected an MLflow server; is it running?") from None
