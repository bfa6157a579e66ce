"""Run tables on disk: CSV, Parquet or JSON lines, by suffix."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, plain_json, write_atomically
from bayeslaw.runs.formulas import escaped, restored
from bayeslaw.runs.schema import COLUMNS, REQUIRED, validate

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
TEXT = {column.name: "str" for column in COLUMNS if column.kind == "text"}
MISSING = ["", *"NA N/A n/a #N/A #NA <NA> NULL null None".split()]
"""Texts that pandas reads as missing, except the spellings of NaN."""

MOST_COLUMNS = 10_000
MOST_LETTERS = 1_000_000
"""A table with more columns, or with more letters in one value, is refused: it is none of runs."""

COUNTS = [column.name for column in COLUMNS if column.kind == "count"]


def read_runs(*paths: PathLike) -> pd.DataFrame:
    """Read run tables and join them into one, each run once.

    A run that appears in several files, or in identical rows of one, is kept once: the row with the most
    filled columns. The number of dropped rows is logged as a warning (which Python prints on stderr).

    Args:
        paths: one or more .csv, .parquet or .jsonl files.

    Returns:
        A valid run table (`bayeslaw.runs.schema.validate`), rows in the order of the files.

    Raises:
        BadInput: a missing, unreadable or invalid file, or one run_id with two different results.
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
        BadInput: an invalid table, an unknown suffix, or a folder that cannot be written.
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
    """Digest of a run table, row by row, for the provenance of a posterior."""
    rows = pd.util.hash_pandas_object(table.reset_index(drop=True), index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def read_table(path: PathLike, nan_is_text: bool = False) -> pd.DataFrame:
    """Read any table by suffix, unchecked: .csv, .parquet, .jsonl.

    Args:
        path: of the file.
        nan_is_text: whether a NaN written in a CSV or in JSON lines stays the text NaN. A loss of NaN was
            recorded; it is not missing.

    Raises:
        BadInput: the file is missing, of another kind, or damaged.
    """
    path = Path(path)
    _refuse_folder(path)
    reader = _by_suffix(path, READERS | READERS_OF_NAN if nan_is_text else READERS)
    table = read_with(reader, path)
    return narrow(table) if nan_is_text and reader in READERS_OF_NAN.values() else table


def read_log(path: Path) -> pd.DataFrame:
    """What a run logged in JSON lines or a CSV; a last JSON line that is still being written is left out.

    Raises:
        BadInput: the file is missing, of another kind, or damaged before its last line.
    """
    if path.suffix != ".jsonl":
        return read_table(path, nan_is_text=True)
    return narrow(read_with(partial(_read_jsonl, constant=str, growing=True), path))


def read_with(reader: Callable[[Path], pd.DataFrame], path: Path) -> pd.DataFrame:
    """A table by any reader, whose failures become one clear error.

    Raises:
        BadInput: when the file is missing, a folder, unreadable, damaged, or has more than ``MOST_COLUMNS``
            columns or ``MOST_LETTERS`` in one value.
    """
    _refuse_folder(path)
    if not path.is_file():
        raise BadInput(f"{path}: does not exist; expected a run table; check the path (now in {Path.cwd()})")
    try:
        table = reader(path)
        _refuse_columns(len(table.columns), path)
        _refuse_long_texts(table, path)
        return table
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


def text_encoding(path: Path) -> str:
    """Encoding by the mark at the beginning of a file: UTF-16, as spreadsheets write it, else UTF-8."""
    with path.open("rb") as file:
        mark = file.read(2)
    return "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; expected a file with one run a row; name the file in it")


def _refuse_columns(count: int, path: Path) -> None:
    if count > MOST_COLUMNS:
        raise BadInput(
            f"{path}: {count:,} columns; expected at most {MOST_COLUMNS:,}: one run a row, one setting "
            "or result a column; is it transposed? keep the columns that describe the runs"
        )


def _refuse_long_texts(table: pd.DataFrame, path: Path) -> None:
    for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        letters = table[name].map(lambda value: len(value) if isinstance(value, str) else 0)
        if len(letters) and letters.max() > MOST_LETTERS:
            row = int(letters.to_numpy().argmax()) + 1
            raise BadInput(
                f"{path}: row {row}: {str(name)[:60]} has {letters.max():,} letters; "
                f"expected at most {MOST_LETTERS:,}; drop the column"
            )


