"""Restore records of runs that ended elsewhere from their run table, so that a sweep takes them as done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically
from bayeslaw.runs.io import read_runs
from train.record import RECORD

DIGEST = "spec_digest"


def restore(path: Path, runs: Path) -> int:
    """Write a record for each row of a table that has none yet; curves are not restored.

    Args:
        path: run table written by ``train.collect``; crashed runs are left out, to be tried again.
        runs: folder of the run folders; created if missing.

    Returns:
        Number of records written.

    Raises:
        BadInput: no such table, or a table that ``train.collect`` did not write.
    """
    table = read_runs(path)
    if DIGEST not in table:
        raise BadInput(f"{path}: column {DIGEST} is missing; expected a table that train.collect wrote")
    written = 0
    for row in table[table["status"] != "crashed"].to_dict("records"):
        folder = runs / str(row["run_id"])
        if not (folder / RECORD).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with write_atomically(folder / RECORD) as temporary:
                temporary.write_text(json.dumps({k: _plain(v) for k, v in row.items()}, indent=1) + "\n")
            written += 1
    return written


def _plain(value: Any) -> Any:
    """Convert a cell to JSON: missing is null, whole numbers are integers."""
    if pd.isna(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value
