"""Convert foreign tables of runs (a sweep's CSV, a W&B export, published data) to run tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.checks import notes as doubts
from bayeslaw.runs.column_names import ambiguous, resolve_roles
from bayeslaw.runs.io import TEXT, PathLike, narrow, read_table
from bayeslaw.runs.layouts import ADAPTERS, fitting
from bayeslaw.runs.schema import BY_NAME, DIVERGED_RATIO, REQUIRED, mark_diverged, validate
from bayeslaw.runs.wandb import read_wandb

STATES = {
    "finished": "finished completed complete success succeeded done ok",
    "diverged": "diverged nan exploded",
    "crashed": "crashed failed failure error oom timeout",
    "stopped": "stopped killed preempted preempting running pending cancelled canceled",
}
STATE_OF = {word: status for status, words in STATES.items() for word in words.split()}
HINTS = {
    "study": "add --study NAME",
    "optimizer": "add --set optimizer=adamw, or --map optimizer=COLUMN",
    "params_nonembedding": "add --map params_nonembedding=COLUMN, "
    "or --map params_total=COLUMN with --map params_embedding=COLUMN",
    "tokens": "add --map tokens=COLUMN, --map steps=COLUMN or --map tokens_per_param=COLUMN",
    "batch_tokens": "add --map batch_tokens=COLUMN, "
    "or --map batch_sequences=COLUMN with --set sequence_length=2048",
    "learning_rate": "add --map learning_rate=COLUMN",
    "loss": "add --map loss=COLUMN (nats/token), --map loss_bits=COLUMN or --map perplexity=COLUMN",
}


def import_runs(
    source: PathLike,
    study: str | None = None,
    adapter: str | None = None,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    diverged_ratio: float = DIVERGED_RATIO,
) -> tuple[pd.DataFrame, list[str]]:
    """Read a foreign table and convert it to a run table.

    Args:
        source: .csv, .parquet or .jsonl (the wandb adapter also takes .json).
        study: names the set-up of these runs; steplaw, scalebench and marin have their own default.
        adapter: a known layout, one of `ADAPTERS` or wandb; None reads columns by their names.
        mapping: role to column, for columns with other names (`{"batch_sequences": "bs"}`).
        constants: column to value, the same for every run (`{"optimizer": "adamw"}`).
        diverged_ratio: see `bayeslaw.runs.schema.mark_diverged`.

    Returns:
        A valid run table, and notes in plain words: what was converted, dropped, or looks wrong.

    Raises:
        BadInput: a required column is missing or of unknown unit, or a row is invalid.
    """
    name, mapping, constants = str(source), dict(mapping or {}), dict(constants or {})
    _check_constants(constants, name)
    if adapter in ADAPTERS:
        if mapping:
            raise BadInput(
                f"--map {next(iter(mapping))}: adapter {adapter} knows its columns; leave --map out"
            )
        table, notes = ADAPTERS[adapter](read_table(source), study)
        table = table.assign(**constants)
    elif adapter in (None, "wandb"):
        raw = read_wandb(Path(source)) if adapter else read_table(source, nan_is_text=True)
        table, notes = convert(raw, study, mapping, constants, name)
    else:
        known = ", ".join([*ADAPTERS, "wandb"])
        raise BadInput(
            f"--adapter {adapter}: unknown; expected one of {known}; or leave it out and use --map"
        )
    table, more = _settle(table, diverged_ratio, name)
    return table, [*notes, *more, *doubts(table)]


def convert(
    raw: pd.DataFrame,
    study: str | None,
    mapping: Mapping[str, str],
    constants: Mapping[str, Any],
    source: str,
) -> tuple[pd.DataFrame, list[str]]:
    """Convert columns by role to the units of the run table.

    Every other column is kept under its own name, or as ``original_NAME`` where the run table has that name.

    Args:
        raw: the foreign table.
        study, mapping, constants: as in `import_runs`.
        source: the file, for messages.

    Returns:
        A run table, not yet checked row by row, and notes on how columns were read.

    Raises:
        BadInput: names everything that is missing or ambiguous at once.
    """
    if raw.empty:
        raise BadInput(f"{source}: no rows; expected one row a run; check the export or its filter")
    raw = raw.rename(columns=str).reset_index(drop=True)
    raw = raw.drop(columns=[name for name in constants if name in raw]).assign(**constants)
    if study is not None:
        raw["study"] = study
    roles = resolve_roles(raw.columns, mapping, source)
    raw = _numbers_but_for(raw, roles.get("loss"))
    columns = {role: raw[name] for role, name in roles.items()}
    table = pd.DataFrame({role: values for role, values in columns.items() if role in BY_NAME})
    _add_converted(table, columns, source)
    _require(table, roles, raw, source)
    notes = _reading_notes(roles, raw)
    if "loss_kind" not in table and "loss" in roles:
        table["loss_kind"] = _loss_kind(roles["loss"])
    notes += _add_status(table, columns.get("status"))
    direct = {name for role, name in roles.items() if role in BY_NAME}
    kept = raw[[name for name in raw if name not in direct]]
    table = table.join(kept.rename(columns=lambda name: f"original_{name}" if name in BY_NAME else name))
    notes += _add_ids(table, raw, borrowed=roles.get("run_id") != "run_id" and "run_id" not in mapping)
    return table, notes


def _numbers_but_for(raw: pd.DataFrame, loss: str | None) -> pd.DataFrame:
    """Read columns of numbers and NaN texts as numbers; in the loss, a NaN text means a diverged run."""
    nan = {
        name: raw[name].astype("str").str.lower() == "nan"
        for name in raw
        if name != loss and name not in TEXT and raw[name].dtype.kind not in "ifb"
    }
    cleaned = {name: raw[name].mask(where).infer_objects() for name, where in nan.items() if where.any()}
    return raw.assign(**narrow(pd.DataFrame(cleaned, index=raw.index)))


def _add_converted(table: pd.DataFrame, columns: Mapping[str, pd.Series], source: str) -> None:
    """Fill in place columns determined by another unit; columns that are given directly stay."""
    given = {role: _numeric(values, role, source) for role, values in columns.items() if role in CONVERTED}

    def fill(name: str, *roles: str) -> bool:
        return name not in table and all(role in given for role in roles)

    if fill("params_nonembedding", "params_total", "params_embedding"):
        table["params_nonembedding"] = given["params_total"] - given["params_embedding"]
    if fill("batch_tokens", "batch_sequences", "sequence_length"):
        table["batch_tokens"] = given["batch_sequences"] * given["sequence_length"]
    for name in ("params_nonembedding", "batch_tokens", "learning_rate"):
        if name in table:
            given[name] = _numeric(table[name], name, source)
    if fill("tokens", "steps", "batch_tokens"):
        table["tokens"] = given["steps"] * given["batch_tokens"]
    if fill("tokens", "tokens_per_param", "params_nonembedding"):
        table["tokens"] = given["tokens_per_param"] * given["params_nonembedding"]
    if fill("warmup_tokens", "warmup_steps", "batch_tokens"):
        table["warmup_tokens"] = given["warmup_steps"] * given["batch_tokens"]
    if fill("final_lr_ratio", "final_learning_rate", "learning_rate"):
        table["final_lr_ratio"] = given["final_learning_rate"] / given["learning_rate"]
    if fill("loss", "loss_bits"):
        table["loss"] = given["loss_bits"] * math.log(2)
    if fill("loss", "perplexity"):
        table["loss"] = np.log(given["perplexity"].where(given["perplexity"] > 0))
    _add_betas(table, columns, given)


CONVERTED = (
    *("params_total", "params_embedding", "batch_sequences", "sequence_length", "steps", "tokens_per_param"),
    *("warmup_steps", "final_learning_rate", "loss_bits", "perplexity", "beta1"),
)


def _add_betas(table: pd.DataFrame, columns: Mapping[str, pd.Series], given: dict[str, pd.Series]) -> None:
    """Use Adam's beta1 as momentum of runs without one; ``betas`` may hold both as ``[0.9, 0.95]``."""
    if "betas" in columns:
        pairs = columns["betas"].astype("str").str.extract(r"([\d.eE-]+)\s*,\s*([\d.eE-]+)").astype(float)
        given.setdefault("beta1", pairs[0])
        table["beta2"] = table.get("beta2", pairs[1])
    if "beta1" in given:
        momentum = table.get("momentum", pd.Series(math.nan, index=table.index))
        table["momentum"] = momentum.fillna(given["beta1"])