def _check_header(path: Path) -> None:
    """Refuse a CSV by its first line, before pandas spends minutes on its columns."""
    with path.open(encoding=text_encoding(path), newline="") as lines:
        header = lines.readline(MOST_LETTERS + 1)
    if len(header) > MOST_LETTERS:
        raise BadInput(
            f"{path}: the first line has more than {MOST_LETTERS:,} letters; expected the names of columns; "
            "keep the columns that describe the runs"
        )
    if "\0" in header:
        raise BadInput(f"{path}: is no text; expected CSV in UTF-8 or UTF-16 with its mark; export it again")
    _refuse_columns(len(next(csv.reader([header]), [])), path)


def narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Convert text columns to numbers if every value present reads as a number other than NaN.

    Text columns of the run table stay text: the run_id 001 is not 1.
    """
    for name in [name for name in table if name not in TEXT]:
        present = table[name].dropna()
        if present.map(lambda value: isinstance(value, str)).any() or table[name].dtype == "str":
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.notna().sum() == len(present):
                table[name] = numbers
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    _check_header(path)
    return restored(pd.read_csv(path, dtype=TEXT, low_memory=False, encoding=text_encoding(path)))


def read_texts(path: Path) -> pd.DataFrame:
    """A CSV as text, NaN included."""
    _check_header(path)
    return pd.read_csv(
        path, dtype="str", keep_default_na=False, na_values=MISSING, encoding=text_encoding(path)
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    _refuse_columns(len(pyarrow.parquet.read_schema(path).names), path)
    return pd.read_parquet(path)


def _read_jsonl(
    path: Path, constant: Callable[[str], Any] | None = None, growing: bool = False
) -> pd.DataFrame:
    """Read one JSON object per line.

    Empty lines are skipped, as is a cut last one of a ``growing`` file; ``constant`` reads NaN and Infinity.
    """
    records = []
    with path.open(encoding=text_encoding(path)) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line, parse_constant=constant)
            except json.JSONDecodeError as error:
                if growing and not line.endswith("\n"):
                    break
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
    escaped(table).to_csv(path, index=False)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Convert unknown columns of mixed types to text, since a Parquet column has one type."""
    mixed = [name for name in table if pd.api.types.is_object_dtype(table[name])]
    table.astype(dict.fromkeys(mixed, "str")).to_parquet(path, index=False)


def _write_jsonl(table: pd.DataFrame, path: Path) -> None:
    """Format one object per line, with missing values as null."""
    with path.open("w", encoding="utf-8") as lines:
        for record in table.to_dict("records"):
            values = {str(name): _json_value(value) for name, value in record.items()}
            lines.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


Reader = Callable[[Path], pd.DataFrame]
Writer = Callable[[pd.DataFrame, Path], None]
READERS: dict[str, Reader] = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
READERS_OF_NAN: dict[str, Reader] = {
    ".csv": read_texts,
    ".jsonl": partial(_read_jsonl, constant=str),
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
    """Read one valid table; identical rows of the file are kept once."""
    table = read_table(path)
    copies = table.astype(str).duplicated().to_numpy()
    if copies.any():
        log.warning("%s: dropped exact copies of earlier rows: %d", path, copies.sum())
    return validate(table[~copies], str(path), row_numbers=(np.flatnonzero(~copies) + 1).tolist())


def _refuse_conflicts(table: pd.DataFrame, sources: list[str]) -> None:
    """Check that one run_id means one run: required columns and loss agree wherever it appears."""
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
    """Keep each run_id once, where it first appears, as its row with the most filled columns."""
    filled = table.notna().sum(axis=1)
    best = filled.groupby(table["run_id"], sort=False).idxmax()
    return table.loc[best].reset_index(drop=True)


def _whole_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Convert counts to integers where all are whole: a file reads 214663680, not 214663680.0."""
    counts = [name for name in COUNTS if name in table]
    whole = [name for name in counts if (table[name].dropna() % 1 == 0).all()]
    small = [name for name in whole if (table[name].dropna().abs() < 2**53).all()]
    return table.astype(dict.fromkeys(small, "Int64"))


def _json_value(value: Any) -> Any:
    """A cell of a table as JSON can hold it: one that is missing is null, one that holds several is text."""
    plain = None if value is pd.NA else plain_json(value)
    return str(plain) if isinstance(plain, (list, dict)) else plain
