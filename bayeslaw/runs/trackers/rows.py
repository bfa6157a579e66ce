"""What the readers of this package share: folders, settings beside a run, last values of curves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.io import narrow, text_encoding

Row = dict[str, Any]
RATE = re.compile(r"(^|[^a-z])(lr|learning_rate)([^a-z]|$)", re.I)
SETTINGS = [
    f"{name}{suffix}"
    for name in ("config", "hparams", "params", "args", "training_args", "model_config")
    for suffix in (".json", ".yaml", ".yml")
]
"""Files beside a run that hold its settings, by the names that trainers give them."""

MOST_FILES = 100_000
MOST_BYTES = 200_000_000


def found(root: Path, pattern: str, what: str) -> list[Path]:
    """Files of a folder, subfolders included, in order; the file itself where ``root`` is one.

    Args:
        root: folder or file.
        pattern: of the file's name.
        what: the files, for messages.

    Raises:
        BadInput: nothing is there, or more than ``MOST_FILES``.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise BadInput(f"{root}: does not exist; expected {what}; check the path (now in {Path.cwd()})")
    files = sorted(path for path in root.rglob(pattern) if path.is_file())
    if not files:
        raise BadInput(
            f"{root}: no {pattern} in it or below it; expected {what}; name the folder of the runs"
        )
    if len(files) > MOST_FILES:
        raise BadInput(
            f"{root}: {len(files):,} files; expected at most {MOST_FILES:,}; name a folder below it"
        )
    return files


def run_name(folder: Path, root: Path) -> str:
    """A run's name: its folder relative to the root, or the root's own name.

    >>> run_name(Path("logs/sweep/a"), Path("logs")), run_name(Path("logs"), Path("logs"))
    ('sweep/a', 'logs')
    """
    inner = folder.relative_to(root).as_posix() if folder != root and folder.is_relative_to(root) else "."
    return folder.resolve().name if inner == "." else inner


def read_json(path: Path) -> Any:
    """A JSON file; NaN and Infinity are kept as text.

    Raises:
        BadInput: it is none, or has more than ``MOST_BYTES``.
    """
    try:
        return json.loads(_text(path), parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error}); expected a whole file; was it cut short?") from None


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values; objects of Python in it are kept as text and never built.

    Raises:
        BadInput: it is none, or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise BadInput(
            f"{path}: PyYAML, which reads it, is not installed; run pip install 'bayeslaw[trackers]'"
        ) from None

    class Plain(yaml.SafeLoader):
        """Reads unknown tags as the text or the values below them."""

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    Plain.add_multi_constructor("", plain)
    try:
        return yaml.load(_text(path), Loader=Plain)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not YAML ({reason}); expected a whole file; was it cut short?") from None


def settings_beside(folder: Path) -> Row:
    """Settings from the files in ``SETTINGS`` that a folder has, flattened to ``config.a.b``."""
    rows = [flat("config", read_settings(folder / name)) for name in SETTINGS if (folder / name).is_file()]
    return {key: value for row in reversed(rows) for key, value in row.items()}


def read_settings(path: Path) -> Any:
    """Settings in JSON or YAML, by the file's suffix."""
    return read_json(path) if path.suffix == ".json" else read_yaml(path)


def flat(prefix: str, value: Any) -> Row:
    """Flatten nested objects to dotted keys; lists become text, missing values are left out.

    >>> flat("config", {"optimizer": {"lr": 0.001, "betas": [0.9, 0.95]}, "tag": None})
    {'config.optimizer.lr': 0.001, 'config.optimizer.betas': '[0.9, 0.95]'}
    """
    if isinstance(value, Mapping):
        nested = [flat(f"{prefix}.{key}", item) for key, item in value.items()]
        return {key: item for part in nested for key, item in part.items()}
    if value is None:
        return {}
    return {prefix: value if isinstance(value, bool | int | float | str) else str(value)}


def last_values(points: Iterable[tuple[float | None, str, float]]) -> Row:
    """Last value of each metric, largest value of each learning rate, and the last step.

    A metric that ended as NaN is the text NaN: it was recorded, it is not missing.

    Args:
        points: step (None where it is not known), name and value, in the order they were logged.

    >>> last_values([(1, "loss", 4.0), (2, "loss", 3.5), (1, "lr", 0.1), (2, "lr", 0.0)])
    {'metrics.loss': 3.5, 'metrics.lr': 0.0, 'metrics.max_lr': 0.1, 'last_step': 2}
    """
    last: dict[str, tuple[float, float]] = {}
    peak = -math.inf
    for step, name, value in points:
        at = -math.inf if step is None else step
        if name not in last or at >= last[name][0]:
            last[name] = (at, value)
        if RATE.search(name):
            peak = max(peak, value)
    row: Row = {f"metrics.{name}": "NaN" if math.isnan(value) else value for name, (_, value) in last.items()}
    if peak > -math.inf:
        row["metrics.max_lr"] = peak
    steps = [at for at, _ in last.values() if at > -math.inf]
    return row | ({"last_step": max(steps)} if steps else {})


def table_of(rows: Iterable[Row], place: object, what: str) -> pd.DataFrame:
    """Rows as a table, texts of numbers as numbers.

    Raises:
        BadInput: there are none.
    """
    listed = list(rows)
    if not listed:
        raise BadInput(f"{place}: no runs in it; expected {what}; name the folder or file of the runs")
    return narrow(pd.DataFrame(listed))


def reading(path: Path, what: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """What ``read(*arguments)`` gives, its failures as one clear error.

    Raises:
        BadInput: the file is not ``what``.
    """
    try:
        return read(*arguments)
    except (ValueError, OSError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not readable ({reason}); expected {what}; was it cut short?") from None


def _text(path: Path) -> str:
    if path.stat().st_size > MOST_BYTES:
        raise BadInput(f"{path}: more than {MOST_BYTES:,} bytes; expected settings or results of runs")
    return path.read_text(encoding=text_encoding(path))
