"""Runs of a W&B project, asked of its server through the ``wandb`` package: ``wandb://ENTITY/PROJECT``.

Access is that of ``wandb login`` or WANDB_API_KEY, which only ``wandb`` reads; self-hosted servers are
WANDB_BASE_URL, as everywhere in W&B.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.trackers.rows import RATE, Row, flat, last_values, table_of

SCHEME = "wandb://"
WHAT = "a W&B project as wandb://ENTITY/PROJECT, the two names in the address of its page"
INSTEAD = "export its runs page as CSV, or name the folder with its offline runs"
SECRET = re.compile(r"[\w-]{32,}")
"""What could be a key: these have 40 characters or more."""


def read_project(address: str) -> pd.DataFrame:
    """One row per run: configuration, summary, and how it ended.

    Attributes of a run as wandb's reference has them (docs.wandb.ai, Public API, Run): ``id``, ``name``,
    ``state``, ``config``, ``summary``, ``history``. Where no configuration names a learning rate, the largest
    of the logged ones is ``metrics.max_lr``: W&B samples 500 points of a curve.

    Args:
        address: ``wandb://ENTITY/PROJECT``.

    Raises:
        BadInput: another address, no ``wandb``, no access, or a project without runs.
    """
    parts = address.removeprefix(SCHEME).rstrip("/").split("/")
    if len(parts) != 2 or not all(parts):
        raise BadInput(f"{address}: expected {WHAT}; correct it, or {INSTEAD}")
    try:
        import wandb
    except ImportError:
        raise BadInput(
            f"{address}: wandb, which reads it, is not installed; run pip install wandb and wandb login; "
            f"or {INSTEAD}"
        ) from None
    try:
        rows = [_row(run) for run in wandb.Api().runs("/".join(parts))]
    except Exception as error:  # of wandb, of the network, of the server
        reason = " ".join(SECRET.sub("...", f"{type(error).__name__}: {error}").split())[:200]
        raise BadInput(
            f"{address}: no answer ({reason}); expected a project that you may read; run wandb login, check "
            f"both names, or {INSTEAD}"
        ) from None
    return table_of(rows, address, WHAT)


def _row(run: Any) -> Row:
    config = flat("config", _own(run.config))
    summary = _plain(run.summary)
    metrics = {name: _number(value) for name, value in _own(summary).items() if not _is_file(value)}
    row: Row = {"run_id": run.id, "name": run.name, "state": run.state}
    row |= {"wall_seconds": summary.get("_runtime"), "last_step": summary.get("_step")}
    row |= flat("metrics", metrics) | config
    if not any(RATE.search(name) for name in config):
        row |= _peak(run, [name for name in metrics if RATE.search(name)])
    return {name: value for name, value in row.items() if value is not None}


def _plain(summary: Any) -> Mapping[str, Any]:
    """The summary as a dict: ``_json_dict`` of W&B's own, as its guide exports it, or any mapping."""
    return dict(getattr(summary, "_json_dict", summary))


def _own(values: Mapping[str, Any]) -> Row:
    """What the user recorded; W&B's own names begin with an underscore."""
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _number(value: Any) -> Any:
    """A metric that ended as NaN is the text NaN: it was recorded, it is not missing."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _is_file(value: Any) -> bool:
    """Tables, images and histograms are objects with a ``_type``."""
    return isinstance(value, Mapping) and "_type" in value


def _peak(run: Any, names: list[str]) -> Row:
    """The largest learning rate logged, as ``metrics.max_lr``."""
    found = last_values(point for name in names for point in _points(run, name))
    return {name: value for name, value in found.items() if name == "metrics.max_lr"}


def _points(run: Any, name: str) -> Iterator[tuple[float | None, str, float]]:
    for line in run.history(keys=[name], pandas=False):
        value = line.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            yield line.get("_step"), name, float(value)
