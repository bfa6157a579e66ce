"""Runs of the Trainer of transformers: ``trainer_state.json`` with its arguments and model beside it."""

from __future__ import annotations

import io
import pickle
import zipfile
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
    read_json,
    reading,
    run_name,
    settings_beside,
    table_of,
)

WHAT = "trainer_state.json files, as the Trainer of transformers writes them"
NAMES = {"loss": "train/loss", "eval_loss": "eval/loss", "train_loss": "train/mean_over_run"}
"""Names of logged losses: ``train_loss`` is the mean over the whole run, which is no final loss."""


ARGUMENTS = (
    *("learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps"),
    *("num_train_epochs", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "optim", "weight_decay"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "seed", "label_smoothing_factor", "bf16"),
)
"""Fields of TrainingArguments that decide a run's loss, read from the pickle; the other hundred are not."""


def read_transformers(path: PathLike) -> pd.DataFrame:
    """One row per run: a folder with ``trainer_state.json``, of its furthest checkpoint where it has several.

    Arguments come from ``training_args.json`` or ``args.json``, or from ``training_args.bin``, of which only
    names and plain values are read; the model's shape from ``config.json``. A run that did not reach
    ``max_steps`` is stopped.

    Raises:
        BadInput: no such file, or one that is damaged.
    """
    root = Path(path)
    furthest: dict[Path, tuple[Path, Row]] = {}
    for file in found(root, "trainer_state.json", WHAT):
        state = reading(file, WHAT, _state, file)
        folder = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
        if folder not in furthest or state["global_step"] >= furthest[folder][1]["global_step"]:
            furthest[folder] = (file, state)
    rows = [
        reading(file, WHAT, _run, folder, file, state, root) for folder, (file, state) in furthest.items()
    ]
    return table_of(rows, root, WHAT)


def _state(file: Path) -> Row:
    """The state in a file, its counts as numbers."""
    state = dict(read_json(file))
    counts = ("global_step", "max_steps", "num_input_tokens_seen")
    return state | {name: float(state.get(name) or 0) for name in counts}


def _run(folder: Path, file: Path, state: Row, root: Path) -> Row:
    step, planned, seen = (state[name] for name in ("global_step", "max_steps", "num_input_tokens_seen"))
    history = [entry for entry in state.get("log_history", []) if isinstance(entry, dict)]
    arguments = {key: value for place in (folder, file.parent) for key, value in _arguments(place).items()}
    seconds = [entry["train_runtime"] for entry in history if "train_runtime" in entry]
    arguments.pop("config.max_steps", None)  # -1 where epochs say how long; the state's is the number
    return {
        "run_id": run_name(folder, root if root.is_dir() else root.parent),
        "state": "finished" if planned and step >= planned else "stopped",
        **settings_beside(file.parent),
        **settings_beside(folder),
        **arguments,
        **last_values(_points(history)),
        **({"config.max_steps": planned} if planned else {}),
        **({"tokens_seen": seen * planned / step} if seen and step else {}),
        **({"flops": state["total_flos"]} if state.get("total_flos") and step >= planned else {}),
        **({"wall_seconds": seconds[-1]} if seconds else {}),
    }


def _points(history: list[Row]) -> Iterator[tuple[float | None, str, float]]:
    for entry in history:
        for name, value in entry.items():
            if name in ("epoch", "step", "total_flos") or name.endswith(("_runtime", "_per_second")):
                continue
            if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity"):
                yield entry.get("step"), NAMES.get(name, name), float(value)


def _arguments(folder: Path) -> Row:
    file = folder / "training_args.bin"
    if not file.is_file():
        return {}
    values = vars(reading(file, "training arguments", _unpickled, file))
    plain = {name: _plain(values[name]) for name in ARGUMENTS if name in values}
    warmup = plain.get("warmup_steps")
    if isinstance(warmup, float) and 0 < warmup < 1:  # transformers 5 reads it as a share of the steps
        plain["warmup_ratio"] = plain.pop("warmup_steps")
    return flat("config", plain)


def _plain(value: Any) -> Any:
    """A plain value; an enumeration's member is its value, every other object nothing."""
    if isinstance(value, _Stub):
        return value.arguments[0] if len(value.arguments) == 1 else None
    return value if isinstance(value, bool | int | float | str) else None


class _Stub:
    """Stands for any object in a pickle; it keeps what the object was made of, and runs nothing."""

    arguments: tuple[Any, ...] = ()

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update({str(key): value for key, value in state.items() if key != "arguments"})


class _Names(pickle.Unpickler):
    """Reads a pickle without importing or calling anything: every class and function in it is a stub."""

    def find_class(self, module: str, name: str) -> Any:
        return _Stub

    def persistent_load(self, pid: Any) -> Any:
        return None


def _unpickled(file: Path) -> Any:
    """The arguments in a file of ``torch.save``, a zip with one pickle, stubs in place of objects."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        try:
            return _Names(io.BytesIO(archive.read(name))).load()
        except (pickle.UnpicklingError, EOFError, ImportError) as error:
            raise ValueError(str(error)) from None
