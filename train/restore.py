"""Records of runs that ended elsewhere, from their run table: a sweep then takes them as done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.atomic import written_whole
from bayeslaw.errors import BadInput
from bayeslaw.lab.train.record import RECORD
from bayeslaw.runs import read_runs

DIGEST = "spec_digest"


def restore(path: Path, runs: Path) -> int:
    """Write a record for each row of a table that has none yet; curves are not restored.

    Args:
        path: run table as ``train.collect`` writes it; crashed runs are left to be tried again.
        runs: folder of the run folders, made where it is missing.

    Returns:
        Number of records written.

    Raises:
        BadInput: no such table, or one that ``train.collect`` did not write.
    """
    table = read_runs(path)
    if DIGEST not in table:
        raise BadInput(f"{path}: column {DIGEST} is missing; expected a table that bayeslaw-collect wrote")
    written = 0
    for row in table[table["status"] != "crashed"].to_dict("records"):
        folder = runs / str(row["run_id"])
        if not (folder / RECORD).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(folder / RECORD) as temporary:
                temporary.write_text(json.dumps({k: _plain(v) for k, v in row.items()}, indent=1) + "\n")
            written += 1
    return written


def _plain(value: Any) -> Any:
    """A cell as JSON has it: missing is null, whole numbers are written as such."""
    if pd.isna(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value
