"""Run tables on disk: CSV, Parquet or JSON lines, by suffix."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, write_atomically
from bayeslaw.runs.schema import COLUMNS, REQUIRED, validate

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
TEXT = {column.name: "str" for column in COLUMNS if column.kind == "text"}
MISSING = ["", *"NA N/A n/a #N/A #NA <NA> NULL null None".split()]
"""What pandas reads as missing, but for the ways to write NaN."""

COUNTS = [column.name for column in COLUMNS if column.kind == "count"]


def read_runs(*paths: PathLike) -> pd.DataFrame:
    """Read run tables and join them into one, each run once.

    A run that appears in several files, or in identical rows of one, is kept once: the row with the most
    filled columns. How many were dropped is logged as a warning (which Python prints on stderr).

    Args:
        paths: one or more .csv, .parquet or .jsonl files.

    Returns:
        A valid run table (`bayeslaw.runs.schema.validate`), rows in the order of the files.

    Raises:
        BadInput: for a missing, unreadable or invalid file, or one run_id with two different results.
    """
    if not paths:
        raise BadInput("no run table given; expected at least one .csv, .parquet or .jsonl file")
    tables = [_read_valid(path) for path in paths]
    joined = pd.concat(tables, ignore_index=True)
    sources = [str(path) for path, table in zip(paths, tables) for _ in range(len(table))]
    _refuse_conflicts(joined, sources)
    kept = _fullest(joined)
    if len(kept) < len(joined):
        log.warning("runs in more than one file, each kept once: %d", len(joined) - len(kept))
    return kept


def write_runs(table: pd.DataFrame, path: PathLike) -> None:
    """Write a run table, whole or not at all: to a temporary file beside it, then renamed.

    Args:
        table: a run table; it is validated first.
        path: ends in .csv, .parquet or .jsonl.

    Raises:
        BadInput: for an invalid table, an unknown suffix, or a folder that cannot be written.
    """
    path = Path(path)
    writer = _by_suffix(path, WRITERS)
    table = _whole_counts(validate(table, str(path)))
    with write_atomically(path) as temporary:
        writer(table, temporary)


def check_output(path: PathLike) -> None:
    """Check that ``write_runs`` can write a table to ``path``, before the work that makes the table.

    Raises:
        BadInput: for an unknown suffix, or a file that cannot be written.
    """
    _by_suffix(Path(path), WRITERS)
    check_writable(Path(path))


def table_sha256(table: pd.DataFrame) -> str:
    """Digest of a run table, row by row, as the provenance of a posterior has it."""
    rows = pd.util.hash_pandas_object(table.reset_index(drop=True), index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def read_table(path: PathLike, nan_is_text: bool = False) -> pd.DataFrame:
    """Read any table by suffix, unchecked: .csv, .parquet, .jsonl.

    Args:
        path: of the file.
        nan_is_text: whether a NaN that is written out, in a CSV or JSON lines, stays the text NaN: a loss of
            NaN was recorded, and is not missing.

    Raises:
        BadInput: when the file is missing, of another kind, or damaged.
    """
    path = Path(path)
    reader = _by_suffix(path, READERS | READERS_OF_NAN if nan_is_text else READERS)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BadInput(f"{path}: {what}; expected a run table; check the path (now in {Path.cwd()})")
    try:
        return reader(path)
    except BadInput:
        raise
    except PermissionError:
        raise BadInput(f"{path}: not readable; expected a file you may read; check its permissions") from None
    except Exception as error:  # whatever pandas and pyarrow raise for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{path}: not a readable {path.suffix} file ({reason}); "
            "expected a complete table; was it cut short? write or download it again"
        ) from None


def narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns become numbers where every value that is present reads as a number other than NaN.

    Those that a run table has as text stay so: the run_id 001 is not 1.
    """
    for name in [name for name in table if name not in TEXT]:
        present = table[name].dropna()
        if present.map(lambda value: isinstance(value, str)).any() or table[name].dtype == "str":
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.notna().sum() == len(present):
                table[name] = numbers
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=TEXT, low_memory=False)


def _read_csv_and_nan(path: Path) -> pd.DataFrame:
    return narrow(pd.read_csv(path, dtype="str", keep_default_na=False, na_values=MISSING))