def _require(table: pd.DataFrame, roles: Mapping[str, str], raw: pd.DataFrame, source: str) -> None:
    """Raise one error that names everything missing or ambiguous, and what to add."""
    missing = [name for name in HINTS if name not in table]
    if not missing:
        return
    lines = [f"  {name}: {_hint(name, roles, raw)}" for name in missing]
    lines += [f"  or are they {name}'s? add --adapter {name}" for name in fitting(raw)]
    shown = ", ".join(raw.columns[:60]) + (", ..." if len(raw.columns) > 60 else "")
    raise BadInput("\n".join([f"{source} does not say what these runs are:", *lines, f"columns: {shown}"]))


def _hint(name: str, roles: Mapping[str, str], raw: pd.DataFrame) -> str:
    if name == "batch_tokens" and "batch_sequences" in roles:
        return f"{roles['batch_sequences']} counts sequences; add --set sequence_length=2048"
    if name == "params_nonembedding" and "params_total" in roles:
        return f"{roles['params_total']} includes embeddings; add --map params_embedding=COLUMN"
    if name == "tokens" and "steps" in roles:
        return f"follows from {roles['steps']} once the batch is known"
    if name == "tokens" and "tokens_per_param" in roles:
        return f"follows from {roles['tokens_per_param']} once the parameters are known"
    unsaid = ambiguous(name, raw.columns)
    if unsaid and name == "batch_tokens":
        length = "" if "sequence_length" in roles else " with --set sequence_length=2048"
        return (
            f"does {unsaid} count sequences or tokens? "
            f"add --map batch_sequences={unsaid}{length}, or --map batch_tokens={unsaid}"
        )
    if unsaid:
        return (
            f"does {unsaid} include embeddings? add --map params_nonembedding={unsaid} if not, "
            f"or --map params_total={unsaid} with --map params_embedding=COLUMN"
        )
    return HINTS[name]


