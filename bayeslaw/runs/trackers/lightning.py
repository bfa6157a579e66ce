"""CSV logs of Lightning: ``metrics.csv`` with ``hparams.yaml`` beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from bayeslaw.runs.io import PathLike
from bayeslaw.runs.trackers.rows import Row, found, last_values, reading, run_name, settings_beside, table_of

WHAT = "metrics.csv files, as the CSVLogger of Lightning writes them"
STEPS = ("step", "epoch")


def read_lightning(path: PathLike) -> pd.DataFrame:
    """One row per folder with ``metrics.csv``: the last value of each column, and settings beside it.

    Raises:
        BadInput: no such file, or one that is damaged.
    """
    root = Path(path)
    base = root if root.is_dir() else root.parent
    rows = [_run(file, base) for file in found(root, "metrics.csv", WHAT)]
    return table_of(rows, root, WHAT)


def _run(file: Path, root: Path) -> Row:
    row = {"run_id": run_name(file.parent, root)} | settings_beside(file.parent)
    return row | curve(file)


def curve(file: Path) -> Row:
    """Last values of a CSV with one row per step; Lightning counts steps from 0, so the last is one more."""
    row = last_values(reading(file, WHAT, _points, file))
    return row | ({"last_step": row["last_step"] + 1} if "last_step" in row else {})


def _points(file: Path) -> list[tuple[float | None, str, float]]:
    points = []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for line in csv.DictReader(lines):
            step = float(line["step"]) if line.get("step") else None
            for name, value in line.items():
                if name and value and name not in STEPS:
                    points.append((step, name, float(value)))
    return points
