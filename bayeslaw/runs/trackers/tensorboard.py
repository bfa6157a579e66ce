"""TensorBoard event files: last values of scalars, and hyperparameters where they were logged."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.runs.io import PathLike
from bayeslaw.runs.trackers.rows import (
    Row,
    flat,
    found,
    last_values,
    reading,
    run_name,
    settings_beside,
    table_of,
)
from bayeslaw.runs.trackers.wire import Value, fields, integer, message, messages, real, text, tfrecords

WHAT = "TensorBoard event files (events.out.tfevents...)"
STATES = {1: "finished", 2: "failed", 3: "running"}  # tensorboard/plugins/hparams/api.proto, Status
Message = dict[int, list[Value]]


def read_tensorboard(path: PathLike) -> pd.DataFrame:
    """One row per run, a folder of event files: metrics, hyperparameters, and settings in files beside them.

    Hyperparameters come from the hparams plugin, from texts that hold JSON (as the Trainer of transformers
    logs its arguments), and from ``config.json``, ``hparams.yaml`` and the like. Images and histograms are
    passed over.

    Raises:
        BadInput: no event file, or one that is damaged.
    """
    root = Path(path)
    files = found(root, "*tfevents*", WHAT)
    folders = dict.fromkeys(file.parent for file in files)
    rows = {folder: _run(folder, [f for f in files if f.parent == folder], root) for folder in folders}
    return table_of([row for row in _joined(rows).values() if len(row) > 1], root, WHAT)


def _joined(rows: dict[Path, Row]) -> dict[Path, Row]:
    """Rows by folder, with the settings of a run that lie in a folder below it added to its row.

    ``SummaryWriter.add_hparams`` of PyTorch writes a run's settings to a subfolder. A subfolder is taken for
    that where it is the only one with settings, and the folder above it has none. Its state says nothing:
    ``add_hparams`` ends its own session at once.
    """
    own = {folder for folder, row in rows.items() if any(name.startswith("config.") for name in row)}
    above = {folder: next((each for each in folder.parents if each in rows), None) for folder in own}
    joined = dict(rows)
    for folder, run in above.items():
        if run is not None and run not in own and list(above.values()).count(run) == 1:
            below = {name: value for name, value in joined.pop(folder).items() if name != "state"}
            joined[run] = below | rows[run]
    return joined


def _run(folder: Path, files: list[Path], root: Path) -> Row:
    settings: Row = {}
    points: list[tuple[float | None, str, float]] = []
    for file in files:
        reading(file, WHAT, _read_file, file, points, settings)
    seconds = {"wall_seconds": settings.pop("wall_seconds")} if "wall_seconds" in settings else {}
    return (
        {"run_id": run_name(folder, root)}
        | settings_beside(folder)
        | settings
        | last_values(points)
        | seconds
    )


def _read_file(file: Path, points: list[tuple[float | None, str, float]], settings: Row) -> None:
    """Append the scalars of an event file to ``points``, and add its settings."""
    times = []
    with file.open("rb") as records:
        for record in tfrecords(records):
            event = fields(record)
            if (time := real(event, 1)) is not None:
                times.append(time)
            for value in messages(message(event, 5), 1):
                settings |= _settings(value)
                if (scalar := _scalar(value)) is not None:
                    points.append((integer(event, 2), text(value, 1), scalar))
    if len(times) > 1:
        settings["wall_seconds"] = settings.get("wall_seconds", 0.0) + max(times) - min(times)


def _scalar(value: Message) -> float | None:
    """A summary's ``simple_value``, or its tensor of one float (tensorflow/core/framework/summary.proto)."""
    simple = real(value, 2)
    if simple is not None or 8 not in value or _plugin(value) not in ("", "scalars"):
        return simple
    tensor = message(value, 8)
    form = {1: "<f", 2: "<d"}.get(integer(tensor, 1))
    content = next((item for number in (4, 5, 6) for item in tensor.get(number, [])), b"")
    if form is None or not isinstance(content, bytes) or len(content) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, content)[0])


def _plugin(value: Message) -> str:
    return text(message(message(value, 9), 1), 1)


def _settings(value: Message) -> Row:
    """Hyperparameters and state of the hparams plugin, or the object in a text that is JSON."""
    plugin = _plugin(value)
    if plugin == "hparams":
        data = fields(_content(value))
        entries = messages(message(data, 3), 1)
        row = {f"config.{text(entry, 1)}": _plain(message(entry, 2)) for entry in entries}
        state = STATES.get(integer(message(data, 4), 1))
        return {key: item for key, item in row.items() if item is not None} | (
            {"state": state} if state else {}
        )
    if plugin == "text":
        name = text(value, 1).removesuffix("/text_summary")
        for content in _texts(message(value, 8)):
            return flat(f"config.{name}", content)
    return {}


def _content(value: Message) -> bytes:
    content = message(message(value, 9), 1).get(2, [b""])[-1]
    return content if isinstance(content, bytes) else b""


def _texts(tensor: Message) -> Iterator[dict[str, Any]]:
    """Objects in a tensor of texts that are JSON."""
    for item in tensor.get(8, []):
        if isinstance(item, bytes) and item.lstrip().startswith(b"{"):
            try:
                content = json.loads(item, parse_constant=str)
            except ValueError:
                continue
            yield content


def _plain(value: Message) -> Any:
    """A google.protobuf.Value that is a number, text or truth."""
    number = real(value, 2)
    if number is not None:
        return number if math.isfinite(number) else str(number)
    return text(value, 3) if 3 in value else bool(integer(value, 4)) if 4 in value else None