def _reading_notes(roles: Mapping[str, str], raw: pd.DataFrame) -> list[str]:
    read = [f"{name} as {role}" for role, name in roles.items() if name != role]
    kept = [name for name in raw if name not in roles.values()]
    return [
        *([f"read {', '.join(read)}"] if read else []),
        *([f"kept without using: {', '.join(kept)}"] if kept else []),
    ]


def _loss_kind(column: str) -> str | None:
    """Kind of loss, if the name of its column tells."""
    name = column.lower()
    if "val" in name or "eval" in name:
        return "val_final"
    if "smooth" in name:
        return "train_smoothed"
    return "train_final" if "train" in name else None


def _add_status(table: pd.DataFrame, states: pd.Series | None) -> list[str]:
    """Fill status in place: from the source's word, a loss recorded as NaN, else whether there is a loss."""
    recorded_nan = table["loss"].map(lambda value: isinstance(value, str) and "nan" in value.lower())
    missing = table["loss"].isna()
    if states is None:
        status = pd.Series("finished", index=table.index)
    else:
        words = states.astype("str").str.strip().str.lower()
        status = words.map(lambda word: STATE_OF.get(word, word))
    lost = missing & (status == "finished")
    table["status"] = status.mask(lost, "crashed").mask(recorded_nan, "diverged")
    notes = []
    if states is None:
        notes.append("no status column: runs with a loss count as finished")
    if lost.any():
        notes.append(f"runs without a loss, counted as crashed: {lost.sum()}")
    if recorded_nan.any():
        notes.append(f"runs with a loss of NaN, counted as diverged: {recorded_nan.sum()}")
    return notes


def _settle(table: pd.DataFrame, ratio: float, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Drop copies and lost runs, mark diverged runs, and check every row; with notes."""
    notes = []
    copies = table.astype(str).duplicated()
    if copies.any():
        notes.append(f"dropped exact copies of other rows: {copies.sum()}")
    numbers = np.arange(1, len(table) + 1)
    lost = (table["status"] != "finished") & table[[n for n in REQUIRED if n in table]].isna().any(axis=1)
    if (lost & ~copies).any():
        notes.append(f"dropped unfinished runs of incomplete configuration: {(lost & ~copies).sum()}")
    keep = ~(copies | lost)
    infinite = pd.to_numeric(table["loss"], errors="coerce").map(math.isinf) & (table["status"] == "finished")
    table = table.assign(status=table["status"].mask(infinite, "diverged"))[keep]
    table = validate(table, source, row_numbers=numbers[keep].tolist())
    marked = mark_diverged(table, ratio)
    changed = int((marked["status"] != table["status"]).sum() + (infinite & keep).sum())
    if changed:
        notes.append(
            f"runs counted as diverged: {changed} "
            f"(loss above {ratio:g} times the smallest of their cell, or infinite)"
        )
    return _ordered(marked), notes


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put known columns first, in the order of the schema."""
    known = [name for name in BY_NAME if name in table]
    return table[[*known, *(name for name in table if name not in BY_NAME)]]


def _add_ids(table: pd.DataFrame, raw: pd.DataFrame, borrowed: bool) -> list[str]:
    """Fill run_id in place where it is missing or names several runs.

    A derived id ends in a hash of the whole row, so copies get equal ids in any order.
    """
    hashes = pd.util.hash_pandas_object(raw.astype(str), index=False).map(lambda value: f"{value:016x}"[:8])
    ids = table["run_id"] if "run_id" in table else pd.Series(None, index=table.index, dtype="object")
    distinct = ids[~pd.DataFrame({"id": ids, "hash": hashes}).duplicated()].dropna()
    missing = ids.isna()
    repeated = ids.isin(distinct[distinct.duplicated()]) & borrowed
    owner = (table["study"].astype(str) + "-" + table["optimizer"].astype(str)).where(missing, ids)
    table["run_id"] = ids.where(~(missing | repeated), owner + "-" + hashes)
    return [
        *(["runs without an id got one made of their configuration"] if missing.any() else []),
        *(["runs that share a name got a hash of their configuration added"] if repeated.any() else []),
    ]


def _numeric(values: pd.Series, role: str, source: str) -> pd.Series:
    """Convert to float64. Text that is not a number is an error, since the conversion would lose it."""
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    wrong = values.notna() & numbers.isna() & (values.astype(str).str.lower() != "nan")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadInput(
            f"{source}: row {row + 1}: {role} = {values.iloc[row]!r}; expected a number; "
            f"correct it, or map another column with --map {role}=COLUMN"
        )
    return numbers


def _check_constants(constants: Mapping[str, Any], source: str) -> None:
    for name, value in constants.items():
        if name not in BY_NAME:
            known = ", ".join(BY_NAME)
            raise BadInput(f"{source}: --set {name}={value}: unknown column; expected one of {known}")