def _read_jsonl(path: Path, constant: Callable[[str], Any] | None = None) -> pd.DataFrame:
    """One JSON object a line; empty lines are skipped; ``constant`` reads NaN and Infinity."""
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line, parse_constant=constant)
            except json.JSONDecodeError as error:
                raise BadInput(
                    f"{path}: line {number} is not JSON ({error.msg}); expected one object a line; "
                    "was the file cut short?"
                ) from None
            if not isinstance(record, dict):
                kind = type(record).__name__
                raise BadInput(f"{path}: line {number} is a {kind}; expected one JSON object a line")
            records.append(record)
    return pd.DataFrame.from_records(records)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Unknown columns of mixed types are written as text: a Parquet column has one type."""
    mixed = [name for name in table if pd.api.types.is_object_dtype(table[name])]
    table.astype(dict.fromkeys(mixed, "str")).to_parquet(path, index=False)


def _write_jsonl(table: pd.DataFrame, path: Path) -> None:
    """One object a line, missing values as null."""
    with path.open("w", encoding="utf-8") as lines:
        for record in table.to_dict("records"):
            values = {str(name): _json_value(value) for name, value in record.items()}
            lines.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


Reader = Callable[[Path], pd.DataFrame]
Writer = Callable[[pd.DataFrame, Path], None]
READERS: dict[str, Reader] = {".csv": _read_csv, ".parquet": pd.read_parquet, ".jsonl": _read_jsonl}
READERS_OF_NAN: dict[str, Reader] = {
    ".csv": _read_csv_and_nan,
    ".jsonl": lambda path: narrow(_read_jsonl(path, constant=str)),
}
WRITERS: dict[str, Writer] = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}


def _by_suffix(path: Path, choices: dict[str, Any]) -> Any:
    if path.suffix.lower() not in choices:
        raise BadInput(
            f"{path}: unknown suffix {path.suffix!r}; expected one of {', '.join(choices)}; "
            "rename or convert it"
        )
    return choices[path.suffix.lower()]


def _read_valid(path: PathLike) -> pd.DataFrame:
    """One valid table; identical rows of the file are kept once."""
    table = read_table(path)
    copies = table.astype(str).duplicated().to_numpy()
    if copies.any():
        log.warning("%s: dropped exact copies of earlier rows: %d", path, copies.sum())
    return validate(table[~copies], str(path), row_numbers=(np.flatnonzero(~copies) + 1).tolist())


def _refuse_conflicts(table: pd.DataFrame, sources: list[str]) -> None:
    """One run_id must mean one run: the required columns and the loss agree wherever it appears."""
    shared = table[table["run_id"].duplicated(keep=False)]
    for name in (*REQUIRED, "loss"):
        if name == "run_id" or name not in table:
            continue
        runs = shared.groupby("run_id", sort=False)[name]
        if pd.api.types.is_float_dtype(table[name].dtype):
            differs = runs.max() - runs.min() > 1e-9 * runs.max().abs()
        else:
            differs = runs.nunique() > 1
        if differs.any():
            rows = shared[shared["run_id"] == differs.index[differs][0]]
            files = " and ".join(dict.fromkeys(sources[row] for row in rows.index))
            values = " and ".join(str(value) for value in rows[name].unique())
            raise BadInput(
                f"run {rows['run_id'].iloc[0]} in {files}: {name} = {values}; expected one result a run; "
                "rename one run_id or leave one file out"
            )


def _fullest(table: pd.DataFrame) -> pd.DataFrame:
    """Each run_id once, where it first appears, as its row with the most filled columns."""
    filled = table.notna().sum(axis=1)
    best = filled.groupby(table["run_id"], sort=False).idxmax()
    return table.loc[best].reset_index(drop=True)


def _whole_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as integers wherever all of them are whole: a file reads 214663680, not 214663680.0."""
    counts = [name for name in COUNTS if name in table]
    whole = [name for name in counts if (table[name].dropna() % 1 == 0).all()]
    small = [name for name in whole if (table[name].dropna().abs() < 2**53).all()]
    return table.astype(dict.fromkeys(small, "Int64"))


def _json_value(value: Any) -> Any:
    """What json can write: missing and infinite numbers become null, other objects text."""
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float, bool)) else str(value)
