"""A folder of configurations in JSON or YAML with metrics beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.io import PathLike, read_log
from bayeslaw.runs.trackers.rows import (
    SETTINGS,
    Row,
    flat,
    found,
    last_values,
    read_json,
    read_settings,
    run_name,
    settings_beside,
    table_of,
)

WHAT = (
    "settings (config.json, hparams.yaml, ...) with metrics (metrics.json, .jsonl or .csv) beside them, "
    "or NAME.json with NAME.metrics.json, NAME.jsonl or NAME.csv"
)
RESULTS = [
    f"{name}{suffix}"
    for name in ("metrics", "results", "summary", "log", "history", "train_log")
    for suffix in (".json", ".jsonl", ".csv")
]
STEPS = ("step", "steps", "iter", "iteration", "global_step", "_step")
STATUS = ("state", "status")


def read_folders(path: PathLike) -> pd.DataFrame:
    """One row per run of a folder: a subfolder with settings, or a file of settings, with metrics beside it.

    Metrics are an object of last values, or one object or row per step, of which the last values are taken.
    Settings without metrics are a run without a loss.

    Raises:
        BadInput: no settings, or a file that is damaged.
    """
    root = Path(path)
    if root.is_file():
        raise BadInput(f"{root}: is a file; expected a folder with {WHAT}; name the folder")
    files = [file for pattern in ("*.json", "*.y*ml") for file in _found(root, pattern)]
    homes = sorted({file.parent for file in files if file.name in SETTINGS})
    rows = [_run(run_name(home, root), settings_beside(home), _results(home)) for home in homes]
    for file in sorted(set(files)):
        if file.parent not in homes and (beside := _beside(file)):
            name = run_name(file.with_suffix(""), root)
            rows.append(_run(name, flat("config", read_settings(file)), beside))
    return table_of(rows, root, WHAT)


def _found(root: Path, pattern: str) -> list[Path]:
    try:
        return found(root, pattern, WHAT)
    except BadInput:
        if root.is_dir():
            return []
        raise


def _results(folder: Path) -> list[Path]:
    return [folder / name for name in RESULTS if (folder / name).is_file()]


def _beside(file: Path) -> list[Path]:
    """Metrics of ``NAME.json`` or ``NAME.config.json``: ``NAME.metrics.json``, ``NAME.csv``, ..."""
    stem = file.stem.removesuffix(".config").removesuffix("_config")
    if stem.endswith((".metrics", "_metrics")):
        return []
    names = [
        f"{stem}{mark}{suffix}"
        for mark in (".metrics", "_metrics", "")
        for suffix in (".json", ".jsonl", ".csv")
    ]
    return [path for name in names if (path := file.with_name(name)).is_file() and path != file]


def _run(name: str, settings: Row, results: list[Path]) -> Row:
    row: Row = {"run_id": name} | settings
    for file in reversed(results):
        row |= _metrics(file)
    return row


def _metrics(file: Path) -> Row:
    content = read_json(file) if file.suffix == ".json" else _records(file)
    if isinstance(content, dict):
        values = {key: value for key, value in content.items() if key not in STATUS}
        words = [content[key] for key in STATUS if isinstance(content.get(key), str)]
        return flat("metrics", values) | ({"state": words[0]} if words else {})
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise BadInput(f"{file}: expected an object, or a list with one object per step; write it again")
    return last_values(_points(content))


def _records(file: Path) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in read_log(file).to_dict("records")]


def _points(entries: list[dict[str, Any]]) -> Iterator[tuple[float | None, str, float]]:
    for number, entry in enumerate(entries):
        step = next((entry[name] for name in STEPS if isinstance(entry.get(name), int | float)), None)
        for name, value in flat("x", entry).items():
            plain = name.removeprefix("x.")
            if plain not in STEPS and _recorded(value):
                yield (number if step is None else step), plain, float(value)


def _recorded(value: Any) -> bool:
    """Whether a value is a number, or the text of one that is not finite; a NaN of pandas is none."""
    if isinstance(value, bool) or value != value:
        return False
    return isinstance(value, int | float) or str(value) in ("NaN", "nan", "Infinity")
