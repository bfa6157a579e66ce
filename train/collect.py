"""The run table of a sweep, from its run folders; and its inverse, for a sweep that goes on elsewhere.

bayeslaw-collect out/first -o runs.parquet
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.files import make_folder, write_atomically
from bayeslaw.lab.train import record
from bayeslaw.runs.io import check_output, read_runs, write_runs
from bayeslaw.runs.schema import CELL, validate

PLAIN = (str, int, float, bool)
DIGEST = "spec_digest"


def collect(out: Path) -> tuple[pd.DataFrame, list[str]]:
    """Collect one row per run: its record, or its row as crashed if the sweep gave up on it.

    Args:
        out: folder of the sweep.

    Returns:
        A valid run table, rows by run_id, and notes: which runs have not ended.

    Raises:
        BadInput: no sweep, no run that ended, or a record that cannot be read.
    """
    if not (out / record.RUNS).is_dir():
        raise BadInput(
            f"{out}: no sweep, {record.RUNS} is missing; expected the --out of bayeslaw-sweep; check the path"
        )
    folders = sorted(folder for folder in (out / record.RUNS).iterdir() if folder.is_dir())
    rows = {
        folder.name: record.read(folder) or record.read_row(folder / record.FAILURE) for folder in folders
    }
    ended = [{k: v for k, v in row.items() if isinstance(v, PLAIN)} for row in rows.values() if row]
    if not ended:
        raise BadInput(f"{out}: no run has ended, {len(rows)} began; expected a record; let the sweep go on")
    open_runs = [name for name, row in rows.items() if row is None]
    notes = [f"{len(open_runs)} runs began and have not ended: run the sweep again"] if open_runs else []
    if given_up := [row["run_id"] for row in ended if row["status"] == "crashed"]:
        notes.append(f"{len(given_up)} runs crashed, such as {given_up[0]}: see its folder")
    return validate(pd.DataFrame.from_records(ended), str(out)), notes


def restore(path: Path, runs: Path) -> int:
    """Write a record for each row of a table that has none yet; curves are not restored.

    Args:
        path: run table as ``collect`` makes it; crashed runs are left to be tried again.
        runs: folder of the run folders, made where it is missing.

    Returns:
        Number of records written.

    Raises:
        BadInput: no such table, one that ``collect`` did not make, or a folder that cannot be written.
    """
    table = read_runs(path)
    if DIGEST not in table:
        raise BadInput(f"{path}: column {DIGEST} is missing; expected a table that bayeslaw-collect wrote")
    written = 0
    for row in table[table["status"] != "crashed"].to_dict("records"):
        folder = runs / str(row["run_id"])
        if not (folder / record.RECORD).exists():
            make_folder(folder)
            with write_atomically(folder / record.RECORD) as temporary:
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


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Numbers of runs by status and of cells, and the cost of the runs."""
    costs = {
        name: float(table[name].sum()) for name in ("flops", "wall_seconds", "energy_joules") if name in table
    }
    return {
        "runs": len(table),
        "status": {str(k): int(v) for k, v in table["status"].value_counts().items()},
        "cells": int(table.groupby(list(CELL)).ngroups),
        **costs,
    }


def main(arguments: list[str] | None = None) -> int:
    """``bayeslaw-collect``; 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        "bayeslaw-collect", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of the sweep, its --out")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="run table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    given = parser.parse_args(arguments)
    try:
        check_output(given.output)
        table, notes = collect(given.folder)
        write_runs(table, given.output)
    except BadInput as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    found = summary(table)
    if given.json:
        print(json.dumps({"output": str(given.output), **found, "notes": notes}))
    else:
        kinds = ", ".join(f"{count} {status}" for status, count in found["status"].items())
        print(f"{given.output}: {found['runs']} runs ({kinds}) in {found['cells']} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
